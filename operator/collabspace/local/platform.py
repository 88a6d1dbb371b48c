"""Our own processes on the embedded cluster: node, broker and operator, each with the identity it has in a real one."""

import json
import os
import select
import signal
import sys
from typing import Final

from collabspace.api import names
from collabspace.local.certificates import LOOPBACK as LOOPBACK_HOSTS
from collabspace.local.certificates import Subject, service_account
from collabspace.local.component import Component, Probe, http_probe, node_probe
from collabspace.local.controlplane import Trust, client
from collabspace.local.errors import LocalClusterError
from collabspace.local.node.container import open_process
from collabspace.local.node.shim import KILL_SIGNAL
from collabspace.local.state import LOOPBACK, State

NODE_NAME: Final = "local"
# In the order of their start. The broker ends after the node, so that trainers can save while they end.
NAMES: Final = ("broker", "node", "operator")
# On SIGTERM the node ends its containers, each within its own grace; a successor of a killed node takes them over.
NODE_STOP_SECONDS: Final = 120.0
CONTAINER_STOP_SECONDS: Final = 10.0


def components(state: State) -> tuple[Component, ...]:
    """The three processes in the order of their start. Writes their credentials into the state."""
    trust = Trust.of(state)
    return (_broker(state, trust), _node(state, trust), _operator(state, trust))


def end_containers(state: State) -> None:
    """End what a killed node left behind. No node may run."""
    for file in (state.folder / "node").rglob("shim.json"):
        descriptor = open_process(json.loads(file.read_text()))
        if descriptor is None:
            continue
        try:
            signal.pidfd_send_signal(descriptor, KILL_SIGNAL)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(CONTAINER_STOP_SECONDS * 1000):
                raise LocalClusterError(f"the container of {file.parent} did not end; end its processes by hand")
        finally:
            os.close(descriptor)


def _node(state: State, trust: Trust) -> Component:
    node = f"system:node:{NODE_NAME}"
    serving = trust.cluster.issue(Subject(node, ("system:nodes",), (LOOPBACK, NODE_NAME)), "node-serving")
    arguments: dict[str, object] = {
        "kubeconfig": client(state, trust, Subject(node, ("system:nodes",)), "node"),
        "name": NODE_NAME,
        "state-dir": state.folder / "node",
        "gpus": state.options.gpus,
        "serving-cert": serving.cert,
        "serving-key": serving.key,
        "client-ca": trust.kubelet.file,
        "port": state.port("node"),
    }
    argv = [sys.executable, "-m", "collabspace.local.node"]
    for key, value in arguments.items():
        argv += [f"--{key}", str(value)]
    argv.append("--stop-containers-on-exit")
    server = state.address("kube-apiserver")
    ready = node_probe(server, NODE_NAME, state.port("node"), trust.cluster.file, trust.admin)
    return _component(state, "node", argv, ready, {})


def _broker(state: State, trust: Trust) -> Component:
    serving = trust.cluster.issue(Subject(names.BROKER_ACCOUNT, hosts=LOOPBACK_HOSTS), "broker-serving")
    folder = state.folder / "broker"
    folder.mkdir(exist_ok=True, mode=0o700)
    environment = {
        "COLLABSPACE_KUBECONFIG": client(state, trust, service_account(names.BROKER_ACCOUNT), "broker"),
        "COLLABSPACE_BROKER_HOST": LOOPBACK,
        "COLLABSPACE_BROKER_PORT": state.port("broker"),
        "COLLABSPACE_BROKER_METRICS": f"{LOOPBACK}:{state.port('broker-metrics')}",
        "COLLABSPACE_BROKER_TLS_CERT": serving.cert,
        "COLLABSPACE_BROKER_TLS_KEY": serving.key,
        "COLLABSPACE_BROKER_STORE": folder / "store",
        "COLLABSPACE_BROKER_LEDGER": f"sqlite:///{folder / 'ledger.db'}",
    }
    ready = http_probe(f"{state.address('broker')}/readyz", trust.cluster.file)
    return _component(state, "broker", [sys.executable, "-m", "collabspace.broker.main"], ready, environment)


def _operator(state: State, trust: Trust) -> Component:
    environment = {
        "COLLABSPACE_KUBECONFIG": client(state, trust, service_account(names.OPERATOR_ACCOUNT), "operator"),
        "COLLABSPACE_BROKER_URL": state.address("broker"),
        "COLLABSPACE_BROKER_CA_FILE": trust.cluster.file,
        "COLLABSPACE_METRICS_PORT": state.port("operator"),
        # The supervisor starts it only when the process before is gone, so it need not wait for that one's Lease.
        "COLLABSPACE_INSTANCE": state.name,
        "COLLABSPACE_TRAINER_IMAGE": names.TRAINER_IMAGE,
    }
    ready = http_probe(f"{state.address('operator', 'http')}/readyz")
    return _component(state, "operator", [sys.executable, "-m", "collabspace.controller.main"], ready, environment)


def _component(state: State, name: str, argv: list[str], ready: Probe, environment: dict[str, object]) -> Component:
    more = state.options.arguments.get(name, ())
    texts = {key: str(value) for key, value in environment.items()}
    return Component(name, (*argv, *more), ready, texts, inherits_environment=True)
