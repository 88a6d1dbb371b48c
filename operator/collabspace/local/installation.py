"""The platform's objects on the embedded cluster: namespace, rights, kinds, guards, and where the broker is."""

import json
import os
import subprocess
import time
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
FORBIDDEN_JOB: Final = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "forbidden", "namespace": names.SYSTEM_NAMESPACE},
    "spec": {
        "template": {
            "spec": {
                "serviceAccountName": names.TRAINER_ACCOUNT,
                "restartPolicy": "Never",
                "containers": [{"name": names.TRAINER_CONTAINER, "image": names.TRAINER_IMAGE}],
            }
        }
    },
}


def install(kubectl: Path, kubeconfig: Path, broker_url: str, authority: Path) -> None:
    """Apply everything; a second time changes nothing. Returns when our kinds are served and the guards refuse."""
    kinds = crds()
    run(kubectl, kubeconfig, apply_arguments(), [*manifests(), *kinds, _broker_address(broker_url, authority)])
    established = ["wait", "--for=condition=Established", f"--timeout={KUBECTL_SECONDS // 2}s"]
    run(kubectl, kubeconfig, [*established, *(f"crd/{kind['metadata']['name']}" for kind in kinds)])
    _wait_guarded(kubectl, kubeconfig)


def manifests() -> list[dict[str, Any]]:
    """Our namespace, accounts, rights and guards, in the order to apply them."""
    folder = resources.files("collabspace.local").joinpath("manifests")
    files = ("namespace", "accounts", "operator", "broker", "people", "policies")
    texts = [folder.joinpath(f"{name}.yaml").read_text() for name in files]
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


def _wait_guarded(kubectl: Path, kubeconfig: Path) -> None:
    """Until the API server refuses what the last policy forbids: it reads all of them at once, in their order."""
    deadline = time.monotonic() + KUBECTL_SECONDS
    while time.monotonic() < deadline:
        try:
            run(kubectl, kubeconfig, ["create", "--dry-run=server", "-f", "-"], [FORBIDDEN_JOB])
        except LocalClusterError as error:
            if names.JOBS_POLICY in str(error):
                return
            raise
    raise LocalClusterError(
        f"ValidatingAdmissionPolicy {names.JOBS_POLICY} does not refuse what it forbids after {KUBECTL_SECONDS} s; "
        "is admission plugin ValidatingAdmissionPolicy of the API server disabled?"
    )


def _broker_address(url: str, authority: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.BROKER_CONFIG_MAP, "namespace": names.SYSTEM_NAMESPACE},
        "data": {names.BROKER_URL_KEY: url, names.BROKER_CA_KEY: authority.read_text()},
    }
