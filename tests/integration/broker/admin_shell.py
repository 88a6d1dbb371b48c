"""Commands as people type them, against a broker of the test's own."""

import asyncio

from broker_harness import BrokerProcess, World
from click.testing import CliRunner, Result

from collabspace.api import names
from collabspace.cli.main import root
from collabspace.local.cluster import LocalCluster


class Shell:
    """The cluster's admin, acting in one team."""

    def __init__(self, cluster: LocalCluster, namespace: str) -> None:
        self._where = ["-n", namespace, "--kubeconfig", str(cluster.kubeconfig)]

    async def collab(self, *words: str) -> Result:
        line = [*words, *self._where]
        return await asyncio.to_thread(lambda: CliRunner().invoke(root, line, prog_name="kubectl collab"))

    async def did(self, *words: str) -> Result:
        result = await self.collab(*words)
        assert result.exit_code == 0, result.output
        return result


async def shell_of(world: World, broker: BrokerProcess, namespace: str, cluster: LocalCluster) -> Shell:
    """The team knows where the broker is."""
    body = {
        "metadata": {"name": names.BROKER_CONFIG_MAP, "namespace": namespace},
        "data": {names.BROKER_URL_KEY: broker.url, names.BROKER_CA_KEY: broker.ca},
    }
    await world.admin.create(f"/api/v1/namespaces/{namespace}/configmaps", body)
    return Shell(cluster, namespace)
