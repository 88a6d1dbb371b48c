"""Model: safetensors weights, configuration and tokenizer as JSON, each by its name, and nothing that runs."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from collabspace.api.manifest import FileEntry, Manifest
from collabspace.formats.canonical import compare, open_entry, sha256
from collabspace.formats.folder import README, is_ignored, read_readme, walk
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.limits import MAX_JSON_BYTES, MAX_TOTAL_BYTES
from collabspace.formats.problem import Problems, listed
from collabspace.formats.request import Converted, Format, Request
from collabspace.formats.safetensors_header import HeaderProblem, tensor_names
from collabspace.formats.strict_json import JSONProblem, parse

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
TOKENIZER = "tokenizer.json"
REQUIRED = (CONFIG, TOKENIZER, "tokenizer_config.json")
OPTIONAL = (
    "vocab.txt", "labels.json", "special_tokens_map.json", "generation_config.json", "modules.json",
    "1_Pooling/config.json", "data_config.json",
)  # fmt: skip
_SHARD = re.compile(r"model-[0-9]{5}-of-[0-9]{5}\.safetensors")
_SENTENCE = re.compile(r"[A-Za-z0-9_-]*sentence[A-Za-z0-9_-]*\.json")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".ckpt", ".joblib")
_CODE = (".py", ".so", ".ipynb")
# Fields by which a configuration names code, and by which it names a library: of these libraries alone.
_CODE_FIELDS = ("auto_map", "custom_pipelines")
_LIBRARY_FIELDS = {"modules.json": "type", ADAPTER[0]: "parent_library"}
_LIBRARIES = ("sentence_transformers.", "transformers.")


def check_model(folder: Path, intake: Intake) -> list[DataFile]:
    """The model's files in order of their names, every one allowed, parsed and sound. Findings are added.

    README.md, licences and dotfiles are left out.
    """
    problems = intake.problems
    files: dict[str, DataFile] = {}
    for file in walk(folder, problems):
        intake.spend(file.name, file.size)
        if is_allowed(file.name):
            files[file.name] = file
        elif file.name != README and not is_ignored(file.name):
            message, remedy = _refusal(file.name)
            problems.add(file.name, None, message, remedy)
    for name in REQUIRED:
        if name not in files:
            problems.add(name, None, "the file is missing", "Save model and tokenizer into the folder.")
    _check_documents(files, problems)
    _check_weights(files, problems)
    return list(files.values())


def is_allowed(name: str) -> bool:
    listed_name = name in (*REQUIRED, *OPTIONAL, WEIGHTS, INDEX, *ADAPTER)
    return listed_name or bool(_SHARD.fullmatch(name) or _SENTENCE.fullmatch(name))


def _refusal(name: str) -> tuple[str, str]:
    lower = name.lower()
    if lower.endswith(_PICKLES):
        remedy = "Save the weights as safetensors and remove it."
        return "is a format that can run code when it is loaded", remedy
    if lower.endswith(_CODE):
        return "is code, which a model must not bring along", "Remove it."
    allowed = [*REQUIRED, WEIGHTS, INDEX, *ADAPTER, *OPTIONAL]
    return "is no file of a model", f"Remove it; allowed are {', '.join(allowed)} and *sentence*.json."


def _check_documents(files: dict[str, DataFile], problems: Problems) -> None:
    for name, file in files.items():
        if not name.endswith(".json"):
            continue
        document = _document(file, problems)
        if name == TOKENIZER:  # its vocabulary may hold any word
            continue
        for field in _CODE_FIELDS:
            if any(True for _ in _values(document, field)):
                remedy = "Remove the field; models with their own code are not accepted."
                problems.add(name, None, f'holds "{field}", which loads code', remedy)
        library = _LIBRARY_FIELDS.get(name)
        for value in _values(document, library) if library else ():
            if value is not None and not (isinstance(value, str) and f"{value}.".startswith(_LIBRARIES)):
                remedy = f"Use parts of {' or '.join(each.rstrip('.') for each in _LIBRARIES)} alone."
                problems.add(name, None, f'holds a "{library}" of another library, which would be loaded', remedy)
        model_type = document.get("model_type") if isinstance(document, dict) else None
        if name == CONFIG and document is not None and not (isinstance(model_type, str) and model_type):
            remedy = "Save the model with transformers, which writes it."
            problems.add(name, None, 'has no "model_type"', remedy)


def _document(file: DataFile, problems: Problems) -> object:
    """The parsed JSON; None after a finding."""
    remedy = "Write the file again."
    if file.size > MAX_JSON_BYTES:
        problems.add(file.name, None, f"is larger than {MAX_JSON_BYTES} bytes", remedy)
        return None
    try:
        return parse(file.path.read_bytes().decode("utf-8"), numbers=True)
    except UnicodeDecodeError:
        problems.add(file.name, None, "is not UTF-8", remedy)
    except JSONProblem as problem:
        problems.add(file.name, None, str(problem), remedy)
    return None


def _values(document: object, field: str) -> Iterator[object]:
    """What stands under that name, at any depth."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if field in value:
                yield value[field]
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_weights(files: dict[str, DataFile], problems: Problems) -> None:
    tensors: dict[str, set[str]] = {}
    for name, file in files.items():
        if name.endswith(".safetensors"):
            try:
                tensors[name] = tensor_names(file.path, file.size)
            except HeaderProblem as problem:
                problems.add(name, None, str(problem), "Save the weights again as safetensors.")
    shards = sorted(name for name in files if _SHARD.fullmatch(name))
    forms = [WEIGHTS in files, INDEX in files or bool(shards), any(name in files for name in ADAPTER)]
    if sum(forms) != 1:
        message = f"{'no' if not any(forms) else 'several'} weights found"
        remedy = f"Keep one of {WEIGHTS}, shards with {INDEX}, or {' + '.join(ADAPTER)}."
        problems.add("", None, message, remedy)
    elif forms[1]:
        _check_index(files, shards, tensors, problems)
    elif forms[2]:
        for name in ADAPTER:
            if name not in files:
                problems.add(name, None, "the file is missing", "Save the adapter again.")


