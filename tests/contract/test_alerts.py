"""Alerts and dashboards: each alert fires and stays silent on figures made for it, and every question asks for metrics
that are told."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest

import debian_packages
from chart_cases import CHART, ROOT
from collabspace.broker import metrics as of_broker
from collabspace.chart.metrics_page import rows
from collabspace.chart.pages import PAGES
from collabspace.chart.panels import Page
from collabspace.controller import metrics as of_operator
from prometheus_server import in_full

RULES = CHART / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
# Prometheus's own, and of every process.
FOREIGN = re.compile(r"ALERTS|process_(resident_memory_bytes|cpu_seconds_total)")
METRIC = re.compile(r"\b(?:collabspace|process)_[a-z_]+|ALERTS")
DENIED = 'collabspace_dataset_reads_total{dataset="none", team="lab", decision="Denied"}'
REQUESTS = "collabspace_broker_requests_total"
MOVED = 'collabspace_task_progress_timestamp_seconds{team="lab", task="ner"}'
EXPIRY = 'collabspace_grant_expiry_timestamp_seconds{dataset="clinic/notes", team="lab"}'
DELETE = 'collabspace_store_enforcement_proven{check="DeleteByReadLinkRefused"}'


@dataclass(frozen=True)
class Case:
    """Samples a minute, as promtool writes them, and what is to fire at `minute`: `summary` None for nothing."""

    alert: str
    minute: int
    series: dict[str, str]
    summary: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


CASES = [
    Case(
        "OperatorAbsent",
        6,
        {'collabspace_build_info{component="broker"}': "1x10"},
        "Prometheus reads no operator: no task starts, ends or is stopped.",
        {"component": "operator"},
    ),
    Case("OperatorAbsent", 4, {}),
    Case("OperatorAbsent", 10, {'collabspace_build_info{component="operator"}': "1x10"}),
    Case(
        "OperatorDeaf",
        5,
        {'collabspace_watch_staleness_seconds{watch="pods"}': "130+60x10"},
        "The operator does not hear what changes in pods.",
        {"watch": "pods"},
    ),
    Case(
        "OperatorDeaf",
        5,
        {'collabspace_build_info{component="operator"}': "1x10"},
        "The operator does not hear what changes.",
    ),
    Case(
        "OperatorDeaf",
        10,
        {
            'collabspace_watch_staleness_seconds{watch="pods"}': "50x10",
            'collabspace_build_info{component="operator"}': "1x10",
        },
    ),
    Case(
        "NoLeader",
        3,
        {'collabspace_leader{pod="a"}': "1 0x10", 'collabspace_leader{pod="b"}': "0x10"},
        "No operator leads, so nothing is written: no task starts, ends or is stopped.",
    ),
    Case("NoLeader", 10, {'collabspace_leader{pod="a"}': "1x10", 'collabspace_leader{pod="b"}': "0x10"}),
    Case(
        "BrokerAbsent",
        6,
        {},
        "Prometheus reads no broker: no data can be read or stored.",
        {"component": "broker"},
    ),
    Case("BrokerAbsent", 10, {'collabspace_build_info{component="broker"}': "1x10"}),
    Case(
        "BrokerUnheard",
        6,
        {"collabspace_broker_connected": "0x10"},
        "The operator cannot read the broker's feed: new versions, progress and results are not seen.",
    ),
    Case("BrokerUnheard", 10, {"collabspace_broker_connected": "1 0 0 1x10"}),
    Case(
        "BrokerErrors",
        11,
        {f'{REQUESTS}{{route="a", status="503"}}': "0+10x20", f'{REQUESTS}{{route="a", status="200"}}': "0+90x20"},
        "The broker fails 10% of its requests.",
    ),
    Case(
        "BrokerErrors",
        20,
        {f'{REQUESTS}{{route="/readyz", status="503"}}': "0+9x20", f'{REQUESTS}{{route="a", status="403"}}': "0+9x20"},
    ),
    Case(
        "LedgerNotWritable",
        3,
        {'collabspace_ledger_writable{pod="a"}': "1x10", 'collabspace_ledger_writable{pod="b"}': "0x10"},
        "The ledger takes no records, so the broker gives out no data.",
    ),
    Case("LedgerNotWritable", 10, {"collabspace_ledger_writable": "1x10"}),
    Case(
        "EnforcementNotProven",
        16,
        {DELETE: "0x20"},
        "The store is not proven to hold what DeleteByReadLinkRefused says: data may be open past the broker.",
        {"check": "DeleteByReadLinkRefused"},
    ),
    Case("EnforcementNotProven", 20, {DELETE: "1x20"}),
    Case("EnforcementNotProven", 20, {}),
    Case(
        "GrantExpiring",
        20,
        {EXPIRY: f"{86400 + 20 * 60}x30"},
        "The grant of clinic/notes to lab ends in 1d 0h 0m 0s.",
        {"dataset": "clinic/notes", "team": "lab"},
    ),
    Case("GrantExpiring", 20, {EXPIRY: f"{4 * 86400}x30"}),
    Case(
        "TaskStuck",
        120,
        {MOVED: "0x150"},
        "Task ner of lab has made no progress for 2h 0m 0s.",
        {"team": "lab", "task": "ner"},
    ),
    Case("TaskStuck", 120, {MOVED: "0+60x150"}),
    Case(
        "GpuIdle",
        16,
        {'collabspace_gpu_idle{team="lab"}': "2x20"},
        "2 GPUs that lab holds have had no running trainer for a while.",
        {"team": "lab"},
    ),
    Case("GpuIdle", 20, {'collabspace_gpu_idle{team="lab"}': "2x10 0x10"}),
    Case("DenialBurst", 6, {DENIED: "_x5 40x10"}, "lab was refused data 40 times in ten minutes.", {"team": "lab"}),
    Case("DenialBurst", 21, {DENIED: "5x15 5+10x10"}, "lab was refused data 50 times in ten minutes.", {"team": "lab"}),
    Case("DenialBurst", 60, {DENIED: "500+1x60"}),
]


@pytest.fixture(scope="module")
def promtool() -> Path:
    root = debian_packages.PROMETHEUS.root()
    if root is None:
        pytest.skip("promtool is not here: `make prometheus` says why")
    return root / "usr" / "bin" / "promtool"


def alerts() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {each["alert"].removeprefix("Collabspace"): each for each in group["rules"]}


def told(promtool: Path, *arguments: str, given: str = "") -> str:
    done = subprocess.run([promtool, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def plan(case: Case) -> dict[str, Any]:
    """The case as promtool takes it."""
    rule = alerts()[case.alert]
    expected = {
        "exp_labels": rule["labels"] | case.labels,
        "exp_annotations": {"summary": case.summary, "runbook_url": rule["annotations"]["runbook_url"]},
    }
    question = {
        "eval_time": f"{case.minute}m",
        "alertname": rule["alert"],
        "exp_alerts": [expected] if case.summary else [],
    }
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [question],
    }


def test_every_alert_fires_and_is_silent_as_it_should(promtool: Path, tmp_path: Path) -> None:
    tests = [plan(case) for case in CASES]
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    told(promtool, "test", "rules", str(file))


def test_every_alert_is_seen_to_fire_and_to_stay_silent() -> None:
    assert {case.alert for case in CASES if case.summary} == set(alerts())
    assert {case.alert for case in CASES if not case.summary} == set(alerts())


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    pages = {page.stem.removeprefix("Collabspace"): page.read_text() for page in RUNBOOKS.glob("Collabspace*.md")}
    assert set(pages) == set(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/Collabspace{name}.md"
        headings = re.findall(r"^## (.+)$", pages[name], re.MULTILINE)
        assert headings == ["Meaning", "Impact", "How to find out", "What to do"], name


def test_no_two_panels_of_a_page_share_a_title() -> None:
    for page in PAGES:
        assert len({panel.title for panel in page.panels}) == len(page.panels), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_dashboard_is_what_grafanas_types_say_and_no_panel_covers_another(page: Page) -> None:
    register_default_plugins()
    read = json.loads((CHART / "files" / "dashboards" / f"{page.name}.json").read_text())
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(read))) == read
    covered: set[tuple[int, int]] = set()
    for panel in read["panels"]:
        place = panel["gridPos"]
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = set(itertools.product(columns, lines))
        assert not covered & cells, panel["title"]
        assert columns.stop <= 24, panel["title"]
        covered |= cells


def questions() -> Iterator[tuple[str, str]]:
    """Every expression of alerts and dashboards, with where it stands."""
    yield from ((name, rule["expr"]) for name, rule in alerts().items())
    yield from ((f"{page.name}: {panel.title}", panel.expr) for page in PAGES for panel in page.panels)


def test_every_question_asks_for_metrics_that_are_told() -> None:
    known = {name for found in rows().values() for row in found for name in row.series}
    for place, expr in questions():
        asked = {name for name in METRIC.findall(expr) if not FOREIGN.fullmatch(name)}
        assert asked <= known, place
        assert METRIC.search(expr), place


def test_every_label_of_a_question_is_one_of_its_metrics() -> None:
    labels = {name: set(row.labels) for found in rows().values() for row in found for name in row.series}
    for place, expr in questions():
        for name, selected in re.findall(r"(collabspace_[a-z_]+)\{([^}]*)\}", expr):
            assert set(re.findall(r'(\w+)[=!]~?"', selected)) <= labels[name], place


def test_prometheus_understands_the_rules_and_every_question_of_the_dashboards(promtool: Path, tmp_path: Path) -> None:
    told(promtool, "check", "rules", str(RULES))
    asked = [
        {
            "record": "asked",
            "expr": in_full(expr),
            "labels": {"at": place},
        }
        for place, expr in questions()
    ]
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": asked}]}))
    assert f"{len(asked)} rules found" in told(promtool, "check", "rules", str(file))


def test_prometheus_finds_no_fault_with_names_and_types_of_metrics(promtool: Path) -> None:
    of_operator.prepare()
    of_broker.prepare()
    for registry in (of_operator.REGISTRY, of_broker.REGISTRY):
        assert told(promtool, "check", "metrics", given=generate_latest(registry).decode()) == ""
