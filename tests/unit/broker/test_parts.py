"""The small rules: how often, how much of a file, which settings, what the operator hears."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from collabspace.api.run import EndRecord, Progress
from collabspace.broker.blobs import wanted_range
from collabspace.broker.feed import Knowledge
from collabspace.broker.ledger import CLOSED, DENIED, OPENED, Entry
from collabspace.broker.limits import RateLimiter
from collabspace.broker.refusal import Refused
from collabspace.broker.settings import SettingsError, load
from collabspace.broker.store_settings import Place
from collabspace.client.protocol import Committed, Decision, VersionSummary

OPEN = Entry(OPENED, Decision.ALLOWED, "Granted", dataset_uid="uid-notes")


def test_a_namespace_has_a_burst_and_then_its_rate_and_others_are_not_touched() -> None:
    limiter = RateLimiter(rate=10, burst=5)
    assert [limiter.take("a", 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limiter.take("b", 0.0)
    assert [limiter.take("a", 0.25) for _ in range(3)] == [True, True, False]


def asked(header: str | None) -> Request:
    headers = [] if header is None else [(b"range", header.encode())]
    return Request({"type": "http", "method": "GET", "headers": headers})


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        (None, 0, 100),
        ("bytes=0-", 0, 100),
        ("bytes=40-", 40, 60),
        ("bytes=40-49", 40, 10),
        ("bytes=99-", 99, 1),
        ("bytes=40-1000", 40, 60),
        ("bytes=-10", 90, 10),
        ("bytes=-1000", 0, 100),
        ("bytes=1-2,5-6", 0, 100),
        ("lines=1-2", 0, 100),
        ("bytes=x-", 0, 100),
    ],
)
def test_a_range_gives(header: str | None, start: int, length: int) -> None:
    assert wanted_range(asked(header), 100) == (start, length)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5-4", "bytes=-0", "bytes=9999999999999999999-"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(Refused) as refused:
        wanted_range(asked(header), 100)
    assert refused.value.status == 416


@given(st.text(max_size=40), st.integers(0, 1000))
def test_no_range_header_leads_outside_the_file(header: str, size: int) -> None:
    request = Request({"type": "http", "method": "GET", "headers": [(b"range", header.encode("latin-1", "replace"))]})
    try:
        start, length = wanted_range(request, size)
    except Refused:
        return
    assert start >= 0 and length >= 0 and start + length <= size


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("PEM")
        monkeypatch.setenv(f"COLLABSPACE_BROKER_TLS_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("COLLABSPACE_BROKER_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLLABSPACE_BROKER_LEDGER", "sqlite:///ledger.db")
    return monkeypatch


def test_settings_that_are_complete_are_read(environment: pytest.MonkeyPatch) -> None:
    assert load().broker_port == 8443


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "https"),
        ("TLS_CERT", None),
        ("TLS_KEY", None),
        ("STORE", None),
        ("LEDGER", "not a url"),
        ("LEDGER", "postgresql+psycopg://broker:hunter2@host/ledger"),
        ("LEDGER", "postgresql+psycopg://broker@host/ledger?password=hunter2"),
        ("METRICS", "9090"),
        ("METRICS", "127.0.0.1:x"),
        ("REQUESTS_PER_SECOND", "0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_variable(
    environment: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    variable = f"COLLABSPACE_BROKER_{name}"
    if value is None:
        environment.delenv(variable)
    else:
        environment.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load()
    assert variable in str(error.value) and "\n" not in str(error.value) and "hunter2" not in str(error.value)


S3 = {"STORE": "s3://data-of-teams/collab/one", "STAGING": "/var/tmp"}


def test_a_store_in_s3_is_read_as_bucket_and_prefix(environment: pytest.MonkeyPatch) -> None:
    assert load().s3_place is None
    for name, value in S3.items():
        environment.setenv(f"COLLABSPACE_BROKER_{name}", value)
    read = load()
    assert read.s3_place == Place("data-of-teams", "collab/one") and read.staging_folder == Path("/var/tmp")


@pytest.mark.parametrize(
    ("named", "changes"),
    [
        ("STORE", {"STORE": "s3://"}),
        ("STORE", {"STORE": "s3://Up/x"}),
        ("STORE", {"STORE": "s3://bucket/../other"}),
        ("STORE", {"STORE": "s3://bucket/a//b"}),
        ("STORE", {"STORE": "s3://bucket/${aws:username}"}),
        ("STORE", {"STORE": "s3://key:hunter2@bucket/x"}),
        ("STORE", {"STORE": "gs://bucket/x"}),
        ("STAGING", {"STAGING": None}),
        ("STAGING", {"STORE": "/folder"}),
        ("READS", {"READS": "Links"}),
        ("READS", {"STORE": "/folder", "STAGING": None, "READS": "Redirect"}),
        ("S3_ENDPOINT", {"S3_ENDPOINT": "minio:9000"}),
        ("S3_ENDPOINT", {"S3_ENDPOINT": "https://key:hunter2@host"}),
        ("S3_ENDPOINT", {"STORE": "/folder", "STAGING": None, "S3_ENDPOINT": "https://host"}),
        ("S3_REGION", {"S3_REGION": "EU west"}),
        ("S3_PATH_STYLE", {"S3_PATH_STYLE": "perhaps"}),
        ("S3_SECRET_KEY_FILE", {"S3_ACCESS_KEY_FILE": "/etc/hostname"}),
    ],
)
def test_a_wrong_setting_of_the_store_is_one_line_that_names_the_variable(
    environment: pytest.MonkeyPatch, named: str, changes: dict[str, str | None]
) -> None:
    for name, value in {**S3, **changes}.items():
        if value is None:
            environment.delenv(f"COLLABSPACE_BROKER_{name}", raising=False)
        else:
            environment.setenv(f"COLLABSPACE_BROKER_{name}", value)
    with pytest.raises(SettingsError) as error:
        load()
    text = str(error.value)
    assert text.startswith(f"COLLABSPACE_BROKER_{named}:") and "\n" not in text and "hunter2" not in text


def test_a_wrong_ledger_url_is_not_repeated_since_it_may_hold_a_password(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("COLLABSPACE_BROKER_LEDGER", "postgresql//user:hunter2@host")
    with pytest.raises(SettingsError) as error:
        load()
    assert "hunter2" not in str(error.value)


def version(number: int) -> VersionSummary:
    return VersionSummary(
        digest=f"sha256:{number:064x}", created_time="2026-01-01T00:00:00Z", format="Model", records=0, bytes=1, files=1
    )


async def test_the_first_feed_is_full_and_the_next_one_holds_changes_only() -> None:
    known = Knowledge()
    known.publish("uid-a", version(1))
    known.publish("uid-b", version(2))
    first = await known.feed("", 0)
    assert first.full and [dataset.uid for dataset in first.datasets] == ["uid-a", "uid-b"]
    known.publish("uid-b", version(3))
    second = await known.feed(first.cursor, 0)
    assert not second.full and [dataset.uid for dataset in second.datasets] == ["uid-b"]
    assert [summary.digest for summary in second.datasets[0].versions] == [version(3).digest, version(2).digest]
    third = await known.feed(second.cursor, 0)
    assert (third.datasets, third.attempts, third.cursor) == ([], [], second.cursor)


@pytest.mark.parametrize("cursor", ["", "x", "0123456789abcdef-1", "-", "-1", "é-٣"])
async def test_an_unknown_cursor_gets_everything(cursor: str) -> None:
    known = Knowledge()
    known.publish("uid-a", version(1))
    assert (await known.feed(cursor, 0)).full


async def test_a_cursor_of_another_life_of_the_broker_gets_everything() -> None:
    before, after = Knowledge(), Knowledge()
    for known in (before, after):
        known.publish("uid-a", version(1))
    assert (await after.feed((await before.feed("", 0)).cursor, 0)).full


async def test_a_waiting_feed_answers_when_something_changes() -> None:
    known = Knowledge()
    cursor = (await known.feed("", 0)).cursor
    waiting = asyncio.create_task(known.feed(cursor, 30))
    await asyncio.sleep(0)
    known.attempt("uid-t", 1, progress=Progress(step=1, total_steps=2))
    async with asyncio.timeout(5):
        feed = await waiting
    assert [attempt.task_uid for attempt in feed.attempts] == ["uid-t"]


async def test_use_is_counted_as_the_records_say() -> None:
    known = Knowledge()
    known.count(OPEN, "h1", "2026-01-01T00:00:00Z")
    known.count(OPEN.but(event=CLOSED, bytes=7), "h2", "2026-01-02T00:00:00Z")
    known.count(OPEN.but(event=DENIED, repeats=3), "h3", "2026-01-03T00:00:00Z")
    known.count(OPEN.but(dataset_uid=None), "h4", "2026-01-03T00:00:00Z")
    (dataset,) = (await known.feed("", 0)).datasets
    assert (dataset.reads, dataset.denials, dataset.bytes_read) == (1, 3, 7)
    assert (dataset.last_read_time, dataset.ledger_head) == ("2026-01-01T00:00:00Z", "h3")


async def test_progress_end_and_result_of_an_attempt_come_together() -> None:
    known = Knowledge()
    known.attempt("uid-t", 1, progress=Progress(step=1, total_steps=2))
    known.attempt("uid-t", 1, result=Committed(digest=version(1).digest, records=0, bytes=1, created=True))
    known.attempt("uid-t", 2, end=EndRecord(code=0, reason="Completed"))
    newest, oldest = known.attempts_of("uid-t")
    assert (newest.attempt, oldest.attempt) == (2, 1)
    assert oldest.progress is not None and oldest.result is not None and oldest.end is None
