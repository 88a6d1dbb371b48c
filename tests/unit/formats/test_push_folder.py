"""What may lie in a pushed folder, how files are decoded, and the bounds on them."""

import gzip
import hashlib
import os
from pathlib import Path

import pytest
from formats_workplace import SENTENCE

from collabspace.api.manifest import DatasetFormat, Split
from collabspace.formats import FormatError, SplitRule, limits, prepare, read_token_classification


def _train(pushed) -> list[tuple[str, ...]]:
    return [s.tokens for s in read_token_classification(pushed.folder, pushed.manifest, Split.TRAIN)]


def test_the_readme_becomes_the_card_and_licences_and_dotfiles_are_ignored(work, splits) -> None:
    extra = {"README.md": "\ufeff# Notes\n", "LICENSE": "free", "LICENSE.txt": "x", ".hidden": "x", ".git/config": "x"}
    pushed = work.tokens(splits() | extra)
    assert pushed.prepared.readme == "# Notes\n"
    assert {file.path for file in pushed.manifest.source_files} == {"train.tsv", "validation.tsv", "test.tsv"}


def test_any_other_file_is_an_error_by_name(work, splits, refused) -> None:
    lines = refused(work.tokens, splits() | {"notes.docx": "x", "docs/README.md": "x", "a.csv": "x"})
    assert [line.split(":")[0] for line in lines] == ["a.csv", "docs/README.md", "notes.docx"]
    assert "is not a data file of this format" in lines[0]


def test_one_file_alone_can_be_pushed(work) -> None:
    folder = work.source({"train.tsv": SENTENCE * 3, "other.docx": "not part of the push"})
    pushed = work.tokens(folder / "train.tsv", split=SplitRule("Hash", 100, 0, 0))
    assert [file.path for file in pushed.manifest.source_files] == ["train.tsv"]


def test_a_source_that_does_not_exist_is_refused(work, tmp_path: Path, refused) -> None:
    assert refused(work.tokens, tmp_path / "nowhere") == ["nowhere: does not exist. Name a file or a folder."]


def test_an_empty_folder_is_refused(work, refused) -> None:
    assert refused(work.tokens, {})[0].startswith("no data file found.")


def test_links_inside_the_folder_are_refused_and_never_followed(work, splits, refused) -> None:
    folder = work.source(splits())
    secret = work.source({"secret.tsv": SENTENCE}) / "secret.tsv"
    (folder / "linked-train.tsv").symlink_to(secret)
    (folder / "shards").symlink_to(secret.parent)
    lines = refused(work.tokens, folder)
    assert [line.split(".")[0] for line in lines] == ["linked-train", "shards: is a link"]


def test_a_named_pipe_is_refused(work, splits, refused) -> None:
    folder = work.source(splits())
    os.mkfifo(folder / "train2.tsv")
    assert refused(work.tokens, folder) == ["train2.tsv: is neither a file nor a folder. Remove it."]


def test_a_file_name_with_an_escape_sequence_is_refused_and_printed_harmless(work, splits, refused) -> None:
    (line,) = refused(work.tokens, splits() | {"\x1b[31mtrain.tsv": SENTENCE})
    assert line == "?[31mtrain.tsv: the name holds an unprintable character. Rename it."


def test_a_path_too_long_for_a_manifest_is_refused(work, refused) -> None:
    deep = "/".join(["d" * 250] * 5)
    (line,) = refused(work.tokens, {"train.tsv": SENTENCE, f"{deep}/test.tsv": SENTENCE})
    assert ": the path is longer than 1024 characters." in line


def test_gzip_files_are_read_like_plain_ones(work) -> None:
    plain = work.tokens({"train.tsv": SENTENCE, "dev.tsv": SENTENCE, "test.tsv": SENTENCE})
    packed = {f"{name}.tsv.gz": gzip.compress(SENTENCE.encode()) for name in ("train", "dev", "test")}
    zipped = work.tokens(packed)
    assert plain.manifest.files == zipped.manifest.files
    assert zipped.manifest.source_files[1].path == "test.tsv.gz"


@pytest.mark.parametrize(
    "content",
    [b"plain text", gzip.compress(SENTENCE.encode())[:-6], gzip.compress(SENTENCE.encode())[:30] + b"x" * 9, b""],
)
def test_a_damaged_gzip_file_is_refused_by_name(work, splits, refused, content: bytes) -> None:
    lines = refused(work.tokens, splits() | {"train-2.tsv.gz": content})
    expected = "is not a whole gzip file" if content else "the file holds no record"
    assert any(line.startswith(f"train-2.tsv.gz: {expected}") for line in lines)


def test_decompressed_data_beyond_the_bound_is_refused_early(work, splits, refused) -> None:
    bomb = gzip.compress(b"\n" * 50_000_000)
    lines = refused(work.tokens, splits() | {"train-2.tsv.gz": bomb}, max_bytes=1_000_000)
    assert lines == [
        "train-2.tsv.gz: the data is larger than 1000000 bytes when decompressed. Push it as several datasets."
    ]


