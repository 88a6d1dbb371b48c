"""Faults at bad moments: whatever dies or freezes, a pod runs once, its end is known, and nothing is left unowned."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from node_harness import Gate, NodeProcess, Pods, running_node, until, wait_for

from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster

Object = dict[str, Any]
WAIT_FOR_TERM = "exec 2>&-; trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def own_pods(admin: KubeClient, namespace: str, own_node: NodeProcess) -> Pods:
    return Pods(admin, namespace, own_node.name)


def alive(pid: int) -> bool:
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def lines(node: NodeProcess, namespace: str, event: str) -> list[Object]:
    return [line for line in node.journal(namespace) if line["event"] == event]


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_random_moments_the_node_runs_each_pod_once_and_knows_its_end(
    own_pods: Pods, own_node: NodeProcess, seed: int
) -> None:
    dice = random.Random(seed)
    script = "printf said > /dev/termination-log; trap 'exit 50' TERM; sleep 0.3; exit 3"
    kept, dropped, shot = ([f"{kind}-{number}" for number in range(4)] for kind in ("kept", "dropped", "shot"))
    for name in kept + dropped + shot:
        await own_pods.create(name, script, terminationGracePeriodSeconds=2)
    for kill in range(8):
        await asyncio.sleep(dice.uniform(0, 0.9))  # a moment, not a wait
        own_node.kill()
        for name in dropped[kill : kill + 1]:
            await own_pods.delete(name)
        for line in lines(own_node, own_pods.namespace, "start"):
            if line["pod"] in shot[kill // 2 : kill // 2 + 1] and (parent := shim_of(line["pid"])):
                os.kill(parent, signal.SIGKILL)
        own_node.start()
    for name in kept:
        end = await own_pods.end(name)
        assert (end["exitCode"], end["message"]) == (3, "said")
    for name in shot:
        end = await own_pods.end(name)
        assert (end["exitCode"], end["reason"]) in ((3, "Error"), (137, "ContainerStatusUnknown"))
    for name in dropped:
        await own_pods.gone(name)
    starts = sorted(line["pod"] for line in lines(own_node, own_pods.namespace, "start"))
    assert len(set(starts)) == len(starts)
    assert set(kept + shot) <= set(starts)
    assert sorted(line["pod"] for line in lines(own_node, own_pods.namespace, "end")) == starts
    assert not [line for line in lines(own_node, own_pods.namespace, "start") if alive(line["pid"])]


async def test_a_container_hears_sigterm_once_from_however_many_agents(own_pods: Pods, own_node: NodeProcess) -> None:
    script = "exec 2>&-; trap 'echo told' TERM; echo up; while [ ! -e $HOME/leave ]; do sleep 0.05; done"
    created = await own_pods.create("polite", script)
    await own_pods.up("polite")
    (folder,) = own_node.folders(created["metadata"]["uid"])
    log = folder / "c" / "main" / "0" / "log"
    await own_pods.delete("polite")
    await until(lambda: b"told" in log.read_bytes())
    for agents in (2, 3):
        own_node.kill()
        own_node.start()
        await until(lambda agents=agents: own_node.log().count("serves logs") == agents)  # type: ignore[misc]
        await own_node.announced(own_pods.admin)
    told = log.read_bytes().count(b"told")
    (folder / "home" / "leave").touch()
    await own_pods.gone("polite")
    assert told == 1


async def test_a_pod_evicted_while_the_agent_was_frozen_ends_and_the_controller_sees_why(
    own_pods: Pods, own_node: NodeProcess
) -> None:
    await own_pods.create("evicted", WAIT_FOR_TERM, terminationGracePeriodSeconds=1)
    await own_pods.up("evicted")
    (start,) = lines(own_node, own_pods.namespace, "start")
    own_node.send(signal.SIGSTOP)
    path = f"/api/v1/nodes/{own_node.name}"
    await own_pods.admin.merge(path, {"spec": {"taints": [{"key": "lost", "effect": "NoExecute"}]}})
    pod = await own_pods.wait("evicted", lambda pod: "deletionTimestamp" in pod.get("metadata", {}))
    (target,) = [one for one in pod["status"]["conditions"] if one["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "DeletionByTaintManager")
    assert alive(start["pid"])
    own_node.send(signal.SIGCONT)
    end = await own_pods.end("evicted")
    assert end["exitCode"] in (7, 137)
    await own_pods.gone("evicted")
    assert not alive(start["pid"])


async def test_nothing_starts_beside_the_processes_of_a_pod_that_was_removed_by_force(
    own_pods: Pods, own_node: NodeProcess
) -> None:
    await own_pods.create("removed", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    await own_pods.up("removed")
    own_node.send(signal.SIGSTOP)
    await own_pods.delete("removed", 0)
    await own_pods.gone("removed")
    await own_pods.create("successor", "exit 0")
    own_node.send(signal.SIGCONT)
    await own_pods.phase("successor", "Succeeded")
    journal = [(line["pod"], line["event"]) for line in own_node.journal(own_pods.namespace)]
    assert journal[1:3] == [("removed", "end"), ("successor", "start")]


async def test_a_node_that_was_silent_ends_what_was_taken_away_before_it_is_well_again(
    cluster: LocalCluster, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    async with running_node(cluster, admin, tmp_path, flags=("--lease-seconds", "4")) as node:
        pods = Pods(admin, namespace, node.name)
        await pods.create("taken", "trap '' TERM; echo up; while :; do sleep 0.05; done")
        await pods.up("taken")
        node.send(signal.SIGSTOP)
        await pods.delete("taken", 0)
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        last = (await admin.get(f"{leases}/{node.name}"))["spec"]["renewTime"]
        await asyncio.sleep(4.5)  # the silence itself
        node.send(signal.SIGCONT)
        renewed = await wait_for(admin, leases, node.name, lambda lease: lease["spec"]["renewTime"] != last)
        (end,) = lines(node, namespace, "end")
        assert end["at"][:23] <= renewed["spec"]["renewTime"][:23]


async def test_an_agent_that_starts_without_an_api_server_leaves_the_containers_alone(
    cluster: LocalCluster, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    async with Gate(cluster.server) as gate, running_node(cluster, admin, tmp_path, gate.address) as node:
        pods = Pods(admin, namespace, node.name)
        await pods.create("carried", WAIT_FOR_TERM)
        await pods.up("carried")
        (start,) = lines(node, namespace, "start")
        node.kill()
        await gate.close()
        failures = node.log().count("watch of pods")
        node.start()
        await until(lambda: node.log().count("watch of pods") >= failures + 1)
        assert alive(start["pid"])
        await gate.open()
        await pods.delete("carried")
        assert (await pods.end("carried"))["exitCode"] == 7
        assert len(node.journal(namespace)) == 2


def shim_of(pid: int) -> int | None:
    """The parent of a container's main process, as long as both live."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return parent if b"shim.py" in Path(f"/proc/{parent}/cmdline").read_bytes() else None
    except (FileNotFoundError, ProcessLookupError):
        return None
