"""The platform's objects on the embedded cluster: namespace, rights, kinds, and where the broker is."""

import json
import os
import subprocess
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from collabspace.api import names
from collabspace.api.crd import crds
from collabspace.local.errors import LocalClusterError

FIELD_MANAGER: Final = "collabspace-local"
KUBECTL_SECONDS: Final = 60


def install(kubectl: Path, kubeconfig: Path, broker_url: str, authority: Path) -> None:
    """Apply everything; a second time changes nothing. Returns when the API server serves our kinds."""
    kinds = crds()
    run(kubectl, kubeconfig, apply_arguments(), [*manifests(), *kinds, _broker_address(broker_url, authority)])
    established = ["wait", "--for=condition=Established", f"--timeout={KUBECTL_SECONDS // 2}s"]
    run(kubectl, kubeconfig, [*established, *(f"crd/{kind['metadata']['name']}" for kind in kinds)])


def manifests() -> list[dict[str, Any]]:
    """Our namespace, accounts and rights, in the order to apply them."""
    folder = resources.files("collabspace.local").joinpath("manifests")
    texts = [folder.joinpath(f"{name}.yaml").read_text() for name in ("namespace", "operator", "broker", "people")]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def apply_arguments() -> list[str]:
    return ["apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "-f", "-"]


def run(kubectl: Path, kubeconfig: Path, arguments: list[str], documents: Iterable[dict[str, Any]] = ()) -> str:
    """Run kubectl with the documents on stdin; returns what it printed. Raises LocalClusterError with its message."""
    text = "\n---\n".join(json.dumps(document) for document in documents)
    try:
        answer = subprocess.run(
            [str(kubectl), f"--kubeconfig={kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=KUBECTL_SECONDS,
            env={"PATH": os.defpath, "HOME": str(kubeconfig.parent)},
        )
    except subprocess.TimeoutExpired as error:
        raise LocalClusterError(f"kubectl {arguments[0]} did not end within {KUBECTL_SECONDS} s") from error
    if answer.returncode != 0:
        raise LocalClusterError(f"kubectl {arguments[0]} failed: {answer.stderr.strip()}")
    return answer.stdout


def _broker_address(url: str, authority: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.BROKER_CONFIG_MAP, "namespace": names.SYSTEM_NAMESPACE},
        "data": {names.BROKER_URL_KEY: url, names.BROKER_CA_KEY: authority.read_text()},
    }