def _check_index(
    files: dict[str, DataFile], shards: list[str], tensors: dict[str, set[str]], problems: Problems
) -> None:
    """Every shard that the index names is there with just those tensors, and no shard is left over."""
    remedy = "Save the sharded model again."
    if INDEX not in files:
        problems.add(INDEX, None, "the file is missing", remedy)
        return
    document = _document(files[INDEX], Problems())
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        problems.add(INDEX, None, 'has no "weight_map" of tensors to files', remedy)
        return
    named: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        named.setdefault(shard, set()).add(tensor)
    if missing := sorted(named.keys() - set(shards)):
        problems.add(INDEX, None, f"names {listed(missing)}, which is not there", remedy)
    if extra := sorted(set(shards) - named.keys()):
        problems.add(INDEX, None, f"does not name {listed(extra)}", remedy)
    for shard in sorted(tensors.keys() & named.keys()):
        if tensors[shard] != named[shard]:
            problems.add(shard, None, "does not hold the tensors that the index says", remedy)


def _convert(request: Request, intake: Intake) -> Converted:
    problems = intake.problems
    if not request.source.is_dir():
        problems.stop(request.source.name, None, "is no folder", "Push the folder that holds config.json.")
    files = check_model(request.source, intake)
    readme = None
    if (card := request.source / README).is_file() and not card.is_symlink():
        readme = read_readme(DataFile(card, README, card.stat().st_size), problems)
    problems.raise_if_any()
    intake.expect(sum(file.size for file in files))
    entries = []
    for file in files:
        copy = request.destination / file.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file.path, copy, follow_symlinks=False)
        entries.append(FileEntry(path=file.name, sha256=sha256(copy), bytes=copy.stat().st_size))
        intake.advance(file.size)
    return Converted(files=entries, sources=tuple(files), readme=readme)


def _check(folder: Path, manifest: Manifest, intake: Intake) -> None:
    for entry in manifest.files:
        if not is_allowed(entry.path):
            message, remedy = _refusal(entry.path)
            intake.problems.add(entry.path, None, message, remedy)
        if entry.records or entry.split is not None:
            intake.problems.add(entry.path, None, "has records or a split", "Prepare the model again.")
    check_model(folder, intake)
    compare("labels", (manifest.labels, manifest.label_counts), ([], {}), intake.problems)
    compare("columns", (manifest.columns, manifest.target), ([], None), intake.problems)


def model_files(folder: Path, manifest: Manifest) -> list[Path]:
    """The paths of the model's files, sizes and hashes checked. Raises FormatError."""
    intake = Intake(MAX_TOTAL_BYTES)
    return [open_entry(folder, entry, intake).path for entry in manifest.files]


MODEL = Format(convert=_convert, check=_check)
