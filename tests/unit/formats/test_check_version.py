"""check() as the broker calls it at commit, and the readers: nothing of folder or manifest is taken on trust."""

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats_workplace import Pushed, Workplace

from collabspace.api.manifest import FileEntry, Manifest, Split, TargetColumn
from collabspace.formats import (
    FormatError,
    SplitRule,
    check,
    model_files,
    read_table,
    read_token_classification,
)


@pytest.fixture
def notes(work: Workplace, splits: Callable[..., dict[str, str]]) -> Pushed:
    return work.tokens(splits())


@pytest.fixture
def table(work: Workplace) -> Pushed:
    text = "age,outcome\n1,x\n2,y\n"
    files = {"train.csv": text, "dev.csv": text, "test.csv": text}
    return work.table(files, target=TargetColumn(column="outcome", kind="Class"))


def _errors(folder: Path, manifest: Manifest) -> str:
    with pytest.raises(FormatError) as caught:
        check(folder, manifest)
    return str(caught.value)


def _changed(pushed: Pushed, name: str, content: bytes, **fields: Any) -> Manifest:
    """Puts other content into a canonical file and its true size and hash into the manifest."""
    (pushed.folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    files = [
        file.model_copy(update={"sha256": digest, "bytes": len(content)} | fields) if file.path == name else file
        for file in pushed.manifest.files
    ]
    return pushed.manifest.model_copy(update={"files": files})


def test_what_prepare_wrote_passes_and_survives_the_wire(notes: Pushed) -> None:
    check(notes.folder, Manifest.model_validate_json(notes.manifest.canonical()))


def test_a_missing_file_and_a_file_too_many_are_refused(notes: Pushed) -> None:
    (notes.folder / "train.jsonl.gz").rename(notes.folder / ".hidden")
    lines = _errors(notes.folder, notes.manifest).split("\n")
    assert lines == [
        "train.jsonl.gz: the file is missing. Send every file of the manifest.",
        ".hidden: the file is not in the manifest. Remove it.",
    ]


def test_a_file_hidden_in_a_dot_folder_is_refused(notes: Pushed) -> None:
    (notes.folder / ".git").mkdir()
    (notes.folder / ".git" / "x").write_text("x")
    assert _errors(notes.folder, notes.manifest) == ".git/x: the file is not in the manifest. Remove it."


def test_a_link_in_place_of_a_file_is_refused(notes: Pushed, tmp_path: Path) -> None:
    path = notes.folder / "test.jsonl.gz"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "test.jsonl.gz: is a link." in _errors(notes.folder, notes.manifest)
    with pytest.raises(FormatError, match="missing or a link"):
        read_token_classification(notes.folder, notes.manifest, Split.TEST)


def test_another_size_and_another_hash_are_refused_by_check_and_by_the_reader(notes: Pushed) -> None:
    path = notes.folder / "train.jsonl.gz"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "sha256 is not the manifest's" in _errors(notes.folder, notes.manifest)
    with pytest.raises(FormatError, match="sha256 is not the manifest's"):
        read_token_classification(notes.folder, notes.manifest, Split.TRAIN)
    path.write_bytes(content + b"x")
    assert f"the file has {len(content) + 1} bytes, the manifest says {len(content)}" in _errors(
        notes.folder, notes.manifest
    )


GOOD = b'{"tokens":["gout"],"tags":["B-Disease"]}\n'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b'{"tokens":["a"],"tags":["I-Disease"]}\n', 'train.jsonl.gz:1: token 1: "I-Disease" continues no entity'),
        (b'{"tokens":["a"],"tags":["Disease"]}\n', "train.jsonl.gz:1: token 1: the tag is neither O nor"),
        (b'{"tokens":["a"],"tags":[1]}\n', "train.jsonl.gz:1: the line is no canonical record"),
        (b'{"tokens":["a"]}\n', "train.jsonl.gz:1: the line is no canonical record"),
        (b'{"tokens":["a"],"tags":["O"],"x":1}\n', "train.jsonl.gz:1: the line is no canonical record"),
        (b'{"tokens":["a"],"tags":["O"],"group":1}\n', "train.jsonl.gz:1: the line is no canonical record"),
        (b'{"tokens":["a"],"tags":["O","O"]}\n', "train.jsonl.gz:1: 1 tokens but 2 tags"),
        (b'{"tokens":["a b"],"tags":["O"]}\n', "train.jsonl.gz:1: token 1: the token holds white space"),
        (b'{"tags":["O"],"tokens":["a"]}\n', "train.jsonl.gz:1: the record is not written in canonical form"),
        (b'{"tokens": ["a"],"tags":["O"]}\n', "train.jsonl.gz:1: the record is not written in canonical form"),
        (b"\n", "train.jsonl.gz:1: the line is no canonical record"),
        (b"\xff\n", "train.jsonl.gz:1: byte 1 of the line is not UTF-8"),
        (b"", "the number of records in train.jsonl.gz of the manifest does not agree"),
        (GOOD * 2, "the number of records in train.jsonl.gz of the manifest does not agree"),
        (GOOD.replace(b"Disease", b"Drug"), "labels of the manifest does not agree with the records"),
        (GOOD.replace(b"B-Disease", b"O"), "labelCounts of the manifest does not agree with the records"),
    ],
)
def test_a_false_record_is_refused_although_its_hash_is_right(notes: Pushed, lines: bytes, message: str) -> None:
    manifest = _changed(notes, "train.jsonl.gz", gzip.compress(lines))
    assert message in _errors(notes.folder, manifest)


