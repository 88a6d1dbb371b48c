"""Kinds of problems: how their data is read and how predictors of them are measured."""
