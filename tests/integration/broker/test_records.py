"""The ledger as owners read it, the feed and usage of the operator, and the broker's own health."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from admin_shell import shell_of
from broker_harness import BrokerProcess, Pin, World
from ledger_backends import Backend, Postgres, Sqlite, Statement, restored, saved
from postgres_ledger import checked, settings, verified
from published_notes import Published, prepared, pushed
from store_places import counted

from collabspace.api import names
from collabspace.api.run import Progress
from collabspace.client.client import BrokerClient
from collabspace.client.errors import AccessRefused, BrokerError
from collabspace.client.protocol import Usage
from collabspace.local.cluster import LocalCluster

USAGE = Usage(namespace="lab", task="ner", gpu_seconds=3, cpu_seconds=9, outcome="Completed")


@pytest.fixture
async def operator(world: World, broker: BrokerProcess) -> BrokerClient:
    """The operator's own account."""
    return broker.client(await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT))


async def test_an_owner_sees_who_used_the_data_and_the_user_sees_the_same_records(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    lab, third = await world.team(), await world.team()
    await world.grant(published.owner, lab)
    pod = await world.trainer(lab, [Pin(published.owner, published.uid, published.digest)])
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, published.uid, published.digest, tmp_path)
    pages = {}
    for namespace in (published.owner, lab, third):
        with broker.client(await world.token(namespace, names.READER_ACCOUNT)) as client:
            pages[namespace] = (await asyncio.to_thread(client.ledger)).records
    assert [record.event for record in pages[published.owner]] == ["Closed", "Opened", "Published"]
    assert pages[lab] == pages[published.owner][:2]
    assert pages[third] == []
    closed, opened, _ = pages[published.owner]
    assert (opened.namespace, opened.task, opened.dataset) == (lab, f"{lab}/ner", f"{published.owner}/notes")
    assert closed.bytes == counted(published.manifest.size)
    assert (opened.purpose, opened.grant, (opened.generation or 0) > 0) == ("named entities", "research", True)


async def test_an_owner_can_ask_for_one_dataset_and_page_through_it(
    world: World, broker: BrokerProcess, published: Published
) -> None:
    with broker.client(await world.token(published.owner, names.PUBLISHER_ACCOUNT)) as client:
        page = await asyncio.to_thread(client.ledger, None, 1, "notes")
        assert [record.event for record in page.records] == ["Published"]
        assert (await asyncio.to_thread(client.ledger, page.next, 1, "notes")).records == []
        assert (await asyncio.to_thread(client.ledger, None, 10, "other")).records == []


