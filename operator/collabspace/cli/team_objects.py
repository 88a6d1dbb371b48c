"""What a team's namespace must hold, as objects to apply. Pure: settings in, objects out, the same every time."""

from collections.abc import Mapping, Sequence
from typing import Any

from collabspace.api import names

Object = dict[str, Any]
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
# Where NodeLocal DNSCache listens on each node that has it.
NODE_DNS = "169.254.20.10/32"
ACCOUNTS = (names.TRAINER_ACCOUNT, names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT)
SETTINGS = (
    names.GPU_QUOTA,
    names.CPU_QUOTA,
    names.WEIGHT,
    names.COHORT,
    names.GPU_HOURS_PER_WEEK,
    names.SKILLS,
    names.ACCEPTS_TASKS_FROM,
)


def namespace(name: str, settings: Mapping[str, str], *, labelled: bool) -> Object:
    """The Namespace; `labelled` makes it a team, which is the last thing to do."""
    labels = RESTRICTED | ({names.TEAM_LABEL: "true"} if labelled else {})
    metadata = {"name": name, "labels": labels, "annotations": dict(settings)}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def known_settings(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Our annotations as they stand, so that applying some of them again does not remove the others."""
    annotations = metadata.get("annotations") or {}
    return {key: annotations[key] for key in SETTINGS if key in annotations}


def contents(name: str, broker: Mapping[str, str]) -> list[tuple[str, Object]]:
    """(path, object) of all that lies in the namespace: accounts, the operator's rights, the broker's address, and what
    trainers reach. `broker` is the data of the ConfigMap that says where the broker is."""
    core = f"/api/v1/namespaces/{name}"
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}"
    return [
        *((f"{core}/serviceaccounts/{account}", _account(name, account)) for account in ACCOUNTS),
        (f"{rbac}/rolebindings/{names.OPERATOR_TEAM_ROLE}", _operator_binding(name)),
        (f"{core}/configmaps/{names.BROKER_CONFIG_MAP}", _broker(name, broker)),
        (
            f"/apis/networking.k8s.io/v1/namespaces/{name}/networkpolicies/{names.TRAINER_NETWORK_POLICY}",
            _network(name, broker.get(names.STORE_PORT_KEY)),
        ),
    ]


def _account(team: str, account: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": team},
        "automountServiceAccountToken": False,
    }


def _operator_binding(team: str) -> Object:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.OPERATOR_TEAM_ROLE}
    operator = {"kind": "ServiceAccount", "name": names.OPERATOR_ACCOUNT, "namespace": names.SYSTEM_NAMESPACE}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": names.OPERATOR_TEAM_ROLE, "namespace": team},
        "roleRef": role,
        "subjects": [operator],
    }


def _broker(team: str, data: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.BROKER_CONFIG_MAP, "namespace": team},
        "data": dict(data),
    }


def _network(team: str, store_port: str | None) -> Object:
    """Trainers open connections to the broker and to the cluster's DNS, and to the store if links lead there; nobody
    opens one to them. An attempt is one pod: there are no others of its own to speak to."""
    broker = {
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: names.SYSTEM_NAMESPACE}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "broker"}},
    }
    dns = [{"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: "kube-system"}}}, {"ipBlock": {"cidr": NODE_DNS}}]
    egress: list[Object] = [
        {"to": [broker], "ports": [{"protocol": "TCP", "port": names.BROKER_PORT}]},
        {"to": dns, "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
    ]
    if store_port is not None:
        egress.append({"ports": [{"protocol": "TCP", "port": int(store_port)}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": names.TRAINER_NETWORK_POLICY, "namespace": team},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": names.TASK_UID_LABEL, "operator": "Exists"}]},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    }


def members(team: str, people: Sequence[str]) -> list[tuple[str, Object]]:
    """(path, object) of what makes these users members: `edit` in the namespace, and to look up other teams."""
    group = "rbac.authorization.k8s.io"
    subjects = [{"kind": "User", "apiGroup": group, "name": person} for person in people]
    base = f"/apis/{group}/v1"
    inside: Object = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": names.MEMBERS_BINDING, "namespace": team},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": subjects,
    }
    outside: Object = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{names.MEMBERS_BINDING}-{team}"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": names.MEMBER_ROLE},
        "subjects": subjects,
    }
    return [
        (members_path(team), inside),
        (f"{base}/clusterrolebindings/{names.MEMBERS_BINDING}-{team}", outside),
    ]


def members_path(team: str) -> str:
    """Path of the binding that lists a team's members."""
    return f"/apis/rbac.authorization.k8s.io/v1/namespaces/{team}/rolebindings/{names.MEMBERS_BINDING}"
