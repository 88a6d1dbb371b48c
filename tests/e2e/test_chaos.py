"""Operator, broker and node agent are killed in mid-work; every task ends once and right, and nothing is left behind.

tests/bench/chaos.py does the same with more tasks, kills and seeds.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_driver import Plan, Stage

import audited_calls

SECONDS = 600


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage("chaos", tmp_path, print)
    try:
        stage.open()
        yield stage
    finally:
        audited_calls.keep(stage.cluster.audit_log, [Path(__file__)])
        stage.close()


@pytest.mark.timeout(SECONDS)
def test_tasks_end_once_and_right_while_every_part_is_killed(stage: Stage) -> None:
    outcome = stage.play(Plan(seed=5, tasks=4, kills_each=1, deletions=1, window=12))
    assert outcome.violations == []
    assert outcome.attempts >= 2
    # The observer is no rubber stamp: what it calls right it calls wrong once the world says otherwise.
    journal = stage.cluster.state / "node" / "journal.jsonl"
    starts = [line for line in journal.read_text().splitlines() if json.loads(line)["event"] == "start"]
    with journal.open("a") as file:
        file.write(json.dumps({**json.loads(starts[0]), "uid": "another", "pod": "another"}) + "\n")
    kinds = {violation.partition(":")[0] for violation in stage.observer.violations()}
    assert {"fence", "orphan"} <= kinds
