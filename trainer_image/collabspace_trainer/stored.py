"""A saved model's own description: by it the method is found that can load the folder and be measured again.

Every predictor writes `config.json` with task, method and labels under the key `collabspace`; other programs skip it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from collabspace.api.manifest import Frozen
from collabspace.formats.limits import MAX_JSON_BYTES
from collabspace.formats.strict_json import JSONProblem, parse
from collabspace_trainer.errors import DataError

CONFIG = "config.json"
KEY = "collabspace"


class Description(Frozen):
    """What a folder holds. `labels` are the classes or entity types that it tells apart, in order."""

    task: str = Field(max_length=64)
    method: str = Field(max_length=64)
    labels: list[str] = Field(max_length=1_000)


@dataclass(frozen=True)
class StoredModel:
    """A `model/` folder whose description was read; nothing else of it is checked yet."""

    folder: Path
    config: dict[str, Any]
    description: Description
    base: Path | None = None
    """Folder of the weights that an adapter belongs to, where there is access to them."""


def read(folder: Path) -> StoredModel:
    """Raises DataError when the folder does not say what it is."""
    config = read_json(folder / CONFIG)
    try:
        return StoredModel(folder, config, Description.model_validate(config[KEY]))
    except (KeyError, TypeError, ValidationError):
        raise DataError(
            f"model: {CONFIG} does not say which task and method it is of; give the result of a run of this release"
        ) from None


def describe(folder: Path, task: str, method: str, labels: Sequence[str]) -> None:
    """Adds the description to the folder's config.json, which is made if it is missing."""
    file = folder / CONFIG
    config = json.loads(file.read_bytes()) if file.exists() else {}
    config[KEY] = Description(task=task, method=method, labels=list(labels)).model_dump()
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def read_json(file: Path) -> Any:
    """A JSON file of a model. Raises DataError naming the file, never its content."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"model: {file.name} is larger than {MAX_JSON_BYTES} bytes; give another result")
        return parse(file.read_bytes().decode(), numbers=True)
    except (OSError, UnicodeDecodeError, JSONProblem) as error:
        raise DataError(
            f"model: {file.name} cannot be read as JSON ({type(error).__name__}); give another result"
        ) from None