def test_more_files_than_allowed_are_refused(work, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collabspace.formats.folder.MAX_FILES", 3)
    (line,) = refused(work.tokens, {f"train-{i}.tsv": SENTENCE for i in range(4)})
    assert line.startswith("more than 3 files.")


def test_a_byte_order_mark_and_crlf_are_not_part_of_the_data(work) -> None:
    text = "\ufeff" + SENTENCE.replace("\n", "\r\n") + "\r\n" + "gout\tB-Disease\r\n"
    pushed = work.tokens({"train.tsv": text, "dev.tsv": SENTENCE, "test.tsv": SENTENCE})
    assert _train(pushed) == [("Marfan", "syndrome", "runs"), ("gout",)]


def test_a_last_line_without_line_feed_is_read(work, splits) -> None:
    assert _train(work.tokens(splits(train="gout\tB-Disease"))) == [("gout",)]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_lines_end_at_line_feed_only_so_line_numbers_hold(work, splits, refused, separator: str) -> None:
    lines = refused(work.tokens, splits(train=f"gout\tB-Disease\nab{separator}cd\tO\nx\tbad\n"))
    assert lines[0].startswith("train.tsv:2: ")
    assert f"U+{ord(separator):04X}" in lines[0]
    assert lines[1].startswith("train.tsv:3: the tag is neither")
    assert len(lines) == 2


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x80", "\r"])
def test_control_characters_are_refused_with_their_place(work, splits, refused, character: str) -> None:
    (line,) = refused(work.tokens, splits(test=f"a\tB-Disease\nb{character}c\tO\n"))
    assert line == f"test.tsv:2: control character U+{ord(character):04X} at position 2. Remove it."


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(work, splits, refused) -> None:
    (line,) = refused(work.tokens, splits() | {"train.tsv": "gout\tB-Disease\nMüller\tO\n".encode("latin-1")})
    assert line == "train.tsv:2: byte 2 of the line is not UTF-8. Save the file as UTF-8."


def test_a_line_of_more_than_a_megabyte_is_refused(work, splits, refused) -> None:
    (line,) = refused(work.tokens, splits(train=SENTENCE + "x" * 1_000_001))
    assert line == "train.tsv:4: the line is longer than 1000000 bytes. Break it into several records."


def test_twenty_problems_are_shown_and_the_others_counted(work, splits, refused) -> None:
    lines = refused(work.tokens, splits(train="word\tbad\n" * 57))
    assert len(lines) == 21
    assert lines[-1] == "and 37 more"


def test_reading_stops_at_a_thousand_problems(work, splits, refused) -> None:
    assert refused(work.tokens, splits(train="word\tbad\n\n" * 5_000))[-1] == "and 980 more"


def test_no_message_shows_a_token_or_a_malformed_tag(work, splits, refused) -> None:
    swapped = "O\tSECRETNAME\nB-Disease\tSECRET-NAME\nSECRETWORD\tI-Disease\nSECRET WORD\tO\n"
    assert "SECRET" not in "\n".join(refused(work.tokens, splits(train=swapped)))


def test_nothing_is_left_in_the_destination_after_an_error(work, splits, tmp_path: Path) -> None:
    source = work.source(splits(train="word\tbad\n"))
    destination = tmp_path / "out"
    with pytest.raises(FormatError):
        prepare(source, DatasetFormat.TOKEN_CLASSIFICATION, destination, owner_uid="u", split=SplitRule())
    assert list(destination.iterdir()) == []


def test_a_destination_that_is_not_empty_is_an_error_and_stays_as_it_is(work, splits, tmp_path: Path) -> None:
    destination = tmp_path / "out"
    destination.mkdir()
    (destination / "precious").write_text("x")
    with pytest.raises(ValueError, match="is not empty"):
        prepare(
            work.source(splits()), DatasetFormat.TOKEN_CLASSIFICATION, destination, owner_uid="u", split=SplitRule()
        )
    assert (destination / "precious").exists()


@pytest.mark.parametrize("format", ["TextPairs", "Documents", "Interactions"])
def test_a_format_that_is_not_there_yet_is_refused_with_the_list_of_those_that_are(work, refused, format) -> None:
    assert refused(work.push, {"a.jsonl": "{}"}, DatasetFormat(format)) == [
        f"the format {format} cannot be pushed yet. "
        "Supported are TokenClassification, TextClassification, Tabular, Model."
    ]


def test_equal_input_gives_an_equal_digest_and_names_no_machine(work, splits) -> None:
    first, second = work.tokens(splits()), work.tokens(splits())
    assert first.manifest.digest == second.manifest.digest
    header = (first.folder / "train.jsonl.gz").read_bytes()[:10]
    assert header == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, no system


def test_the_manifest_keeps_hashes_of_the_files_as_pushed(work, splits) -> None:
    pushed = work.tokens(splits())
    assert {f.sha256 for f in pushed.manifest.source_files} == {hashlib.sha256(SENTENCE.encode()).hexdigest()}


def test_progress_ends_at_the_bytes_of_the_data_files(work, splits) -> None:
    told: list[tuple[int, int]] = []
    work.tokens(splits(), progress=lambda done, total: told.append((done, total)))
    size = len(SENTENCE.encode())
    assert told == [(size, 3 * size), (2 * size, 3 * size), (3 * size, 3 * size)]


def test_the_limits_are_the_documented_ones() -> None:
    assert (limits.MAX_TOKENS, limits.MAX_TOKEN_CHARACTERS, limits.MAX_LINE_BYTES) == (10_000, 1_000, 1_000_000)
    assert (limits.MAX_LABELS, limits.MAX_COLUMNS, limits.MAX_TOTAL_BYTES) == (1_000, 2_000, 20 * 10**9)
