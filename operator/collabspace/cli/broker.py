"""The broker as the person who typed the command: a ten-minute token of the namespace's account, when needed."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from collabspace.api import names
from collabspace.cli.cluster import Cluster, explained, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.client.client import BrokerClient
from collabspace.client.errors import AccessRefused, BrokerError, BrokerUnavailable
from collabspace.kube import clock
from collabspace.kube.client import KubeError

TOKEN_SECONDS = 600
RENEW_BEFORE = dt.timedelta(seconds=120)
PATIENCE_SECONDS = 15.0
UPLOAD_PATIENCE_SECONDS = 120.0


class TokenSource:
    """A token that is still good for two minutes, minted anew when it is not. Call it outside an event loop."""

    def __init__(self, where: Where, namespace: str, account: str) -> None:
        self._where = where
        self._namespace = namespace
        self._account = account
        self._token = ""
        self._until = clock.now()

    def __call__(self) -> str:
        if not self._token or clock.now() + RENEW_BEFORE >= self._until:
            run(self._where, self.mint)
        return self._token

    async def mint(self, cluster: Cluster) -> None:
        """Asks the API server for a token with the person's own credential. Raises CommandError."""
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{self._account}/token"
        spec = {"audiences": [names.BROKER_AUDIENCE], "expirationSeconds": TOKEN_SECONDS}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = await cluster.client.create(path, body)
        except KubeError as error:
            raise (_not_a_team(self._namespace) if error.status == 404 else explained(error)) from error
        self._token = answer["status"]["token"]
        self._until = clock.parse(answer["status"]["expirationTimestamp"])


async def open_broker(
    cluster: Cluster, account: str, namespace: str | None = None, patience: float = PATIENCE_SECONDS
) -> BrokerClient:
    """The broker's client for `account` of the namespace. Use it outside the event loop or in a thread."""
    owner = namespace or cluster.namespace
    source = TokenSource(cluster.where, owner, account)
    (url, ca), person, _ = await asyncio.gather(_address(cluster, owner), _person(cluster), source.mint(cluster))
    return BrokerClient(url, source, ca, claimed_by=person, patience=patience)


def connect(
    where: Where, account: str, patience: float = PATIENCE_SECONDS, namespace: str | None = None
) -> BrokerClient:
    """The same for commands that speak to nobody else."""

    async def opening(cluster: Cluster) -> BrokerClient:
        return await open_broker(cluster, account, namespace, patience)

    return run(where, opening)


@contextmanager
def answers_explained() -> Iterator[None]:
    """Turns the broker's refusals into CommandError."""
    try:
        yield
    except AccessRefused as error:
        same = error.reason == "AccessRefused"
        remedy = "Check the names: it says the same for what is missing." if same else ""
        raise CommandError(f"the broker refused: {error.message}", remedy) from error
    except BrokerUnavailable as error:
        raise CommandError(
            error.message,
            f"Try again; an admin looks at the broker: kubectl logs deployment/collabspace-broker -n "
            f"{names.SYSTEM_NAMESPACE} (on an embedded cluster: collabspace local status).",
        ) from error
    except BrokerError as error:
        raise CommandError(f"the broker answered {error.reason}: {error.message}") from error


async def _address(cluster: Cluster, namespace: str) -> tuple[str, str]:
    try:
        found = await cluster.client.get(f"/api/v1/namespaces/{namespace}/configmaps/{names.BROKER_CONFIG_MAP}")
    except KubeError as error:
        raise (_not_a_team(namespace) if error.status == 404 else explained(error)) from error
    data = found.get("data") or {}
    if not {names.BROKER_URL_KEY, names.BROKER_CA_KEY} <= set(data):
        what = (
            f"ConfigMap {names.BROKER_CONFIG_MAP} in namespace {namespace} says no {names.BROKER_URL_KEY} of the broker"
        )
        raise CommandError(what, f"An admin renews it: {command(f'teams add {namespace}')}.")
    return data[names.BROKER_URL_KEY], data[names.BROKER_CA_KEY]


async def _person(cluster: Cluster) -> str:
    """The name under which the API server knows the caller; stands in the ledger as claimed."""
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await cluster.client.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", kind)
    return str(answer["status"]["userInfo"]["username"])[:256]


def _not_a_team(namespace: str) -> CommandError:
    return CommandError(
        f"namespace {namespace} is not set up as a team", f"An admin does it: {command(f'teams add {namespace}')}."
    )
