"""A stuck event loop is seen from outside it: the process ends, whatever else is stuck."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from collabspace.controller.probes import LAG_SECONDS, Health, Watchdog

STUCK = """
import os, threading
from collabspace.controller.probes import Health, Watchdog
from collabspace.kube import logs
logs.configure()
{before}
Watchdog(Health(), 0.5).start()
threading.Event().wait(60)
"""


def run(before: str, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STUCK.format(before=before)], stderr=stderr)


def test_a_stuck_loop_ends_the_process_and_the_last_line_says_why() -> None:
    with run("", subprocess.PIPE) as process:
        assert process.wait(30) == 1
        assert process.stderr is not None
        line = json.loads(process.stderr.read().splitlines()[-1])
    assert line["level"] == "CRITICAL"
    assert line["message"] == "exit at once: the event loop is stuck for 0.5 s"


def test_it_ends_even_when_nobody_reads_its_log() -> None:
    fill = "os.set_blocking(2, False)\ntry:\n    while True: os.write(2, b'x' * 65536)\nexcept BlockingIOError: pass\n"
    with run(fill + "os.set_blocking(2, True)", subprocess.PIPE) as process:
        assert process.wait(30) == 1


BEATING = """
import threading, time
from collabspace.controller.probes import Health, Watchdog
health = Health()
Watchdog(health, 0.5).start()
print("started", flush=True)
while True:
    health.beat = time.monotonic()
    threading.Event().wait(0.01)
"""


def test_a_process_that_was_frozen_as_a_whole_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", BEATING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGSTOP)
        for number in (signal.SIGCONT, signal.SIGKILL):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(number)


async def test_a_loop_that_beats_is_left_alone() -> None:
    health = Health()
    watchdog = Watchdog(health, 0.2)
    watchdog.start()
    for _ in range(10):
        health.beat = time.monotonic()
        await asyncio.to_thread(threading.Event().wait, 0.05)
    watchdog.stop()


def test_liveness_is_lost_as_soon_as_the_loop_is_late() -> None:
    health = Health()
    assert health.alive()
    health.beat -= LAG_SECONDS
    assert not health.alive()


@pytest.mark.parametrize("words", [{}, {"caches": "filled", "leadership": "standing by, a leads"}])
def test_each_subsystem_has_its_word(words: dict[str, str]) -> None:
    lines = Health(words=words).told().splitlines()
    assert lines[0].startswith("loop: last beat 0.0 s ago")
    assert lines[1:] == [f"{name}: {said}" for name, said in words.items()]
