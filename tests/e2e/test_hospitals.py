"""examples/hospitals from start to end on a cluster of its own, and afterwards a search of everything that it left:
no line of data, no token and no key may stand in an object, an event or a log."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import httpx
import pytest

import audited_calls
import debian_packages
from collabspace.chart.pages import PAGES
from collabspace.local.cluster import LocalCluster
from prometheus_server import Prometheus, in_full

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hospitals"
SECONDS = 900
# Panels that have nothing to show after a demo that went well.
EMPTY = {
    "Progress": "of active tasks only",
    "Since the last progress": "of active tasks only",
    "Store checks that hold": "of stores in S3 only",
}
# The demo lends a sample for a day.
MEANT = {"CollabspaceGrantExpiring"}
KINDS = (
    "pods,jobs,events,configmaps,secrets,serviceaccounts,namespaces,nodes,shareddatasets,collabtasks,modelselections"
)
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.")


@dataclass(frozen=True)
class Played:
    """The demo after its end: what it printed, and its cluster, still up."""

    code: int
    output: str
    cluster: LocalCluster


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus | None]:
    """Runs beside the demo; None where it is not here."""
    root = debian_packages.PROMETHEUS.root()
    if root is None:
        yield None
        return
    server = Prometheus(root, tmp_path_factory.mktemp("prometheus"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def scraped(cluster: LocalCluster, prometheus: Prometheus | None) -> Iterator[None]:
    """Prometheus reads the cluster from its first second on."""
    ended = threading.Event()

    def await_ports() -> None:
        while prometheus is not None and not ended.wait(0.5):
            if targets := cluster.metrics:
                prometheus.scrape(targets)
                return

    waiting = threading.Thread(target=await_ports)
    waiting.start()
    try:
        yield
    finally:
        ended.set()
        waiting.join()


@pytest.fixture
def watched(played: Played, prometheus: Prometheus | None) -> Prometheus:
    """The Prometheus that has seen the demo."""
    if prometheus is None:
        pytest.skip("Prometheus is not here: `make prometheus` says why")
    assert played.code == 0
    return prometheus


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, prometheus: Prometheus | None) -> Iterator[Played]:
    state = tmp_path_factory.mktemp("e2e")
    cluster = LocalCluster("e2e", state)
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--name", "e2e", "--state", str(state), "--audit"]
    try:
        with scraped(cluster, prometheus):
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=SECONDS
            )
        yield Played(done.returncode, done.stdout, cluster)
    finally:
        audited_calls.keep(cluster.audit_log, [Path(__file__)])
        cluster.down(wipe=True)


@pytest.mark.timeout(SECONDS + 60)
def test_every_step_of_the_demo_does_what_it_claims(played: Played) -> None:
    assert played.code == 0, played.output
    assert "✗" not in played.output


def test_the_demo_shows_the_outsider_the_quota_and_the_ledger(played: Played) -> None:
    for word in ("GrantMissing", "WaitingForQuota", "notes.conll:412", "intact", "edited"):
        assert word in played.output, word


def test_the_demo_ends_with_the_way_to_be_each_of_its_people(played: Played) -> None:
    for person, team in (("lin", "research-lab"), ("ada", "hospital-a"), ("ben", "hospital-b"), ("olaf", "outsider")):
        kubeconfig = played.cluster.state / "keys" / f"user-{person}.kubeconfig"
        assert f"export KUBECONFIG={kubeconfig}   # be {person} of {team}\n" in played.output
        assert f"namespace: {team}\n" in kubeconfig.read_text()


def test_what_the_demo_trained_is_exported_as_runs_with_their_inputs_and_outputs(played: Played) -> None:
    program = Path(sys.executable).parent / "collabspace"
    command = [str(program), "ledger", "export", "-n", "research-lab", f"--kubeconfig={played.cluster.kubeconfig}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    inputs, outputs = (
        {each["namespace"] for run in runs if run["job"]["name"] == "notes-both" for each in run[side]}
        for side in ("inputs", "outputs")
    )
    assert (inputs, outputs) == ({"hospital-a", "hospital-b"}, {"research-lab"})
    results = [run for run in runs if run["job"]["name"] == "notes-both" and run["outputs"]]
    assert len(results) == 1


def words_of_the_data() -> set[str]:
    """Made-up drug names and compound diseases: words that stand in the notes and nowhere else."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import notes
    finally:
        sys.path.remove(str(EXAMPLE))
    import random

    dealt = notes.terms(random.Random(7))
    names = [name for kind in ("drug", "disease") for part in dealt[kind] for name in part]
    return {word for name in names for word in name.split() if len(word) > 7 and word not in notes.QUALIFIERS}


def traces(cluster: LocalCluster) -> dict[str, str]:
    """Everything that people and programs other than the broker can come to see: objects, logs of all components."""
    listing = subprocess.run(
        [cluster.kubectl, f"--kubeconfig={cluster.kubeconfig}", "get", KINDS, "-A", "-o", "yaml"],
        capture_output=True,
        text=True,
        check=True,
    )
    logs = {path.name: path.read_text(errors="replace") for path in (cluster.state / "logs").iterdir()}
    containers = (cluster.state / "node").rglob("*.log")
    metrics = {
        f"metrics of {name}": httpx.get(f"http://{address}/metrics", trust_env=False).raise_for_status().text
        for name, address in cluster.metrics.items()
    }
    return (
        {"objects": listing.stdout}
        | metrics
        | logs
        | {str(path): path.read_text(errors="replace") for path in containers}
    )


def test_no_word_of_the_data_stands_in_any_object_event_or_log(played: Played) -> None:
    known = words_of_the_data()
    assert len(known) > 200
    for place, text in traces(played.cluster).items():
        found = known & set(re.findall(r"[a-z]+", text))
        assert not found, f"{place} holds {sorted(found)[:5]}"


def test_the_search_would_find_a_word_of_the_data(played: Played) -> None:
    stored = [path for path in (played.cluster.state / "broker").rglob("*") if path.is_file()]
    assert any(path.read_bytes()[:2] == b"\x1f\x8b" for path in stored), "no canonical file is in the store"
    example = next(iter(words_of_the_data()))
    assert example in set(re.findall(r"[a-z]+", f'message: "{example} 40 mg"'))


def test_no_token_and_no_key_stands_in_any_object_event_or_log(played: Played) -> None:
    for place, text in traces(played.cluster).items():
        assert not TOKEN.search(text), f"{place} holds a token"
        assert "PRIVATE KEY" not in text, f"{place} holds a key"


def test_prometheus_reads_operator_and_broker(watched: Prometheus) -> None:
    up = {each["metric"]["target"]: each["value"][1] for each in watched.ask("up")}
    assert up == {"operator": "1", "broker": "1"}


def test_every_panel_of_the_dashboards_has_something_to_show_after_the_demo(watched: Prometheus) -> None:
    for page in PAGES:
        for panel in page.panels:
            answer = watched.ask(in_full(panel.expr, "1h"))
            figures = [each for each in answer if isfinite(float(each["value"][1]))]
            assert bool(figures) == (panel.title not in EMPTY), f"{page.name}: {panel.title}: {answer}"
    shown = watched.ask("max_over_time(collabspace_task_progress_ratio[1h])")
    assert {each["metric"]["team"] for each in shown} >= {"research-lab"}


def test_no_alert_fires_while_the_demo_goes_well(watched: Prometheus) -> None:
    fired = watched.ask('max_over_time(ALERTS{alertstate="firing"}[1h])')
    assert {each["metric"]["alertname"] for each in fired} <= MEANT
    assert set(watched.alerts()) <= MEANT