def test_an_entity_type_missing_in_a_split_is_refused_although_the_manifest_says_so(notes: Pushed) -> None:
    lines = GOOD + b'{"tokens":["aspirin"],"tags":["B-Drug"]}\n'
    manifest = _changed(notes, "train.jsonl.gz", gzip.compress(lines), records=2)
    counts = manifest.label_counts | {Split.TRAIN: {"Disease": 1, "Drug": 1}}
    manifest = manifest.model_copy(update={"labels": ["Disease", "Drug"], "label_counts": counts})
    assert '"Drug" does not occur in validation, test' in _errors(notes.folder, manifest)


def test_a_canonical_file_that_unpacks_beyond_the_bound_is_refused(notes: Pushed) -> None:
    manifest = _changed(notes, "train.jsonl.gz", gzip.compress(b" " * 10_000_000))
    with pytest.raises(FormatError, match="longer than 1000000 bytes"):
        check(notes.folder, manifest)
    manifest = _changed(notes, "train.jsonl.gz", gzip.compress(GOOD * 100_000))
    with pytest.raises(FormatError, match="larger than 1000000 bytes when decompressed"):
        check(notes.folder, manifest, max_bytes=1_000_000)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"labels": ["Gene"]}, "labels of the manifest"),
        ({"label_counts": {}}, "labelCounts of the manifest"),
        ({"split_mode": "None"}, "splitMode of the manifest"),
        ({"files": []}, "the manifest names no file"),
        ({"target": TargetColumn(column="x", kind="Class")}, "target of the manifest"),
        ({"format": "Tabular"}, "is no canonical file name of its split"),
        ({"format": "Result"}, "the format Result cannot be pushed yet"),
    ],
)
def test_a_false_manifest_is_refused(notes: Pushed, update: dict[str, Any], message: str) -> None:
    assert message in _errors(notes.folder, notes.manifest.model_copy(update=update))


def test_a_file_under_another_name_or_split_is_refused(notes: Pushed) -> None:
    files = [file.model_copy(update={"split": Split.TEST}) for file in notes.manifest.files]
    assert "train.jsonl.gz: is no canonical file name" in _errors(
        notes.folder, notes.manifest.model_copy(update={"files": files})
    )


def test_a_file_named_twice_is_refused(notes: Pushed) -> None:
    files = [*notes.manifest.files, notes.manifest.files[0]]
    message = _errors(notes.folder, notes.manifest.model_copy(update={"files": files}))
    assert message.startswith("train.jsonl.gz: the manifest names the file twice")