@pytest.fixture(params=("sqlite", "postgresql"))
def broken_into(
    request: pytest.FixtureRequest, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> Iterator[tuple[BrokerProcess, Backend]]:
    """A broker, and the database of its ledger as whoever tampers with it sees it."""
    if request.param == "sqlite":
        broker = make_broker()
        yield broker, Sqlite(broker.ledger)
        return
    schema = request.getfixturevalue("postgres").schema()
    broker = make_broker(**settings(schema, tmp_path))
    with schema.connect() as connection:
        yield broker, Postgres(schema, connection)


def moved(*places: tuple[int, int]) -> tuple[Statement, ...]:
    return tuple(("UPDATE access SET position = ? WHERE position = ?", (new, old)) for old, new in places)


DEEDS: dict[str, tuple[tuple[Statement, ...], str]] = {
    "edited": ((("UPDATE access SET reason = 'Own' || position WHERE position = 3", ()),), "edited or moved"),
    "removed": ((("DELETE FROM access WHERE position = 3", ()),), "removed"),
    "removed, and the gap closed": ((("DELETE FROM access WHERE position = 3", ()), *moved((4, 3), (5, 4))), "edited"),
    "swapped": (moved((3, 0), (4, 3), (0, 4)), "edited or moved"),
    "cut off": ((("DELETE FROM access WHERE position >= 3", ()),), "removed from the end"),
}


async def test_people_brokers_and_auditors_are_told_the_same_first_bad_record_whatever_was_done(
    world: World, broken_into: tuple[BrokerProcess, Backend], cluster: LocalCluster, tmp_path: Path
) -> None:
    broker, database = broken_into
    data = await pushed(world, broker, tmp_path)
    shell = await shell_of(world, broker, data.owner, cluster)
    with broker.client(await world.token(data.owner, names.READER_ACCOUNT)) as reader:
        for number in range(2):
            await asyncio.to_thread(reader.fetch_dataset, data.owner, "notes", None, tmp_path / str(number))
        saved(database)
        for deed, (statements, found) in DEEDS.items():
            database.change(*statements)
            (online,) = [chain for chain in (await asyncio.to_thread(reader.verify_ledger)).chains if not chain.ok]
            offline = await asyncio.to_thread(checked, database.url)
            typed = await shell.collab("ledger", "verify", "notes")
            assert online.problem is not None and online.problem.startswith(f"record 3: {found}"), deed
            assert offline == (1, f"{data.uid}: 2 records intact, then {online.problem}"), deed
            assert typed.exit_code == 1, deed
            assert f"the ledger was changed: chain {data.uid}: {online.problem}" in typed.stderr, deed
            restored(database)
        assert (await asyncio.to_thread(reader.verify_ledger)).ok
    assert await asyncio.to_thread(verified, database.url) == (0, f"{data.uid}: 5 records, intact")
    assert "intact" in (await shell.did("ledger", "verify", "notes")).stdout


async def test_reading_that_a_killed_broker_left_open_is_closed_on_record_once_with_unknown_bytes(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    published = await pushed(world, broker, tmp_path)
    token = await world.token(published.owner, names.READER_ACCOUNT)

    def open_session() -> None:
        with broker.http(token) as http:
            wish = {"namespace": published.owner, "name": "notes"}
            assert http.post("/v1/sessions", json=wish).status_code == 201

    await asyncio.to_thread(open_session)
    for _ in range(2):
        await asyncio.to_thread(broker.stop, signal.SIGKILL)
        await asyncio.to_thread(broker.start)
    _, opened, closed = broker.rows("chain = ?", published.uid)
    assert (opened["event"], closed["event"], closed["reason"]) == ("Opened", "Closed", "BrokerRestarted")
    assert (closed["session"], closed["bytes"]) == (opened["session"], None)
    with broker.client(token) as client:
        assert (await asyncio.to_thread(client.verify_ledger)).ok
        page = await asyncio.to_thread(client.ledger_onward, 0, 2)
        rest = await asyncio.to_thread(client.ledger_onward, page.next or 0, 2)
        assert [record.event for record in page.records + rest.records] == ["Published", "Opened", "Closed"]
    with broker.client(await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)) as client:
        (feed,) = (await asyncio.to_thread(client.feed, "", 0)).datasets
    assert (feed.reads, feed.bytes_read, feed.ledger_head) == (1, 0, closed["hash"])


async def test_a_ledger_put_back_to_an_older_copy_is_found_by_the_head_in_the_datasets_status(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    token = await world.token(owner, names.PUBLISHER_ACCOUNT)
    with broker.client(token) as client:
        await asyncio.to_thread(client.push, data.target, data.manifest, data.folder)
    broker.stop()
    copy = broker.ledger.read_bytes()
    broker.start()
    with broker.client(await world.token(owner, names.READER_ACCOUNT)) as reader:
        await asyncio.to_thread(reader.fetch_dataset, owner, "notes", None, tmp_path / "got")
    with broker.client(await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)) as client:
        (feed,) = (await asyncio.to_thread(client.feed, "", 0)).datasets
    path = f"/apis/{names.API_VERSION}/namespaces/{owner}/{names.SHARED_DATASETS}/notes/status"
    await world.admin.merge(path, {"status": {"usage": {"ledgerHead": feed.ledger_head}}})
    broker.stop()
    broker.ledger.write_bytes(copy)
    broker.start()
    with broker.client(token) as client:
        verdict = await asyncio.to_thread(client.verify_ledger)
    (chain,) = [chain for chain in verdict.chains if not chain.ok]
    assert chain.problem is not None and chain.problem.startswith("record 2: a head known from elsewhere")


async def test_the_operator_hears_of_versions_use_and_attempts(
    world: World, broker: BrokerProcess, operator: BrokerClient, published: Published, tmp_path: Path
) -> None:
    with operator:
        full = await asyncio.to_thread(operator.feed, "", 0)
        assert full.full
        (known,) = [dataset for dataset in full.datasets if dataset.uid == published.uid]
        assert [version.digest for version in known.versions] == [published.digest]
        assert (known.versions[0].records, known.versions[0].labels) == (published.manifest.records, ["Disease"])
        waiting = asyncio.create_task(asyncio.to_thread(operator.feed, full.cursor, 20))
        with broker.client(await world.token(published.owner, names.READER_ACCOUNT)) as client:
            await asyncio.to_thread(client.fetch_dataset, published.owner, "notes", None, tmp_path)
        changed = await waiting
        assert not changed.full and [dataset.uid for dataset in changed.datasets] == [published.uid]
        last = await asyncio.to_thread(operator.feed, full.cursor, 0)
        (used,) = last.datasets
        assert (used.reads, used.bytes_read, used.denials) == (1, counted(published.manifest.size) or 0, 0)
        assert used.ledger_head == broker.rows("chain = ?", published.uid)[-1]["hash"]
        pod = await world.trainer(published.owner, [Pin(published.owner, published.uid, published.digest)])
        with broker.client(await pod.token()) as client:
            await asyncio.to_thread(client.report_progress, pod.task.uid, 1, Progress(step=1, total_steps=2))
        (attempt,) = (await asyncio.to_thread(operator.feed, last.cursor, 10)).attempts
        assert (attempt.task_uid, attempt.attempt) == (pod.task.uid, 1)


async def test_nobody_but_the_operator_gets_the_feed_or_reports_usage(world: World, broker: BrokerProcess) -> None:
    team = await world.team()
    body = {"metadata": {"name": names.OPERATOR_ACCOUNT, "namespace": team}}
    await world.admin.create(f"/api/v1/namespaces/{team}/serviceaccounts", body)
    for account in (names.OPERATOR_ACCOUNT, names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT):
        with broker.client(await world.token(team, account)) as client:
            with pytest.raises(AccessRefused):
                await asyncio.to_thread(client.feed, "", 0)
            with pytest.raises(AccessRefused):
                await asyncio.to_thread(client.report_usage, "uid", 1, USAGE)


async def test_usage_reported_twice_is_recorded_once_and_a_correction_beside_it(
    broker: BrokerProcess, operator: BrokerClient
) -> None:
    corrected = USAGE.model_copy(update={"gpu_seconds": 4})
    with operator:
        for said in (USAGE, USAGE, corrected, corrected):
            await asyncio.to_thread(operator.report_usage, "uid-usage", 1, said)
    rows = broker.rows("task_uid = 'uid-usage'")
    assert [(row["event"], row["gpu_seconds"], row["cpu_seconds"], row["chain"]) for row in rows] == [
        ("Used", 3, 9, "decisions"),
        ("Used", 4, 9, "decisions"),
    ]


@pytest.mark.parametrize(
    "changes", [{"gpu_seconds": 2**70}, {"namespace": "No Name"}, {"task": "a" * 300}, {"outcome": ""}]
)
async def test_usage_that_no_task_can_have_is_refused(operator: BrokerClient, changes: dict[str, object]) -> None:
    with operator, pytest.raises(BrokerError, match="Usage"):
        await asyncio.to_thread(operator.report_usage, "uid-odd", 1, USAGE.model_copy(update=changes))


async def test_health_is_open_and_metrics_are_not_told_where_teams_ask(broker: BrokerProcess) -> None:
    def read() -> list[int]:
        with broker.http() as http:
            return [http.get(path).status_code for path in ("/livez", "/readyz", "/metrics")]

    assert await asyncio.to_thread(read) == [200, 200, 404]


async def test_metrics_count_the_reads_of_a_dataset_by_team_and_decision(
    world: World, broker: BrokerProcess, published: Published
) -> None:
    text = await asyncio.to_thread(broker.metrics)
    assert "\ncollabspace_ledger_writable 1.0\n" in text
    dataset, stranger = f"{published.owner}/notes", await world.team()
    for team in (published.owner, stranger):
        with broker.http(await world.token(team, names.READER_ACCOUNT)) as http:
            for name in ("notes", "nothing"):
                asked = {"namespace": published.owner, "name": name}
                await asyncio.to_thread(http.post, "/v1/sessions", json=asked)
    text = await asyncio.to_thread(broker.metrics)
    counted = [
        f'dataset="{dataset}",decision="Allowed",team="{published.owner}"',
        f'dataset="{dataset}",decision="Denied",team="{stranger}"',
        f'dataset="none",decision="Denied",team="{published.owner}"',
        f'dataset="none",decision="Denied",team="{stranger}"',
    ]
    for labels in counted:
        assert f"\ncollabspace_dataset_reads_total{{{labels}}} 1.0\n" in text
    received = f'dataset="{dataset}",direction="received",team="{published.owner}"'
    assert f"\ncollabspace_dataset_bytes_total{{{received}}} {float(published.manifest.size)}\n" in text
    assert f"{published.owner}/nothing" not in text


async def test_one_namespaces_flood_is_slowed_down_and_anothers_request_is_not(
    world: World, make_broker: Callable[..., BrokerProcess]
) -> None:
    broker = make_broker(COLLABSPACE_BROKER_REQUESTS_PER_SECOND="5")
    loud, quiet = [await world.token(await world.team(), names.READER_ACCOUNT) for _ in range(2)]

    def flood() -> list[int]:
        with broker.http(loud) as http:
            return [http.get("/v1/ledger").status_code for _ in range(40)]

    def ask() -> int:
        with broker.http(quiet) as http:
            return http.get("/v1/ledger").status_code

    statuses = await asyncio.to_thread(flood)
    assert statuses.count(200) >= 20 and 429 in statuses
    assert await asyncio.to_thread(ask) == 200
