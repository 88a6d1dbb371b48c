"""Settings of the chart that between them render every line of it."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "collabspace"
NAMESPACE = "collabspace-system"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
# Of other operators: neither our API server nor kubernetes-validate knows them.
FOREIGN = {"Certificate", "PodMonitor", "PrometheusRule"}
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "production": {
        "image": {"repository": "registry.example/collabspace", "digest": "sha256:" + "a" * 64},
        "imagePullSecrets": ["registry"],
        "trainer": {
            "image": {"repository": "registry.example/trainer", "tag": "cuda"},
            "allowedImages": ["registry.example/trainer:before"],
            "imagePullSecrets": ["registry"],
            "withGpu": {
                "nodeSelector": {"nvidia.com/gpu.product": "H100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "runtimeClassName": "nvidia",
                "priorityClassName": "training",
            },
        },
        "operator": {"replicas": 2, "priorityClassName": "system-cluster-critical"},
        "broker": {
            "replicas": 3,
            "reads": "Redirect",
            "externalUrl": "https://data.example:30843",
            "service": {"type": "NodePort", "nodePort": 30843, "annotations": {"example.com/zone": "a"}},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "storage", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
        },
        "store": {"type": "S3", "s3": {"bucket": "team-data", "prefix": "a/b", "region": "eu-central-1"}},
        "ledger": {"type": "PostgreSQL", "postgresql": {"host": "db.example", "secretName": "ledger"}},
        "tls": {
            "mode": "CertManager",
            "ca": PEM,
            "issuerRef": {"name": "internal"},
            "extraNames": ["data.example", "10.1.2.3"],
        },
        "crds": {"enabled": False},
        "networkPolicies": {"brokerFrom": [{"namespaceSelector": {}}], "metricsFrom": [PROMETHEUS]},
        "monitoring": {
            "podMonitor": {"enabled": True, "additionalLabels": {"release": "prometheus"}},
            "rules": {
                "enabled": True,
                "additionalLabels": {"release": "prometheus"},
                "runbookBaseUrl": "https://docs.example/runbooks",
            },
            "dashboards": {"enabled": True},
        },
    },
    "own-store": {
        "crds": {"enabled": False},
        "store": {
            "type": "S3",
            "s3": {"bucket": "b-1", "endpoint": "http://minio:9000", "pathStyle": True, "secretName": "keys"},
        },
        "persistence": {"existingClaim": "ledger", "keep": False},
        "tls": {"mode": "Secret", "secretName": "broker", "ca": PEM},
        "networkPolicies": {"brokerEgressPorts": [8200]},
    },
    "bare": {
        "crds": {"keep": False},
        "persistence": {"storageClassName": "local", "size": "1Gi", "keep": False},
        "networkPolicies": {"enabled": False},
        "flowSchema": {"enabled": False},
    },
}


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of a release. Raises HelmError."""
    with Chart.load(CHART) as chart:
        files = chart.render(values=values, name="collabspace", namespace=NAMESPACE)
    texts = (text for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return [document for text in texts for document in yaml.load_all(text, yaml.CSafeLoader) if document]


@cache
def case(name: str) -> list[dict[str, Any]]:
    """The objects of one of CASES."""
    return render(CASES[name])
