"""A program that is known by a token: as in a pod, whose kubelet writes a new one into its file; by a kubeconfig."""

import asyncio
import datetime as dt
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kubernetes.config import incluster_config

from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local.cluster import LocalCluster

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


async def token(admin: KubeClient, account: str) -> str:
    path = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    return str((await admin.create(path, body))["status"]["token"])


def give(file: Path, content: str) -> None:
    file.write_text(content)


async def who(client: KubeClient) -> str:
    return str((await client.create(REVIEWS, REVIEW))["status"]["userInfo"]["username"]).rsplit(":", 1)[-1]


@pytest.fixture
def pod(cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The token file of a pod in which this process seems to be."""
    host, port = cluster.server.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(cluster.authority))
    return tmp_path / "token"


async def test_in_a_pod_the_token_of_its_file_is_used_and_read_again_when_the_kubelet_renews_it(
    admin: KubeClient, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pod, await token(admin, names.OPERATOR_ACCOUNT))
    async with KubeClient(config.load()) as client:
        assert await who(client) == names.OPERATOR_ACCOUNT
        # Another account stands for the same one's next token: only so can it be seen which of the two was sent.
        give(pod, await token(admin, names.BROKER_ACCOUNT))

        class Later(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> "Later":
                return super().now(tz) + dt.timedelta(seconds=61)

        monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=Later, timedelta=dt.timedelta))
        assert await who(client) == names.BROKER_ACCOUNT


async def test_a_token_file_that_is_empty_for_a_moment_is_no_end(
    admin: KubeClient, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = await token(admin, names.OPERATOR_ACCOUNT)
    give(pod, content)
    monkeypatch.setattr(incluster_config.InClusterConfigLoader, "_read_token_file", _expired)
    async with KubeClient(config.load()) as client:
        give(pod, "")
        with pytest.raises(KubeError) as refusal:
            await who(client)
        assert refusal.value.transient and "token cannot be read" in refusal.value.message
        give(pod, content)
        assert await who(client) == names.OPERATOR_ACCOUNT


_read = incluster_config.InClusterConfigLoader._read_token_file


def _expired(self: incluster_config.InClusterConfigLoader) -> None:
    """Reads the file, and finds it old at once."""
    _read(self)
    self.token_expires_at = dt.datetime.min  # noqa: DTZ901 compared with a time without zone


async def test_the_token_of_a_kubeconfig_is_sent(admin: KubeClient, cluster: LocalCluster, tmp_path: Path) -> None:
    given = yaml.safe_load(await asyncio.to_thread(cluster.kubeconfig.read_text))
    given["users"][0]["user"] = {"token": await token(admin, names.OPERATOR_ACCOUNT)}
    file = tmp_path / "kubeconfig"
    give(file, yaml.safe_dump(given))
    async with KubeClient(config.load(file)) as client:
        assert await who(client) == names.OPERATOR_ACCOUNT