@pytest.mark.parametrize("path", ["a/../../secret", "a/../train.jsonl.gz"])
def test_a_path_that_leaves_or_winds_is_refused_everywhere(notes: Pushed, path: str) -> None:
    secret = notes.folder.parent / "secret"
    secret.write_bytes(b"x")
    (notes.folder / "a").mkdir()
    # Past the pattern of the manifest, which refuses such a path too: the readers do not rely on it.
    entry = FileEntry.model_construct(
        path=path, sha256=hashlib.sha256(b"x").hexdigest(), bytes=1, records=0, split=Split.TRAIN
    )
    manifest = notes.manifest.model_copy(update={"files": [entry]})
    assert f"{path}: the file is missing" in _errors(notes.folder, manifest)
    for read in (
        lambda: read_token_classification(notes.folder, manifest, Split.TRAIN),
        lambda: read_table(notes.folder, manifest, Split.TRAIN),
        lambda: model_files(notes.folder, manifest),
    ):
        with pytest.raises(FormatError, match="missing or a link"):
            read()


def _bytes_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, store_schema=False)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("table_of", "message"),
    [
        ({"age": [1.0, float("inf")], "outcome": ["x", "y"]}, 'column "age" holds a number that is not finite'),
        ({"age": [1.0, float("nan")], "outcome": ["x", "y"]}, 'column "age" holds a number that is not finite'),
        ({"age": [1.0, None], "outcome": ["x", None]}, 'train.parquet:2: the target "outcome" is missing'),
        ({"age": [1.0, 2.0], "outcome": ["x", "y\x00"]}, 'column "outcome" holds control characters'),
        ({"age": [1.0, 2.0], "outcome": ["x", "y\x85"]}, 'column "outcome" holds control characters'),
        ({"age": [1.0, 2.0], "outcome": ["x", ""]}, 'column "outcome" holds an empty text'),
        ({"age": [1.0, 2.0], "outcome": ["x", "y" * 131_073]}, "holds a cell of more than 131072 characters"),
        ({"age": [1.0, 2.0], "outcome": ["x", "z"]}, "labels of the manifest does not agree"),
        ({"age": [1.0], "outcome": ["x"]}, "the number of records in train.parquet of the manifest"),
        ({"age": ["1", "2"], "outcome": ["x", "y"]}, "the columns are not those of the manifest"),
        ({"outcome": ["x", "y"], "age": [1.0, 2.0]}, "the columns are not those of the manifest"),
        ({"age": [1.0, 2.0]}, "the columns are not those of the manifest"),
    ],
)
def test_a_false_table_is_refused_although_its_hash_is_right(
    table: Pushed, table_of: dict[str, list[Any]], message: str
) -> None:
    manifest = _changed(table, "train.parquet", _bytes_of(pa.table(table_of)))
    assert message in _errors(table.folder, manifest)


def test_a_table_of_invalid_utf_8_is_refused(table: Pushed) -> None:
    raw = pa.Array.from_buffers(pa.string(), 2, pa.array([b"x", b"\xff"], pa.binary()).buffers())
    manifest = _changed(table, "train.parquet", _bytes_of(pa.table({"age": [1.0, 2.0], "outcome": raw})))
    assert "train.parquet: is no sound Parquet file" in _errors(table.folder, manifest)


def test_a_target_that_is_no_column_is_refused(table: Pushed) -> None:
    target = TargetColumn(column="weight", kind="Class")
    message = _errors(table.folder, table.manifest.model_copy(update={"target": target}))
    assert "the manifest's target is none of its columns" in message


def test_a_model_with_another_file_is_refused_at_commit(work: Workplace) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + b"x"
    config = '{"model_type": "bert"}'
    pushed = work.model(
        {"config.json": config, "tokenizer.json": "{}", "tokenizer_config.json": "{}", "model.safetensors": weights}
    )
    code = b"import os"
    (pushed.folder / "modeling.py").write_bytes(code)
    entry = FileEntry(path="modeling.py", sha256=hashlib.sha256(code).hexdigest(), bytes=len(code))
    manifest = pushed.manifest.model_copy(update={"files": [*pushed.manifest.files, entry]})
    assert "modeling.py: is code" in _errors(pushed.folder, manifest)


def test_reading_all_splits_gives_every_record_once(notes: Pushed) -> None:
    assert len(read_token_classification(notes.folder, notes.manifest, None)) == 3


def test_reading_a_split_that_is_not_there_gives_nothing(work: Workplace, splits: Callable[..., Any]) -> None:
    pushed = work.tokens({"train.tsv": splits()["train.tsv"]}, split=SplitRule("Hash", 100, 0, 0))
    assert read_token_classification(pushed.folder, pushed.manifest, Split.TEST) == []
