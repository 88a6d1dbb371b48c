"""Scores and their uncertainty, computed from counts per record; nothing here knows models or torch."""
