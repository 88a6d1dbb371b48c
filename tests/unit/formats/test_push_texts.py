"""TextClassification: three layouts give one canonical form; each refusal with file and line, never with content."""

import gzip
import hashlib
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from formats_workplace import Pushed, Workplace
from hypothesis import given, settings
from hypothesis import strategies as st

from collabspace.api.manifest import Split
from collabspace.formats import FormatError, LabelledText, SplitRule, check, read_text_classification

ALL_TRAIN = SplitRule("Hash", 100, 0, 0)
GOOD = {"text": "a moving film", "label": "positive"}
SECRET = "Zyxgrub"


def read(pushed: Pushed, split: Split | None = Split.TRAIN) -> list[LabelledText]:
    return read_text_classification(pushed.folder, pushed.manifest, split)


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def parquet(columns: dict[str, list[Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


EXPECTED = [LabelledText("a moving film,\nreally", "positive", "7"), LabelledText("dull", "negative")]


@pytest.mark.parametrize(
    "files",
    [
        {"a.jsonl": lines({"text": "a moving film,\nreally", "label": "positive", "group": 7},
                          {"sentence": "dull", "label": "negative"})},
        {"a.csv": 'label,sentence,group\npositive,"a moving film,\nreally",7\nnegative,dull,\n'},
        {"a.csv.gz": gzip.compress(b'text,label,group\n"a moving film,\nreally",positive,7\ndull,negative,\n')},
        {"a.parquet": parquet({"text": [t.text for t in EXPECTED], "label": [t.label for t in EXPECTED],
                               "group": [7, None]})},
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_records(work: Workplace, files: dict[str, Any]) -> None:
    pushed = work.texts(files, split=ALL_TRAIN)
    assert read(pushed) == EXPECTED
    assert pushed.manifest.labels == ["negative", "positive"]
    assert pushed.manifest.label_counts == {Split.TRAIN: {"negative": 1, "positive": 1}}
    check(pushed.folder, pushed.manifest)


def test_integers_are_names_and_other_fields_are_dropped_with_a_warning(work: Workplace) -> None:
    pushed = work.texts({"a.jsonl": lines({"text": "x", "label": 1, "stars": 5.0})}, split=ALL_TRAIN)
    assert read(pushed) == [LabelledText("x", "1")]
    assert 'fields that are not kept: "stars"' in pushed.prepared.warnings


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": SECRET, "label": ["a", "b"]}, "the record has a list of labels"),
        ({"text": SECRET, "labels": ["a"]}, "the record has a list of labels"),
        ({"text": SECRET}, "the record has no label"),
        ({"text": SECRET, "label": 0.5}, "the label is neither a string nor an integer"),
        ({"text": SECRET, "label": {}}, "the label is neither a string nor an integer"),
        ({"text": SECRET, "label": ""}, "the label is empty"),
        ({"text": SECRET, "label": f"{SECRET} "}, "the label is empty"),
        ({"text": SECRET, "label": SECRET * 19}, "the label is empty"),
        ({"text": SECRET, "label": "a\nb"}, "the label is empty"),
        ({"label": "a"}, "the record has no text"),
        ({"text": SECRET, "sentence": SECRET, "label": "a"}, "the record has both text and sentence"),
        ({"text": [SECRET], "label": "a"}, "text is no string"),
        ({"text": " \t\n", "label": "a"}, "the text is empty"),
        ({"text": "x" * 131_073, "label": "a"}, "the text is longer than 131072 characters"),
        ({"text": f"{SECRET}\x00", "label": "a"}, "the text holds control character U+0000"),
        ({"text": f"{SECRET}\ud800", "label": "a"}, "the text holds control character U+D800"),
        ({"text": SECRET, "label": "a", "group": []}, 'the field "group" is empty, longer than'),
        ({"text": SECRET, "label": "a", "group": "g" * 257}, 'the field "group" is empty, longer than'),
        ([SECRET], "the line is no JSON object"),
    ],
)
def test_a_fault_is_named_by_file_and_line_and_never_by_content(work, refused, record: object, message: str) -> None:
    (line,) = refused(work.texts, {"a.jsonl": lines(GOOD, record)})
    assert line.startswith(f"a.jsonl:2: {message}")
    assert SECRET not in line


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "text,label\nx,a\nx\n"}, "a.csv:3: 1 cells, the header has 2"),
        ({"a.csv": "text,text\nx,a\n"}, 'a.csv:1: the header names "text" more than once'),
        ({"a.csv": "words,label\nx,a\n"}, "a.csv:2: the record has no text"),
        ({"a.csv": "text;label\nx;a\n"}, "a.csv:1: the header is one cell that holds semicolons or tabs"),
        ({"a.csv": "text,label\n"}, "a.csv: the file holds no record"),
        ({"a.csv": ""}, "a.csv:1: the table has no header"),
        ({"a.jsonl": b"\xff\n"}, "a.jsonl:1: byte 1 of the line is not UTF-8"),
        ({"a.jsonl": '{"text":"x","label":"a","label":"b"}\n'}, "a.jsonl:1: the line holds a field twice"),
        ({"a.jsonl": ""}, "a.jsonl: the file holds no record"),
        ({"a.parquet": parquet({"text": ["x"], "label": [["a"]]})}, 'a.parquet: column "label" has the type nested'),
        ({"a.parquet": b"PAR1"}, "a.parquet: is no sound Parquet file"),
        ({"a.txt": "x"}, "a.txt: is not a data file of this format"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused(work, refused, files: dict[str, Any], message: str) -> None:
    assert refused(work.texts, files)[0].startswith(message)


def test_a_class_missing_in_a_split_is_refused_with_its_counts(work, refused) -> None:
    both = lines(GOOD, {"text": "dull", "label": "negative"})
    (line,) = refused(work.texts, {"train.jsonl": both, "dev.jsonl": both, "test.jsonl": lines(GOOD)})
    assert line.startswith('"negative" does not occur in test (train 1, validation 1, test 0).')


def test_free_text_in_place_of_labels_is_refused(work, refused) -> None:
    records = lines(*({"text": "x", "label": f"{SECRET} {i}"} for i in range(1_100)))
    (line,) = refused(work.texts, {"a.jsonl": records}, split=ALL_TRAIN)
    assert line.startswith("more than 1000 labels.")


def test_a_decompressed_size_beyond_the_bound_is_refused(work, refused) -> None:
    bomb = gzip.compress(lines(GOOD).encode() * 10_000)
    (line,) = refused(work.texts, {"a.jsonl.gz": bomb}, max_bytes=100_000)
    assert line.startswith("a.jsonl.gz: the data is larger than 100000 bytes when decompressed")


def _sides(work: Workplace, records: list[dict[str, str]], **options: Any) -> dict[str, Split]:
    pushed = work.texts({"a.jsonl": lines(*records)}, **options)
    return {record.text: split for split in Split for record in read(pushed, split)}


def test_equal_texts_and_records_of_a_group_fall_on_one_side(work: Workplace) -> None:
    fill = [{"text": f"filler {i}", "label": "a", "from": f"f{i}"} for i in range(80)]
    alike = [{"text": text, "label": "a", "from": text} for text in ("Same  TEXT", "same text ", "same\ttext")]
    assert len({_sides(work, [*fill, *alike])[record["text"]] for record in alike}) == 1
    own = [{"text": f"of one person {i}", "label": "a", "from": "p"} for i in range(20)]
    sides = _sides(work, [*fill, *own], split=SplitRule(group_by="from"))
    assert len({sides[record["text"]] for record in own}) == 1


def test_a_group_to_split_by_must_be_in_every_record(work, refused) -> None:
    (line,) = refused(work.texts, {"a.jsonl": lines(GOOD)}, split=SplitRule(group_by="person"))
    assert line.startswith('a.jsonl:1: the field "person" to group by is missing.')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text":"x","label":"a","y":1}\n', "train.jsonl.gz:1: the line is no canonical record"),
        ('{"text":"x","label":["a"]}\n', "train.jsonl.gz:1: the record has a list of labels"),
        ('{"label":"a","text":"x"}\n', "train.jsonl.gz:1: the record is not written in canonical form"),
        ('{"sentence":"x","label":"a"}\n', "train.jsonl.gz:1: the line is no canonical record"),
        ("no JSON\n", "train.jsonl.gz:1: the line is no canonical record"),
        ('{"text":"x","label":"a"}\n' * 2, "the number of records in train.jsonl.gz of the manifest does not agree"),
        ('{"text":"x","label":"b"}\n', "labels of the manifest does not agree with the records"),
    ],
)
def test_a_false_record_is_refused_at_commit_although_its_hash_is_right(
    work: Workplace, content: str, message: str
) -> None:
    pushed = work.texts({"a.jsonl": lines({"text": "x", "label": "a"})}, split=ALL_TRAIN)
    packed = gzip.compress(content.encode())
    (pushed.folder / "train.jsonl.gz").write_bytes(packed)
    (entry,) = pushed.manifest.files
    changed = entry.model_copy(update={"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)})
    with pytest.raises(FormatError) as caught:
        check(pushed.folder, pushed.manifest.model_copy(update={"files": [changed]}))
    assert message in str(caught.value)


characters = st.characters(exclude_categories=("Cc", "Cs"), include_characters="\t\n\r")
texts = st.text(characters, min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=8)


@given(st.lists(st.builds(LabelledText, texts, names, st.none() | names), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_records_come_back_as_they_were_pushed(tmp_path_factory, records: list[LabelledText]) -> None:
    work = Workplace(tmp_path_factory.mktemp("texts"))
    pushed = work.texts({"a.jsonl": lines(*(record._asdict() for record in records))}, split=ALL_TRAIN)
    check(pushed.folder, pushed.manifest)
    assert read(pushed) == records


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_at_all_are_read_or_refused(tmp_path_factory, content: bytes) -> None:
    work = Workplace(Path(tmp_path_factory.mktemp("bytes")))
    for name in ("train.jsonl", "train.csv", "train.jsonl.gz", "train.parquet"):
        try:
            work.texts({name: content})
        except FormatError as error:
            assert all(unicodedata.category(character) != "Cc" for character in str(error).replace("\n", ""))
