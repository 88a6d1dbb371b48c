"""The agent dies, freezes and comes back; what it runs does not notice, and nothing runs twice."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from node_harness import Gate, NodeProcess, Pods, running_node, status_writes, until, wait_for

from collabspace.api import names
from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster

WAIT_FOR_TERM = "exec 2>&-; trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
LABELS = {names.TASK_UID_LABEL: "u-1", names.ATTEMPT_LABEL: "2"}


@pytest.fixture
def own_pods(admin: KubeClient, namespace: str, own_node: NodeProcess) -> Pods:
    return Pods(admin, namespace, own_node.name)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()


async def test_a_killed_agent_leaves_the_pod_running_and_its_successor_reports_the_end_once(
    own_pods: Pods, own_node: NodeProcess, cluster: LocalCluster
) -> None:
    await own_pods.create("steady", WAIT_FOR_TERM, labels=LABELS)
    await own_pods.up("steady")
    own_node.kill()
    (start,) = own_node.journal(own_pods.namespace)
    assert (start["event"], start["taskUid"], start["attempt"]) == ("start", "u-1", "2")
    assert alive(start["pid"])

    own_node.start()
    await own_pods.delete("steady")
    assert (await own_pods.end("steady"))["exitCode"] == 7
    await own_pods.gone("steady")
    assert [line["event"] for line in own_node.journal(own_pods.namespace)] == ["start", "end"]
    user = f"system:node:{own_node.name}"
    await until(lambda: status_writes(cluster, own_pods.namespace, "steady", user) >= 2)
    # Running by the first agent, the end by the second
    assert status_writes(cluster, own_pods.namespace, "steady", user) == 2


async def test_an_end_while_no_agent_lives_is_reported_by_the_next_one(own_pods: Pods, own_node: NodeProcess) -> None:
    await own_pods.create("alone", WAIT_FOR_TERM)
    await own_pods.up("alone")
    own_node.kill()
    (start,) = own_node.journal(own_pods.namespace)
    os.killpg(start["pid"], signal.SIGTERM)
    await until(lambda: len(own_node.journal(own_pods.namespace)) == 2)
    own_node.start()
    assert (await own_pods.end("alone"))["exitCode"] == 7
    await own_node.announced(own_pods.admin)
    assert await own_pods.logs("alone") == "up\nbye\n"
    assert len(own_node.journal(own_pods.namespace)) == 2


async def test_a_pod_deleted_by_force_while_no_agent_lives_is_ended_by_the_next_one(
    own_pods: Pods, own_node: NodeProcess
) -> None:
    await own_pods.create("forced", WAIT_FOR_TERM)
    await own_pods.up("forced")
    own_node.kill()
    await own_pods.delete("forced", 0)
    await own_pods.gone("forced")
    (start,) = own_node.journal(own_pods.namespace)
    assert alive(start["pid"])
    own_node.start()
    await until(lambda: not alive(start["pid"]))
    await until(lambda: not list((own_node.state_dir / "pods").iterdir()))


async def test_a_container_whose_parent_was_killed_dies_with_it_and_is_not_started_again(
    own_pods: Pods, own_node: NodeProcess
) -> None:
    await own_pods.create("orphan", "echo up; (while :; do sleep 0.05; done) & while :; do sleep 0.05; done")
    await own_pods.up("orphan")
    (start,) = own_node.journal(own_pods.namespace)
    os.kill(parent(start["pid"]), signal.SIGKILL)
    end = await own_pods.end("orphan")
    assert (end["exitCode"], end["reason"]) == (137, "ContainerStatusUnknown")
    assert [line["event"] for line in own_node.journal(own_pods.namespace)] == ["start", "end"]
    assert session_members(start["pid"]) == []


async def test_a_pod_whose_records_are_lost_is_not_started_a_second_time(own_pods: Pods, own_node: NodeProcess) -> None:
    await own_pods.create("forgotten", WAIT_FOR_TERM)
    await own_pods.up("forgotten")
    own_node.kill()
    (start,) = own_node.journal(own_pods.namespace)
    os.killpg(start["pid"], signal.SIGKILL)
    await until(lambda: len(own_node.journal(own_pods.namespace)) == 2)
    (own_node.state_dir / "pods").rename(own_node.state_dir.parent / "lost")
    own_node.start()
    end = await own_pods.end("forgotten")
    assert (end["exitCode"], end["reason"]) == (137, "ContainerStatusUnknown")
    assert len(own_node.journal(own_pods.namespace)) == 2


async def test_a_stopped_agent_leaves_containers_running_unless_told_to_end_them(
    own_pods: Pods, own_node: NodeProcess, cluster: LocalCluster, admin: KubeClient
) -> None:
    await own_pods.create("survivor", WAIT_FOR_TERM)
    await own_pods.up("survivor")
    assert await own_node.stop() == 0
    (start,) = own_node.journal(own_pods.namespace)
    assert alive(start["pid"])

    last = NodeProcess(cluster, own_node.name, own_node.state_dir, "--stop-containers-on-exit")
    last.start()
    await until(lambda: last.log().count("serves logs") == 2)
    await wait_for(admin, "/api/v1/nodes", own_node.name, lambda node: bool(node))
    assert await last.stop() == 0
    assert not alive(start["pid"])
    pod = await own_pods.phase("survivor", "Failed")
    disrupted = next(one for one in pod["status"]["conditions"] if one["type"] == "DisruptionTarget")
    assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
    own_node.start()


async def test_an_agent_killed_again_and_again_runs_every_pod_exactly_once(
    own_pods: Pods, own_node: NodeProcess
) -> None:
    names_of_pods = [f"pod-{number}" for number in range(12)]
    for name in names_of_pods:
        await own_pods.create(name, "echo once; sleep 0.2; exit 3", labels={**LABELS, names.TASK_UID_LABEL: name})
    for lines in (1, 4, 7, 11, 16):
        await until(lambda lines=lines: len(own_node.journal(own_pods.namespace)) >= lines)  # type: ignore[misc]
        own_node.kill()
        own_node.start()
    assert [(await own_pods.end(name))["exitCode"] for name in names_of_pods] == [3] * 12
    journal = own_node.journal(own_pods.namespace)
    for event in ("start", "end"):
        assert sorted(line["taskUid"] for line in journal if line["event"] == event) == sorted(names_of_pods)


async def test_a_frozen_agent_catches_up(own_pods: Pods, own_node: NodeProcess) -> None:
    await own_pods.create("before", WAIT_FOR_TERM)
    await own_pods.up("before")
    own_node.send(signal.SIGSTOP)
    await own_pods.delete("before")
    await own_pods.create("during", "exit 0")
    own_node.send(signal.SIGCONT)
    await own_pods.gone("before")
    await own_pods.phase("during", "Succeeded")


async def test_two_agents_do_not_share_a_state_directory(own_node: NodeProcess, cluster: LocalCluster) -> None:
    second = NodeProcess(cluster, own_node.name, own_node.state_dir)
    second.start()
    assert second.wait() == 1
    assert "another node agent works there" in second.log()


async def test_an_end_while_the_api_server_is_away_is_reported_when_it_is_back(
    cluster: LocalCluster, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    async with Gate(cluster.server) as gate, running_node(cluster, admin, tmp_path, gate.address) as node:
        pods = Pods(admin, namespace, node.name)
        await pods.create("offline", WAIT_FOR_TERM)
        await pods.up("offline")
        (start,) = node.journal(namespace)
        await gate.close()
        os.killpg(start["pid"], signal.SIGTERM)
        await until(lambda: len(node.journal(namespace)) == 2)
        await until(lambda: "/status: ClientConnectorError" in node.log())
        await gate.open()
        assert (await pods.end("offline"))["exitCode"] == 7
        assert len(node.journal(namespace)) == 2


async def test_containers_end_with_the_node_even_if_the_api_server_never_answers(
    cluster: LocalCluster, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    async with Gate(cluster.server) as gate, running_node(cluster, admin, tmp_path, gate.address) as node:
        pods = Pods(admin, namespace, node.name)
        await pods.create("last", WAIT_FOR_TERM)
        await pods.up("last")
        (start,) = node.journal(namespace)
        node.kill()
        await gate.close()
        last = NodeProcess(cluster, node.name, node.state_dir, "--stop-containers-on-exit", server=gate.address)
        last.start()
        await until(lambda: last.log().count("serves logs") == 2)
        assert await last.stop() == 0
        assert not alive(start["pid"])
        await gate.open()
        node.start()
        assert (await pods.end("last"))["exitCode"] == 7


async def test_a_node_that_someone_deleted_comes_back(own_node: NodeProcess, admin: KubeClient) -> None:
    before = await admin.get(f"/api/v1/nodes/{own_node.name}")
    await admin.delete(f"/api/v1/nodes/{own_node.name}")
    uid = before["metadata"]["uid"]
    await wait_for(admin, "/api/v1/nodes", own_node.name, lambda node: bool(node) and node["metadata"]["uid"] != uid)


def session_members(leader: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,sess=,stat="], capture_output=True, text=True, check=True).stdout
    rows = map(str.split, listed.splitlines())
    return [int(pid) for pid, session, state in rows if int(session) == leader and not state.startswith("Z")]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
