"""The trainer: one process that reads a run document, trains, measures, writes a result and ends with a code."""
