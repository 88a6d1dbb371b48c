"""Where the demo plays: on an embedded cluster of its own, or on a cluster on which the chart is installed."""

import base64
import json
import os
import shlex
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stage import Stage

from collabspace.local import binaries
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

GPUS = 4
BROKER = "deployment/collabspace-broker -n collabspace-system"
SIGNER = "kubernetes.io/kube-apiserver-client"
CREDENTIAL_SECONDS = 24 * 3600
PRIVATE = 0o600


class Place(Protocol):
    """A cluster, and what the demo does to it beside what its people do with kubectl."""

    title: str
    cpu: str
    """CPUs of one training."""

    def open(self, stage: Stage) -> None:
        """Makes it ready, and gives the stage its kubectl and the admin's kubeconfig."""

    def person(self, stage: Stage, name: str, team: str) -> Path:
        """A kubeconfig for a person with no rights but those that RBAC gives them."""

    def disturb(self, stage: Stage, delete_pod: str) -> None:
        """Takes the pod of a running task away by this command, in as rude a way as can be done here."""

    def bend_ledger(self, stage: Stage, edit: str) -> str:
        """Runs an SQL statement on a copy of the ledger and returns what its check says."""

    def logs(self) -> str:
        """Where to look when a step failed."""

    def undo(self) -> str:
        """How what the demo made is taken away."""


@dataclass
class Embedded:
    """A control plane of processes on this machine, made for the demo."""

    cluster: LocalCluster
    options: Options
    title: str = "a Kubernetes control plane starts on this machine"
    cpu: str = "1"

    def open(self, stage: Stage) -> None:
        self.cluster.up(self.options)
        stage.path.insert(0, self.cluster.kubectl.parent)
        stage.kubeconfigs["admin"] = self.cluster.kubeconfig
        stage.run("admin", "kubectl get nodes -L collabspace.io/simulated-gpu")

    def person(self, stage: Stage, name: str, team: str) -> Path:  # noqa: ARG002 as on other places
        return self.cluster.user(name, namespace=team)

    def disturb(self, stage: Stage, delete_pod: str) -> None:
        self.cluster.kill("node")
        stage.say("kill -9 of the node's agent; the trainer knows nothing of it and trains on")
        stage.run("lin", delete_pod)
        stage.say("the agent starts again, finds its container, and hears that the pod must go")
        self.cluster.start("node")

    def bend_ledger(self, stage: Stage, edit: str) -> str:
        copy = stage.folder / "ledger-copy.db"
        for suffix in ("", "-wal", "-shm"):
            source = self.cluster.state / "broker" / f"ledger.db{suffix}"
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        with sqlite3.connect(copy) as database:
            database.execute(edit)
        database.close()
        return stage.run("admin", f"python -m collabspace.broker.verify sqlite:///{copy.name}", fails=True)

    def logs(self) -> str:
        return f"logs: {self.cluster.state / 'logs'}"

    def undo(self) -> str:
        return "make down stops the cluster and removes it"


IN_THE_BROKER = """
import shutil, sqlite3, subprocess, sys
for suffix in ("", "-wal", "-shm"):
    try:
        shutil.copyfile(f"/var/lib/collabspace/ledger.db{suffix}", f"/tmp/ledger-copy.db{suffix}")
    except FileNotFoundError:
        pass
with sqlite3.connect("/tmp/ledger-copy.db") as database:
    database.execute(sys.argv[1])
database.close()
sys.exit(subprocess.call([sys.executable, "-m", "collabspace.broker.verify", "sqlite:////tmp/ledger-copy.db"]))
"""


@dataclass
class Given:
    """A cluster with the chart on it; `kubeconfig` is an admin's. Its ledger is on SQLite, as the chart has it."""

    kubeconfig: Path
    cpu: str
    title: str = "a Kubernetes cluster with collabspace installed"

    def open(self, stage: Stage) -> None:
        stage.kubeconfigs["admin"] = self.kubeconfig.absolute()
        columns = r"NODE:.metadata.name,GPUS:.status.allocatable.nvidia\.com/gpu"
        stage.run("admin", f"kubectl get nodes -o custom-columns='{columns}'")
        stage.run("admin", "kubectl get deployments -n collabspace-system")

    def person(self, stage: Stage, name: str, team: str) -> Path:
        """By a certificate that the cluster signs when the admin approves of it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        request = f"collabspace-demo-{name}"
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": request},
            "spec": {
                "request": _base64(asked.public_bytes(serialization.Encoding.PEM)),
                "signerName": SIGNER,
                "expirationSeconds": CREDENTIAL_SECONDS,
                "usages": ["client auth"],
            },
        }
        (stage.folder / "request.json").write_text(json.dumps(body))
        stage.run("admin", f"kubectl delete csr {request} --ignore-not-found", show=False)
        stage.run("admin", "kubectl create -f request.json", show=False)
        stage.run("admin", f"kubectl certificate approve {request}", show=False)
        signed = "jsonpath='{.status.certificate}'"
        stage.run("admin", f"kubectl wait --for={signed} csr/{request} --timeout=60s", show=False)
        certificate = stage.run("admin", f"kubectl get csr {request} -o {signed}", show=False)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        config = json.loads(stage.run("admin", "kubectl config view --raw --minify --flatten -o json", show=False))
        person = {"client-certificate-data": certificate, "client-key-data": _base64(secret)}
        config["users"] = [{"name": name, "user": person}]
        config["contexts"][0]["context"] |= {"user": name, "namespace": team}
        folder = binaries.cache_folder().parent / "demo"  # outlives the demo, so that one can go on as this person
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{name}.kubeconfig"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "w") as file:
            yaml.safe_dump(config, file)
        return path

    def disturb(self, stage: Stage, delete_pod: str) -> None:
        stage.run("lin", delete_pod)

    def bend_ledger(self, stage: Stage, edit: str) -> str:
        script = shlex.join(["python", "-c", IN_THE_BROKER, edit])
        return stage.run("admin", f"kubectl exec {BROKER} -- {script}", fails=True, show=False)

    def logs(self) -> str:
        return f"logs: kubectl logs {BROKER}; kubectl logs deployment/collabspace-operator -n collabspace-system"

    def undo(self) -> str:
        return "kubectl delete namespace hospital-a hospital-b research-lab outsider   removes what the demo made"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
