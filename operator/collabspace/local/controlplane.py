"""etcd and Kubernetes' three servers: their arguments, credentials and configuration files.

Secure as a cluster is (TLS both ways, RBAC and Node authorizers, NodeRestriction, Pod Security, no anonymous callers),
tuned for one machine: no leader election, no waiting for the disk, client rates that let Jobs start at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from collabspace.local.certificates import LOOPBACK as LOOPBACK_HOSTS
from collabspace.local.certificates import (
    Authority,
    Credential,
    Subject,
    signing_key,
    write_kubeconfig,
)
from collabspace.local.component import Component, Probe, http_probe
from collabspace.local.state import LOOPBACK, State

ISSUER: Final = "https://kubernetes.default.svc"
SERVICE_RANGE: Final = "10.96.0.0/16"
CLIENT_QPS: Final = 1000
CLIENT_BURST: Final = 2000
ADMIN: Final = Subject("collabspace-admin", ("system:masters",))
APISERVER_HOSTS: Final = (*LOOPBACK_HOSTS, "kubernetes", "kubernetes.default", "kubernetes.default.svc")
# In the order of their start.
NAMES: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True)
class Trust:
    """The cluster's authorities, and the admin's credential. Made on first use, then the same."""

    cluster: Authority
    etcd: Authority
    kubelet: Authority
    admin: Credential

    @classmethod
    def of(cls, state: State) -> "Trust":
        cluster, etcd, kubelet = (Authority(state.keys, name) for name in ("cluster", "etcd", "kubelet"))
        return cls(cluster, etcd, kubelet, cluster.issue(ADMIN, "admin"))


def components(state: State) -> tuple[Component, ...]:
    """The four servers in the order of their start. Writes their credentials and configuration into the state."""
    trust = Trust.of(state)
    write_kubeconfig(
        state.kubeconfig,
        state.address("kube-apiserver"),
        trust.cluster.file,
        trust.admin,
        context=f"collabspace-{state.name}" if state.name != "collabspace" else state.name,
    )
    return (
        _etcd(state, trust),
        _apiserver(state, trust),
        _controller_manager(state, trust),
        _scheduler(state, trust),
    )


def client(state: State, trust: Trust, subject: Subject, file_name: str) -> Path:
    """A kubeconfig for a program of ours, with a certificate for the subject."""
    credential = trust.cluster.issue(subject, file_name)
    server = state.address("kube-apiserver")
    return write_kubeconfig(
        state.folder / f"{file_name}.kubeconfig", server, trust.cluster.file, credential, context=file_name
    )


def _etcd(state: State, trust: Trust) -> Component:
    serving = trust.etcd.issue(Subject("etcd", hosts=LOOPBACK_HOSTS, peer=True))
    caller = trust.etcd.issue(Subject("kube-apiserver"), "etcd-client")
    url, peer_url = state.address("etcd"), state.address("etcd-peer")
    arguments = {
        "name": "local",
        "data-dir": state.folder / "etcd",
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"local={peer_url}",
        "client-cert-auth": "true",
        "trusted-ca-file": trust.etcd.file,
        "cert-file": serving.cert,
        "key-file": serving.key,
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": trust.etcd.file,
        "peer-cert-file": serving.cert,
        "peer-key-file": serving.key,
        # A killed etcd loses nothing by this; a machine that loses power may have to start the cluster anew.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return _component(state, "etcd", arguments, http_probe(f"{url}/readyz", trust.etcd.file, caller))


def _apiserver(state: State, trust: Trust) -> Component:
    serving = trust.cluster.issue(Subject("kube-apiserver", hosts=APISERVER_HOSTS), "kube-apiserver")
    to_etcd = trust.etcd.issue(Subject("kube-apiserver"), "etcd-client")
    to_node = trust.kubelet.issue(Subject("kube-apiserver-kubelet-client"), "kubelet-client")
    tokens = signing_key(state.keys)
    url = state.address("kube-apiserver")
    arguments: dict[str, object] = {
        "etcd-servers": state.address("etcd"),
        "etcd-cafile": trust.etcd.file,
        "etcd-certfile": to_etcd.cert,
        "etcd-keyfile": to_etcd.key,
        "bind-address": LOOPBACK,
        "secure-port": state.port("kube-apiserver"),
        "tls-cert-file": serving.cert,
        "tls-private-key-file": serving.key,
        "client-ca-file": trust.cluster.file,
        "anonymous-auth": "false",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "kubelet-client-certificate": to_node.cert,
        "kubelet-client-key": to_node.key,
        "kubelet-certificate-authority": trust.cluster.file,
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": ISSUER,
        "service-account-jwks-uri": f"{url}/openid/v1/jwks",
        "service-account-key-file": tokens.cert,
        "service-account-signing-key-file": tokens.key,
        "service-cluster-ip-range": SERVICE_RANGE,
        # EndpointSlices refuse loopback addresses, so the API server cannot list itself as a Service here.
        "advertise-address": LOOPBACK,
        "endpoint-reconciler-type": "none",
        "profiling": "false",
    }
    if state.options.audit:
        arguments |= _audit(state)
    return _component(state, "kube-apiserver", arguments, http_probe(f"{url}/readyz", trust.cluster.file, trust.admin))


def _audit(state: State) -> dict[str, object]:
    """Every request once, when it is answered, without bodies: who did what to which object."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    return {
        "audit-policy-file": state.write("audit-policy.yaml", yaml.safe_dump(policy)),
        "audit-log-path": state.audit_log,
        "audit-log-maxsize": 2048,  # MB; a reader of the file must not meet a rotation
    }


