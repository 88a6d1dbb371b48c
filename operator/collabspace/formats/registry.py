"""The formats that can be pushed. A new one is a module with a `Format` and a line here."""

from typing import Final

from collabspace.api.manifest import DatasetFormat
from collabspace.formats.model import MODEL
from collabspace.formats.problem import FormatError, Problem
from collabspace.formats.request import Format
from collabspace.formats.tabular import TABULAR
from collabspace.formats.text_classification import TEXT_CLASSIFICATION
from collabspace.formats.token_classification import TOKEN_CLASSIFICATION

FORMATS: Final[dict[str, Format]] = {
    DatasetFormat.TOKEN_CLASSIFICATION: TOKEN_CLASSIFICATION,
    DatasetFormat.TEXT_CLASSIFICATION: TEXT_CLASSIFICATION,
    DatasetFormat.TABULAR: TABULAR,
    DatasetFormat.MODEL: MODEL,
}


def find_format(name: str) -> Format:
    """The format of that name. Raises FormatError that lists the supported ones."""
    found = FORMATS.get(name)
    if found is None:
        message = f"the format {name} cannot be pushed yet"
        raise FormatError([Problem("", None, message, f"Supported are {', '.join(FORMATS)}.")])
    return found
