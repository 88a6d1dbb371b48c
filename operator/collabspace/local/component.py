"""What the cluster needs to know of one of its processes: how to start it and when it is ready."""

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from collabspace.local.certificates import Credential
from collabspace.local.state import LOOPBACK

PROBE_SECONDS = 5.0

# Empty when ready, else what is still missing, for a person to read.
Probe = Callable[[], str]


@dataclass(frozen=True)
class Component:
    """One process: `environment` on top of what every process of the cluster sees."""

    name: str
    argv: tuple[str, ...]
    ready: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits_environment: bool = False


def http_probe(
    url: str, authority: Path | None = None, credential: Credential | None = None, *, says: str = ""
) -> Probe:
    """Ready when a GET of the URL, trusting the authority and shown the credential, answers 200 and has the text."""

    def probe() -> str:
        try:
            answer = fetch(url, authority, credential)
        except httpx.HTTPError as error:
            return f"{url}: {error!r}"
        if answer.status_code == httpx.codes.OK and says in answer.text:
            return ""
        return f"{url} answered {answer.status_code}: {answer.text[:300]}"

    return probe


def node_probe(server: str, name: str, port: int, authority: Path, credential: Credential) -> Probe:
    """Ready when the agent listens and the API server shows its Node with condition Ready True."""
    url = f"{server}/api/v1/nodes/{name}"

    def probe() -> str:
        try:
            # The condition alone may be what a predecessor left.
            socket.create_connection((LOOPBACK, port), PROBE_SECONDS).close()
        except OSError as error:
            return f"node {name} does not listen on port {port}: {error}"
        try:
            answer = fetch(url, authority, credential)
        except httpx.HTTPError as error:
            return f"{url}: {error!r}"
        conditions = answer.json().get("status", {}).get("conditions", []) if answer.is_success else []
        ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
        return "" if ready else f"node {name} has no condition Ready=True"

    return probe


def fetch(url: str, authority: Path | None, credential: Credential | None) -> httpx.Response:
    """One GET over loopback, past any proxy of the environment."""
    context = ssl.create_default_context(cafile=authority)
    if credential is not None:
        context.load_cert_chain(credential.cert, credential.key)
    with httpx.Client(verify=context, trust_env=False, timeout=PROBE_SECONDS) as client:
        return client.get(url)
