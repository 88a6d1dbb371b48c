"""The API server goes away and comes back: the operator waits, and then goes on where the world stands."""

import asyncio
import os
import signal
import threading
import time

from operator_harness import OperatorProcess, Teams

from collabspace.local.cluster import LocalCluster

APISERVER = "kube-apiserver"


async def test_an_operator_without_api_server_stays_alive_and_goes_on_when_it_is_back(
    teams: Teams, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "before", gpu=1)
    await teams.until_reason(team, "before", "Starting")
    cluster.kill(APISERVER)
    try:
        await asyncio.to_thread(wait_for_failures, operator)
        assert operator.probe("/livez")[0] == 200
        assert operator.running()
    finally:
        await asyncio.to_thread(cluster.start, APISERVER)
    await teams.task(team, "after", gpu=1)
    await teams.until_reason(team, "after", "WaitingForQuota")
    await teams.end_pod(team, "before", code=70)
    await teams.until_reason(team, "after", "Starting")
    assert operator.running()


def wait_for_failures(operator: OperatorProcess) -> None:
    """Until kopf and every watch of our own have met the closed door."""
    deadline = time.monotonic() + 60
    watches = ("nodes", "pods", "jobs")
    while not all(f"watch of {name} broke" in operator.log.read_text() for name in watches):
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


async def test_an_operator_started_without_api_server_waits_for_it(
    teams: Teams, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    team = await teams.ready()
    operator.stop()
    await teams.task(team)
    cluster.kill(APISERVER)
    try:
        starting = asyncio.to_thread(operator.start)
        task = asyncio.create_task(starting)
        done, _ = await asyncio.wait([task], timeout=5)
        assert not done
        assert operator.running()
    finally:
        await asyncio.to_thread(cluster.start, APISERVER)
    await task
    await teams.until_reason(team, "task", "Starting")


async def test_a_frozen_api_server_is_outlived(teams: Teams, cluster: LocalCluster, operator: OperatorProcess) -> None:
    team = await teams.ready()
    await teams.task(team, "before")
    await teams.until_reason(team, "before", "Starting")
    pid = cluster.pid(APISERVER)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(15)  # longer than any request of the operator may take
    finally:
        os.kill(pid, signal.SIGCONT)
    await teams.task(team, "after")
    await teams.until_reason(team, "after", "Starting")
    assert operator.running()
