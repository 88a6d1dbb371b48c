"""One container's run as real processes, without a cluster."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from node_harness import until

from collabspace.local.node import shim
from collabspace.local.node.container import ContainerRun, Launch
from collabspace.local.node.journal import Journal

RECORD = {"uid": "u", "namespace": "n", "pod": "p", "container": "c", "run": "0"}


def launch(script: str, memory: int | None = None, **env: str) -> Launch:
    return Launch(("/bin/sh", "-c", script), {"PATH": os.defpath, **env}, Path("/"), memory, RECORD)


def events(folder: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / "journal.jsonl").read_text().splitlines()]


def is_there(pid: int) -> bool:
    """A dead process that nobody has collected yet is gone."""
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
async def make_run(tmp_path: Path) -> AsyncIterator[Callable[[], ContainerRun]]:
    """Handles on the same run, as several agents in turn would hold them; all is killed at the end."""
    made: list[ContainerRun] = []

    def make() -> ContainerRun:
        made.append(ContainerRun(tmp_path / "c" / "0", 0, Journal(tmp_path / "journal.jsonl"), lambda: None))
        return made[-1]

    yield make
    for run in made:
        run.kill()
        await until(lambda run=run: not run.running)  # type: ignore[misc]


async def ended(run: ContainerRun) -> int:
    await until(lambda: run.ended is not None)
    assert run.ended is not None
    return run.ended.exit_code


async def test_exit_codes_and_signals_are_told_apart(make_run: Callable[[], ContainerRun]) -> None:
    run = make_run()
    await run.launch(launch("kill -9 $$"))
    assert await ended(run) == 137
    assert run.ended is not None
    assert (run.ended.signal, run.ended.reason) == (9, "Error")


async def test_two_launches_of_one_run_start_one_process(make_run: Callable[[], ContainerRun], tmp_path: Path) -> None:
    first, second = make_run(), make_run()
    await asyncio.gather(
        first.launch(launch("exec sleep 60")), second.launch(launch("exec sleep 60")), return_exceptions=True
    )
    third = make_run()
    await third.launch(launch("exec sleep 60"))
    assert third.running
    assert events(tmp_path) == ["start"]


async def test_a_run_that_ended_is_not_started_again(make_run: Callable[[], ContainerRun], tmp_path: Path) -> None:
    first = make_run()
    await first.launch(launch("exit 4"))
    assert await ended(first) == 4
    again = make_run()
    await again.launch(launch("exit 5"))
    assert await ended(again) == 4
    assert events(tmp_path) == ["start", "end"]


async def test_no_descendant_outlives_the_main_process_not_even_a_daemon(
    make_run: Callable[[], ContainerRun], tmp_path: Path
) -> None:
    twice = "import os, time\nos.fork() and os._exit(0)\nos.setsid()\nos.fork() and os._exit(0)"
    daemon = f"{twice}\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    run = make_run()
    log = tmp_path / "c" / "0" / "log"
    await run.launch(launch(f'{sys.executable} -S -c "{daemon}"; while [ ! -s {log} ]; do sleep 0.02; done; exit 6'))
    assert await ended(run) == 6
    assert not is_there(int(log.read_text().split()[-1]))


async def test_a_program_that_is_not_there_ends_the_run_with_its_name(
    make_run: Callable[[], ContainerRun], tmp_path: Path
) -> None:
    run = make_run()
    await run.launch(Launch(("/no/such/program",), {}, Path("/"), None, RECORD))
    assert run.ended is not None
    assert (run.ended.exit_code, run.ended.reason) == (128, "StartError")
    assert "/no/such/program" in run.ended.message
    assert not (tmp_path / "journal.jsonl").exists()


async def test_values_of_the_environment_are_not_on_the_disk(
    make_run: Callable[[], ContainerRun], tmp_path: Path
) -> None:
    run = make_run()
    await run.launch(launch("[ $WORD = planted-secret ] && exec sleep 60", WORD="planted-secret"))
    files = files_below(tmp_path)
    assert {path.name for path in files} >= {"shim.json", "process.json", "journal.jsonl", "log"}
    assert all(b"planted-secret" not in path.read_bytes() for path in files)


async def test_memory_of_all_processes_counts_and_shared_pages_once(make_run: Callable[[], ContainerRun]) -> None:
    script = "import os, time\nheld = b'x' * 60_000_000\nos.fork()\nos.fork()\ntime.sleep(2)"
    shares = make_run()
    await shares.launch(launch(f'exec {sys.executable} -S -c "{script}"', memory=100_000_000))
    assert await ended(shares) == 0, "four processes that share 60 MB do not hold 240 MB"


async def test_signals_before_the_process_runs_are_not_lost(make_run: Callable[[], ContainerRun]) -> None:
    run = make_run()
    starting = asyncio.create_task(run.launch(launch("exec sleep 60")))
    await until(lambda: (run.folder / "shim.json").exists())
    shim = json.loads((run.folder / "shim.json").read_text())["pid"]
    os.kill(shim, signal.SIGTERM)
    await starting
    assert await ended(run) == 143


async def test_an_end_that_only_the_journal_knows_is_told_and_not_written_twice(
    make_run: Callable[[], ContainerRun], tmp_path: Path
) -> None:
    run = make_run()
    await run.launch(launch("exit 4"))
    assert await ended(run) == 4
    (run.folder / "exit.json").unlink()  # as if the shim had been killed between its last two writes
    again = make_run()
    again.adopt()
    assert again.ended is not None
    assert (again.ended.exit_code, again.ended.reason) == (4, "Error")
    assert events(tmp_path) == ["start", "end"]


async def test_a_process_whose_shim_died_before_it_wrote_into_the_journal_is_in_it_all_the_same(
    make_run: Callable[[], ContainerRun], tmp_path: Path
) -> None:
    run = make_run()
    await run.launch(launch("exec sleep 60"))
    (tmp_path / "journal.jsonl").unlink()
    os.kill(json.loads((run.folder / "shim.json").read_text())["pid"], signal.SIGKILL)
    assert await ended(run) == 137
    assert events(tmp_path) == ["start", "end"]
    pid = json.loads((run.folder / "process.json").read_text())["pid"]
    assert not is_there(pid)


async def test_a_shim_that_comes_late_finds_its_run_taken_away_and_starts_nothing(
    make_run: Callable[[], ContainerRun], tmp_path: Path
) -> None:
    run = make_run()
    run.folder.mkdir(parents=True)
    ready, ready_write = os.pipe()
    late = subprocess.Popen(  # noqa: ASYNC220 it returns at once
        [sys.executable, "-I", "-S", shim.__file__, str(ready_write)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[ready_write],
    )
    os.close(ready_write)
    await run.claim()  # by the next agent, while the dead one's shim still reads what to do
    marker = tmp_path / "ran"
    document = {"folder": str(run.folder), "argv": ["/bin/touch", str(marker)], "env": {}, "workingDir": "/"}
    document |= {"journal": str(tmp_path / "journal.jsonl"), "record": RECORD, "memoryLimitBytes": None, "logBytes": 99}
    await asyncio.to_thread(late.communicate, json.dumps(document).encode())
    assert os.read(ready, 1) == b""
    os.close(ready)
    assert not marker.exists()
    assert not run.folder.exists()