def _controller_manager(state: State, trust: Trust) -> Component:
    name = "kube-controller-manager"
    serving = trust.cluster.issue(Subject(name, hosts=LOOPBACK_HOSTS), f"{name}-serving")
    arguments = {
        "kubeconfig": client(state, trust, Subject(f"system:{name}"), name),
        "bind-address": LOOPBACK,
        "secure-port": state.port(name),
        "tls-cert-file": serving.cert,
        "tls-private-key-file": serving.key,
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": signing_key(state.keys).key,
        "root-ca-file": trust.cluster.file,
        "flex-volume-plugin-dir": state.folder / "flex-volume-plugins",  # else it makes a folder in /usr
        "kube-api-qps": CLIENT_QPS,
        "kube-api-burst": CLIENT_BURST,
        "profiling": "false",
    }
    # Its health check answers before there is anything to check; each controller appears in it once it is made.
    probe = http_probe(f"{state.address(name)}/healthz?verbose", trust.cluster.file, says="job-controller")
    return _component(state, name, arguments, probe)


def _scheduler(state: State, trust: Trust) -> Component:
    name = "kube-scheduler"
    serving = trust.cluster.issue(Subject(name, hosts=LOOPBACK_HOSTS), f"{name}-serving")
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": str(client(state, trust, Subject(f"system:{name}"), name)),
            "qps": CLIENT_QPS,
            "burst": CLIENT_BURST,
        },
        "leaderElection": {"leaderElect": False},
        "enableProfiling": False,
    }
    arguments = {
        "config": state.write("kube-scheduler.yaml", yaml.safe_dump(configuration)),
        "bind-address": LOOPBACK,
        "secure-port": state.port(name),
        "tls-cert-file": serving.cert,
        "tls-private-key-file": serving.key,
    }
    probe = http_probe(f"{state.address(name)}/readyz", trust.cluster.file)
    return _component(state, name, arguments, probe)


def _component(state: State, name: str, arguments: Mapping[str, object], ready: Probe) -> Component:
    more = state.options.arguments.get(name, ())
    argv = (str(state.binaries / name), *(f"--{key}={value}" for key, value in arguments.items()), *more)
    return Component(name, argv, ready)
