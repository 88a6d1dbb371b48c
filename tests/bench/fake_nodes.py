"""Nodes and pods that cost next to nothing: kwok, built from the go.mod beside it, plays what kubelets would."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import yaml

from collabspace.kube.client import KubeClient, Object
from collabspace.local import binaries

MODULE: Final = Path(__file__).parent / "kwok"
PACKAGE: Final = "sigs.k8s.io/kwok/cmd/kwok"
VERSION: Final = "v0.8.0"
GPUS_EACH: Final = 8
RESOURCES: Final = {"cpu": "96", "memory": "768Gi", "pods": "500", "nvidia.com/gpu": str(GPUS_EACH)}
POD: Final = {"apiGroup": "v1", "kind": "Pod"}
NODE: Final = {"apiGroup": "v1", "kind": "Node"}
ALIVE: Final = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}


def program() -> Path:
    """kwok's binary; built on first use, which takes a minute or two."""
    target = binaries.cache_folder() / f"kwok-{VERSION}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch, "kwok")
            build = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", str(made), PACKAGE]
            binaries.run_showing("building kwok (once)", build, MODULE, binaries.go_environment(print), print)
            made.rename(target)
    return target


def node(number: int) -> Object:
    """A Node as a kubelet registers it, Ready; nobody takes that back, since nobody asks for signs of life."""
    name = f"node-{number}"
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "capacity": RESOURCES,
            "allocatable": RESOURCES,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Bench"}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        },
    }


async def add_node(admin: KubeClient, number: int) -> None:
    await admin.create("/api/v1/nodes", node(number))
    await admin.merge(f"/api/v1/nodes/node-{number}", {"spec": {"taints": None}})


@dataclass(frozen=True)
class Play:
    """How long a bound pod takes to run, and how long it runs until it succeeds; None: for ever."""

    start_seconds: float = 0.1
    seconds: float | None = None


class Pods:
    """kwok as a process; `message` is what a container that succeeds leaves behind."""

    def __init__(self, kubeconfig: Path, folder: Path, play: Play, message: str) -> None:
        config = folder / "kwok.yaml"
        config.write_text(yaml.safe_dump_all([_options(), *_stages(play, message)]))
        argv = [str(program()), f"--kubeconfig={kubeconfig}", f"--config={config}", "--v=warn"]
        self._log: IO[bytes] = (folder / "kwok.log").open("wb")
        self.process = subprocess.Popen(argv, stdout=self._log, stderr=self._log, env={"PATH": os.environ["PATH"]})

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.close()


def _options() -> Object:
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "manageAllNodes": True,
            "nodeLeaseDurationSeconds": 0,
            "podPlayStageParallelism": 16,
            "nodePlayStageParallelism": 4,
            "enableCRDs": [],
        },
    }


def _stages(play: Play, message: str) -> list[Object]:
    pending = {"key": ".status.phase", "operator": "In", "values": ["Pending"]}
    running = {"key": ".status.phase", "operator": "In", "values": ["Running"]}
    unready = {"key": ".status.conditions.[].status", "operator": "NotIn", "values": ["True"]}
    going = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    stages = [
        # kwok looks after pods only on nodes that it looks after; ours want nothing, since they are Ready already.
        _stage("node-rest", [unready], {"statusTemplate": "phase: Running"}, 0.0, NODE),
        _stage("pod-run", [ALIVE, pending], {"statusTemplate": _RUNNING}, play.start_seconds),
        _stage("pod-delete", [going], {"delete": True, "finalizers": {"empty": True}}, 0.0),
    ]
    if play.seconds is not None:
        ended = {"statusTemplate": _ENDED.replace("MESSAGE", message.replace("'", "''"))}
        stages.append(_stage("pod-end", [ALIVE, running], ended, play.seconds))
    return stages


def _stage(name: str, selector: list[Object], then: Object, seconds: float, of: Object = POD) -> Object:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": of,
            "selector": {"matchExpressions": selector},
            "delay": {"durationMilliseconds": int(seconds * 1000)},
            "next": then,
        },
    }


_CONTAINER = """
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  name: {{ .name | Quote }}
  restartCount: 0
"""
_RUNNING = (
    """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
"""
    + _CONTAINER
    + """
  ready: true
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
"""
)
_ENDED = (
    """
{{ $now := Now }}
{{ $start := .status.startTime }}
phase: Succeeded
conditions:
- {type: Ready, status: "False", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", lastTransitionTime: {{ $now | Quote }}}
"""
    + _CONTAINER
    + """
  ready: false
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $start | Quote }}
      finishedAt: {{ $now | Quote }}
      message: 'MESSAGE'
{{ end }}
"""
)
