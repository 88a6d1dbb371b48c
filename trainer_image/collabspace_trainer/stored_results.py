"""Results of earlier runs as input: which of their files are needed, and proof that none of them is a trap."""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from collabspace.api.manifest import Frozen
from collabspace.api.run import InitialModel
from collabspace.formats.folder import walk
from collabspace.formats.intake import DataFile
from collabspace.formats.limits import MAX_JSON_BYTES, MAX_TOTAL_BYTES
from collabspace.formats.problem import Problems
from collabspace.formats.safetensors_header import HeaderProblem, tensor_names
from collabspace.formats.strict_json import JSONProblem, parse
from collabspace_trainer import stored
from collabspace_trainer.errors import DataError

DONE, RUN, METRICS, MODEL, COUNTS = "DONE", "run.json", "metrics.json", "model", "counts"
ALLOWED = (".json", ".safetensors", ".txt")
TOKENIZER = "tokenizer.json"
"""Its vocabulary may hold any word."""
ADAPTER = "adapter_config.json"
BASE = "base"
"""Field of config.json: uid and digest of the weights that a model rests on without holding them."""
MERGE = "train it again so that whole weights are kept (LoRA with parameter merge: Yes)"
NO_BASE = (
    "model: it rests on weights that it does not hold, and this task has no access to them; to measure it, name them "
    f"in datasets as well, with role Evaluate; or {MERGE}"
)
T = TypeVar("T", bound=BaseModel)


class _File(Frozen):
    path: str
    sha256: str
    bytes: int = Field(ge=0)


class _Done(Frozen):
    files: list[_File] = Field(max_length=10_000)


def of_comparison(path: str) -> bool:
    """Whether a comparison needs the file of a result."""
    return path in (DONE, RUN, METRICS) or path.startswith(f"{COUNTS}/")


def of_model(path: str) -> bool:
    """Whether a file may be part of the model of a result, or of a version of format Model."""
    return not path.startswith((f"{COUNTS}/", "predictions/"))


def base_of(model: Path) -> InitialModel | None:
    """The weights that a stored model rests on without holding them; None when it is whole. Raises DataError."""
    config = stored.read_json(model / stored.CONFIG)
    if not isinstance(config, dict) or BASE not in config:
        if (model / ADAPTER).is_file():
            raise DataError(f"model: it is an adapter, and {stored.CONFIG} does not name its base; {MERGE}")
        return None
    try:
        return InitialModel.model_validate(config[BASE])
    except ValidationError:
        raise DataError(f"model: {BASE} of {stored.CONFIG} is no uid and digest of weights; {MERGE}") from None


def check_complete(name: str, folder: Path) -> str:
    """The digest of a result folder that DONE says is whole; files that are there have its hashes. Raises DataError."""
    done = read(name, folder / DONE, _Done)
    for entry in done.files:
        path = folder / entry.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{name}: {DONE} names a file outside of the folder; give the result as it was stored")
        if path.is_file() and _sha256(path) != entry.sha256:
            raise DataError(f"{name}: a file has other bytes than {DONE} says; give the result as it was stored")
    return f"sha256:{_sha256(folder / DONE)}"


def read(name: str, file: Path, kind: type[T]) -> T:
    """A JSON file of a result. Raises DataError naming result and file, never its content."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{name}: {file.name} is larger than {MAX_JSON_BYTES} bytes; give another result")
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{name}: {file.name} cannot be read as that of a result ({type(error).__name__}); "
            "give the result of a run that ended well, of this release"
        ) from None


def check_model(folder: Path) -> None:
    """Raises DataError unless all that lies in a model folder is sound JSON, safetensors or text, and none runs."""
    if not folder.is_dir():
        raise DataError("model: there is none; give the result of a training")
    problems = Problems()
    files = list(walk(folder, problems, hidden=True))
    problems.raise_if_any()
    if sum(file.size for file in files) > MAX_TOTAL_BYTES:
        raise DataError(f"model: it has more than {MAX_TOTAL_BYTES} bytes; give a smaller one")
    for file in files:
        if file.extension not in ALLOWED:
            raise DataError(
                f"model: {_shown(file)} is of a kind that is not read, pickles and code among them; "
                f"only {', '.join(ALLOWED)} are"
            )
        if file.extension == ".safetensors":
            try:
                tensor_names(file.path, file.size)
            except HeaderProblem as problem:
                raise DataError(f"model: {_shown(file)} {problem}; give the model as it was stored") from None
        elif file.extension == ".json" and file.name != TOKENIZER and _names_code(_document(file)):
            raise DataError(f"model: {_shown(file)} has auto_map; code of a model is never run, remove it")


def _document(file: DataFile) -> Any:
    try:
        if file.size > MAX_JSON_BYTES:
            raise DataError(f"model: {_shown(file)} is larger than {MAX_JSON_BYTES} bytes; give a smaller one")
        return parse(file.path.read_bytes().decode(), numbers=True)
    except (UnicodeDecodeError, JSONProblem):
        raise DataError(f"model: {_shown(file)} is no JSON; give the model as it was stored") from None


def _names_code(document: Any) -> bool:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "auto_map" in value:
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _shown(file: DataFile) -> str:
    return file.name[-64:]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
