"""Processes by record file: started once, found again, stopped, and never mistaken for another."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collabspace.local.errors import LocalClusterError
from collabspace.local.processes import Process

SLEEPER = (sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process("sleeper", tmp_path / "processes", tmp_path / "logs")
    yield process
    process.stop(0)


def test_a_process_is_found_again_by_its_record(process: Process, tmp_path: Path) -> None:
    process.start(SLEEPER, {"A": "1"}, {})
    again = Process("sleeper", tmp_path / "processes", tmp_path / "logs")
    assert again.pid == process.pid
    assert again.runs(SLEEPER, {"A": "1"})
    assert not again.runs(SLEEPER, {"A": "2"})


def test_starting_twice_keeps_the_first(process: Process) -> None:
    process.start(SLEEPER, {}, {})
    first = process.pid
    process.start(SLEEPER, {}, {})
    assert process.pid == first


def test_a_stopped_process_leaves_not_even_a_zombie(process: Process) -> None:
    process.start(SLEEPER, {}, {})
    pid = process.pid
    process.stop(10)
    assert process.pid is None
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_deaf_to_sigterm_is_killed_after_its_grace(process: Process) -> None:
    process.start(DEAF, {}, {})
    wait_for_log(process, "deaf")
    pid = process.pid
    process.stop(0.2)
    assert not Path(f"/proc/{pid}").exists()


def test_a_recycled_process_id_is_not_killed(process: Process, tmp_path: Path) -> None:
    process.start(SLEEPER, {}, {})
    pid = process.pid
    assert pid is not None
    record_file = tmp_path / "processes" / "sleeper.json"
    record = json.loads(record_file.read_text())
    # As if the recorded process had ended long ago and another had been given its id since.
    record_file.write_text(json.dumps(record | {"start_time": record["start_time"] - 1}))
    try:
        assert process.pid is None
        process.kill()
        process.stop(0)
        os.kill(pid, 0)  # raises when there is no such process
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_record_of_an_earlier_boot_is_no_process(process: Process, tmp_path: Path) -> None:
    process.start(SLEEPER, {}, {})
    record_file = tmp_path / "processes" / "sleeper.json"
    good = record_file.read_text()
    record_file.write_text(json.dumps(json.loads(good) | {"boot": "another"}))
    assert process.pid is None
    record_file.write_text(good)
    assert process.pid is not None


def test_a_damaged_record_is_named(process: Process, tmp_path: Path) -> None:
    record_file = tmp_path / "processes" / "sleeper.json"
    record_file.parent.mkdir()
    record_file.write_text("{")
    with pytest.raises(LocalClusterError, match=r"sleeper\.json is not a process record"):
        process.start(SLEEPER, {}, {})
    record_file.unlink()


def test_a_program_that_is_not_there_is_named(process: Process) -> None:
    with pytest.raises(LocalClusterError, match="sleeper: /no/such cannot be started: No such file"):
        process.start(["/no/such"], {}, {})


def wait_for_log(process: Process, text: str) -> None:
    while text not in process.tail():
        assert not process.wait(0.02), f"ended early: {process.tail()}"
