"""Layouts of data and models: one reader per format serves the command line, the broker and the trainer."""

from collabspace.formats.labelled_text import LabelledText
from collabspace.formats.model import model_files
from collabspace.formats.problem import FormatError, Problem
from collabspace.formats.push import Prepared, check, prepare
from collabspace.formats.registry import FORMATS
from collabspace.formats.sentence import TaggedSentence
from collabspace.formats.split import SplitRule
from collabspace.formats.tabular import read_table
from collabspace.formats.text_classification import read_text_classification
from collabspace.formats.token_classification import read_token_classification

__all__ = [
    "FORMATS",
    "FormatError",
    "LabelledText",
    "Prepared",
    "Problem",
    "SplitRule",
    "TaggedSentence",
    "check",
    "model_files",
    "prepare",
    "read_table",
    "read_text_classification",
    "read_token_classification",
]
