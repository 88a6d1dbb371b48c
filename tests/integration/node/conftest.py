"""Agents of the tests' own, on the control plane that all integration tests share."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from node_harness import NodeProcess, Pods, is_ready, running_node, wait_for

from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster


@pytest.fixture(scope="module")
def node_process(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One agent for all tests of a module; ends with its containers."""
    folder = tmp_path_factory.mktemp("node")
    process = NodeProcess(cluster, f"node-{folder.name[4:]}", folder / "s", "--stop-containers-on-exit")
    process.start()
    yield process
    process.stop_and_wait()
    command = [cluster.kubectl, f"--kubeconfig={cluster.kubeconfig}", "delete", "node", process.name]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
async def node(node_process: NodeProcess, admin: KubeClient) -> NodeProcess:
    """The module's agent, once its Node is ready."""
    await wait_for(admin, "/api/v1/nodes", node_process.name, is_ready)
    return node_process


@pytest.fixture
async def own_node(cluster: LocalCluster, admin: KubeClient, tmp_path: Path) -> AsyncIterator[NodeProcess]:
    """An agent of this test alone, that leaves containers running when it ends."""
    async with running_node(cluster, admin, tmp_path) as process:
        yield process


@pytest.fixture
def pods(admin: KubeClient, namespace: str, node: NodeProcess) -> Pods:
    return Pods(admin, namespace, node.name)
