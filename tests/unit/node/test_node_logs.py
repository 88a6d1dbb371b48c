"""Reading logs as the shim writes them."""

import datetime as dt
from pathlib import Path

import pytest

from collabspace.kube import clock
from collabspace.local.node.logs import LogOptionError, LogOptions, LogReader, stream, tail
from collabspace.local.node.shim import Log

NOW = clock.parse("2026-01-01T12:00:00Z")


async def text(log: Path, options: LogOptions) -> bytes:
    return b"".join([part async for part in stream(log, options, lambda: True)])


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_pieces_of_a_line_are_joined_and_streams_kept_apart(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), 1_000_000)
    log.feed("stdout", b"a" * 20_000)
    log.feed("stderr", b"error\n")
    log.feed("stdout", b"b\nlast")
    log.close()
    assert tail(tmp_path / "log", 10, 100_000) == "a" * 16_384 + "error\n" + "a" * 3_616 + "b\nlast"


async def test_a_long_line_counts_as_one_in_a_tail(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), 1_000_000)
    log.feed("stdout", b"first\n" + b"x" * 40_000 + b"\nlast\n")
    log.close()
    assert await text(tmp_path / "log", LogOptions(tail_lines=2)) == b"x" * 40_000 + b"\nlast\n"
    assert await text(tmp_path / "log", LogOptions(tail_lines=0)) == b""


async def test_a_log_is_bounded_and_read_across_its_rotation(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), 20_000)
    for number in range(2_000):
        log.feed("stdout", b"line %d\n" % number)
    log.close()
    assert size(tmp_path) < 21_000
    lines = (await text(tmp_path / "log", LogOptions())).splitlines()
    assert lines[-1] == b"line 1999"
    assert lines == [b"line %d" % number for number in range(2_000 - len(lines), 2_000)]


def test_a_reader_follows_a_log_through_its_rotation(tmp_path: Path) -> None:
    log, reader = Log(str(tmp_path / "log"), 2_000), LogReader(tmp_path / "log")
    seen: list[bytes] = []
    for number in range(200):
        log.feed("stdout", b"line %d\n" % number)
        seen += [record.split(b" ", 3)[3] for record in reader.read()]
    reader.close()
    log.close()
    assert seen == [b"line %d" % number for number in range(200)]


async def test_following_ends_when_the_container_has_ended_and_all_is_read(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), 2_000)
    looks = 0

    def ended() -> bool:
        nonlocal looks
        looks += 1
        log.feed("stdout", b"look %d\n" % looks)
        return looks == 3

    parts = [part async for part in stream(tmp_path / "log", LogOptions(follow=True), ended)]
    log.close()
    assert b"".join(parts) == b"look 1\nlook 2\nlook 3\n"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "-1"}, "tailLines is '-1'"),
        ({"limitBytes": "many"}, "limitBytes is 'many'"),
        ({"sinceTime": "yesterday"}, "'yesterday' is not RFC 3339"),
    ],
)
def test_bad_options_are_named(query: dict[str, str], message: str) -> None:
    with pytest.raises(LogOptionError, match=message):
        LogOptions.parse(query, NOW)


async def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "2026-01-01T11:59:00.000000001Z stdout F old\n2026-01-01T11:59:59.999999999Z stdout F new\n"
    )
    assert await text(tmp_path / "log", LogOptions.parse({"sinceSeconds": "30"}, NOW)) == b"new\n"
    since = clock.rfc3339(NOW - dt.timedelta(minutes=2))
    assert await text(tmp_path / "log", LogOptions.parse({"sinceTime": since, "timestamps": "true"}, NOW)) == (
        b"2026-01-01T11:59:00.000000001Z old\n2026-01-01T11:59:59.999999999Z new\n"
    )
