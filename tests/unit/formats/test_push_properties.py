"""Invariants over generated data: nothing is lost or moved, and no changed byte goes unnoticed."""

import json
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from formats_workplace import Workplace
from hypothesis import given, settings
from hypothesis import strategies as st

from collabspace.api.manifest import ColumnSchema, Split
from collabspace.formats import FormatError, SplitRule, TaggedSentence, check, read_table, read_token_classification

ALL_TRAIN = SplitRule("Hash", 100, 0, 0)

characters = st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"))
tokens = st.text(characters, min_size=1, max_size=8).filter(lambda token: not token.startswith(("-DOCSTART-", "#")))
types = st.sampled_from(["Disease", "Drug", "A-B"])
keys = st.none() | st.text(characters, min_size=1, max_size=12)


@st.composite
def sentences(draw: st.DrawFn) -> TaggedSentence:
    words: list[str] = []
    tags: list[str] = []
    for _ in range(draw(st.integers(1, 5))):
        length = draw(st.integers(1, 3))
        words += draw(st.lists(tokens, min_size=length, max_size=length))
        type_ = draw(st.none() | types)
        tags += ["O"] * length if type_ is None else [f"B-{type_}", *[f"I-{type_}"] * (length - 1)]
    return TaggedSentence(tuple(words), tuple(tags), draw(keys), draw(keys))


corpora = st.lists(sentences(), min_size=1, max_size=8).map(
    lambda found: [*found, TaggedSentence(("gout",), ("B-Disease",))]
)


def _columns(corpus: Sequence[TaggedSentence]) -> str:
    return "\n".join("".join(f"{t}\t{g}\n" for t, g in zip(s.tokens, s.tags, strict=True)) for s in corpus)


def _lines(corpus: Sequence[TaggedSentence]) -> str:
    records = [{"tokens": s.tokens, "tags": s.tags, "group": s.group, "id": s.id} for s in corpus]
    return "".join(json.dumps(record) + "\n" for record in records)


def _bare(corpus: Sequence[TaggedSentence]) -> list[TaggedSentence]:
    return [TaggedSentence(s.tokens, s.tags) for s in corpus]


@given(corpora)
@settings(max_examples=60, deadline=None)
def test_sentences_come_back_as_they_were_pushed(corpus: list[TaggedSentence]) -> None:
    with tempfile.TemporaryDirectory() as root:
        work = Workplace(Path(root))
        for files, expected in (
            ({"a.tsv": _columns(corpus)}, _bare(corpus)),
            ({"a.jsonl": _lines(corpus)}, corpus),
        ):
            pushed = work.tokens(files, split=ALL_TRAIN)
            check(pushed.folder, pushed.manifest)
            assert read_token_classification(pushed.folder, pushed.manifest, Split.TRAIN) == expected


def _iob1(tags: Sequence[str]) -> list[str]:
    """The other direction, written apart from the code under test."""
    before = ["O", *tags[:-1]]
    return [
        "I-" + tag[2:] if tag.startswith("B-") and last[2:] != tag[2:] else tag
        for last, tag in zip(before, tags, strict=True)
    ]


def _bioes(tags: Sequence[str]) -> list[str]:
    after = [*tags[1:], "O"]
    ends = [tag != "O" and not following.startswith("I-") for tag, following in zip(tags, after, strict=True)]
    prefix = {("B", True): "S", ("B", False): "B", ("I", True): "E", ("I", False): "I"}
    return [tag if tag == "O" else prefix[tag[0], end] + tag[1:] for tag, end in zip(tags, ends, strict=True)]


@given(corpora)
@settings(max_examples=40, deadline=None)
def test_other_tag_schemes_come_back_as_iob2(corpus: list[TaggedSentence]) -> None:
    with tempfile.TemporaryDirectory() as root:
        work = Workplace(Path(root))
        for scheme, rewrite in (("iob1", _iob1), ("bioes", _bioes)):
            written = [sentence._replace(tags=tuple(rewrite(sentence.tags))) for sentence in corpus]
            pushed = work.tokens({"a.tsv": _columns(written)}, split=ALL_TRAIN, tags=scheme)
            assert read_token_classification(pushed.folder, pushed.manifest, Split.TRAIN) == _bare(corpus)


def _sides(work: Workplace, corpus: Sequence[TaggedSentence]) -> dict[str, Split]:
    """The split of each sentence's id, found by reading back; one per split is added so that none is empty."""
    fillers = [TaggedSentence((f"filler{i}",), ("B-Disease",), None, f"filler{i}") for i in range(60)]
    plain = [s._replace(tags=("O",) * len(s.tokens)) for s in corpus]
    pushed = work.tokens({"a.jsonl": _lines([*plain, *fillers])}, split=SplitRule("Hash"))
    return {
        s.id or "": split for split in Split for s in read_token_classification(pushed.folder, pushed.manifest, split)
    }


@given(st.lists(sentences(), min_size=1, max_size=10), st.lists(sentences(), max_size=10), st.randoms())
@settings(max_examples=40, deadline=None)
def test_a_record_keeps_its_split_when_records_are_added(first, added, random) -> None:
    numbered = [s._replace(id=str(i)) for i, s in enumerate([*first, *added])]
    later = list(numbered)
    random.shuffle(later)
    with tempfile.TemporaryDirectory() as root:
        work = Workplace(Path(root))
        before, after = _sides(work, numbered[: len(first)]), _sides(work, later)
    assert {key: after[key] for key in before} == before


@given(corpora, st.data())
@settings(max_examples=40, deadline=None)
def test_no_changed_byte_of_a_canonical_file_goes_unnoticed(corpus: list[TaggedSentence], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        work = Workplace(Path(root))
        sentences = work.tokens({"a.jsonl": _lines(corpus)}, split=ALL_TRAIN)
        table = work.table({"a.csv": "a\n" + "".join(f"{len(s.tokens)}\n" for s in corpus)}, split=ALL_TRAIN)
        for pushed, read in ((sentences, read_token_classification), (table, read_table)):
            path = pushed.folder / pushed.manifest.files[0].path
            content = bytearray(path.read_bytes())
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
            path.write_bytes(content)
            with pytest.raises(FormatError):
                check(pushed.folder, pushed.manifest)
            with pytest.raises(FormatError):
                read(pushed.folder, pushed.manifest, Split.TRAIN)


cells = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=10)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_cells_of_text_come_back_as_they_stood_in_the_csv(rows: list[tuple[str, str]]) -> None:
    columns = [ColumnSchema(name=name, kind="Text") for name in "ab"]
    text = "a,b\n" + "".join(",".join('"' + c.replace('"', '""') + '"' for c in row) + "\n" for row in rows)
    with tempfile.TemporaryDirectory() as root:
        pushed = Workplace(Path(root)).table({"t.csv": text}, split=ALL_TRAIN, columns=columns)
        check(pushed.folder, pushed.manifest)
        table = read_table(pushed.folder, pushed.manifest, Split.TRAIN)
    assert list(zip(*table.to_pydict().values(), strict=True)) == [tuple(c or None for c in row) for row in rows]


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_at_all_are_read_or_refused_and_never_a_traceback(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        work = Workplace(Path(root))
        for name in ("train.tsv", "train.jsonl", "train.tsv.gz"):
            _accept(lambda name=name: work.tokens({name: content}))
        for name in ("train.csv", "train.parquet", "train.parquet.gz"):
            _accept(lambda name=name: work.table({name: content}))


def _accept(push) -> None:
    try:
        push()
    except FormatError as error:
        assert str(error)
        assert all(unicodedata.category(character) != "Cc" for character in str(error).replace("\n", ""))
