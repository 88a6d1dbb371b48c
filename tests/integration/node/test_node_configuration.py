"""What a container finds when it starts: environment, volumes, tokens."""

import base64
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

from node_harness import NodeProcess, Pods

from collabspace.api import names
from collabspace.kube import clock, config
from collabspace.kube.client import KubeClient
from collabspace.local.node.api import NodeClient
from collabspace.local.node.environment import Machine
from collabspace.local.node.manifest import parse
from collabspace.local.node.volumes import Volumes

Object = dict[str, Any]
SHOW = "env | sort"


async def create_data(admin: KubeClient, namespace: str, kind: str, name: str, data: dict[str, str]) -> None:
    plural = {"ConfigMap": "configmaps", "Secret": "secrets"}[kind]
    field = {"ConfigMap": "data", "Secret": "stringData"}[kind]
    body: Object = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: data}
    await admin.create(f"/api/v1/namespaces/{namespace}/{plural}", body)


async def test_the_environment_is_the_manifests_and_nothing_of_the_agents(pods: Pods, admin: KubeClient) -> None:
    await create_data(admin, pods.namespace, "ConfigMap", "settings", {"url": "https://broker/data", "folder": "/data"})
    await create_data(admin, pods.namespace, "Secret", "key", {"word": "in /data it stays"})
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TASK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{names.TASK_LABEL}']"}}},
        {"name": "URL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "url"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "IN", "value": "/data/$(POD)"},
        {"name": "RAW", "value": "$$(POD) $(NONE)"},
    ]
    container = {
        "env": env,
        "volumeMounts": [{"name": "d", "mountPath": "/data"}],
        "resources": {"limits": {"cpu": "1500m"}},
    }
    volumes = [{"name": "d", "emptyDir": {}}]
    await pods.create("shown", SHOW, container=container, volumes=volumes, labels={names.TASK_LABEL: "t1"})
    await pods.phase("shown", "Succeeded")
    shown = dict(line.split("=", 1) for line in (await pods.logs("shown")).splitlines())
    assert Path(shown.pop("IN")).parts[-3:] == ("v", "d", "shown")
    assert shown.pop("HOME").endswith("/home")
    assert shown.pop("TMPDIR").endswith("/tmp")
    assert shown.pop("PATH").endswith("/usr/local/bin:/usr/bin:/bin")
    assert shown == {
        "POD": "shown",
        "TASK": "t1",
        "URL": "https://broker/data",
        "WORD": "in /data it stays",
        "CPU": "2",
        "RAW": "$(POD) $(NONE)",
        "LANG": "C.UTF-8",
        "HOSTNAME": "shown",
        "PWD": shown["PWD"],
    }


async def test_volumes_of_configmap_secret_and_downward_api_are_files(pods: Pods, admin: KubeClient) -> None:
    await create_data(admin, pods.namespace, "ConfigMap", "settings", {"a": "from map", "b": "unused"})
    await create_data(admin, pods.namespace, "Secret", "key", {"k": "from secret"})
    downward = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    volumes = [
        {"name": "map", "configMap": {"name": "settings", "items": [{"key": "a", "path": "sub/file"}]}},
        {"name": "all", "projected": {"sources": [{"secret": {"name": "key"}}, {"downwardAPI": downward}]}},
        {"name": "none", "secret": {"secretName": "absent", "optional": True}},
    ]
    mounts = [{"name": name, "mountPath": f"/etc/our/{name}"} for name in ("map", "all", "none")]
    show = "; echo; ".join(f"cat /etc/our/{file}" for file in ("map/sub/file", "all/k", "all/labels"))
    script = f"{show}; echo; ls /etc/our/map; ls -A /etc/our/none"
    await pods.create("files", script, container={"volumeMounts": mounts}, volumes=volumes, labels={"x": "a"})
    assert (await pods.end("files"))["exitCode"] == 0
    assert await pods.logs("files") == 'from map\nfrom secret\nx="a"\nsub\n'


async def test_a_container_waits_for_a_missing_configmap_and_starts_when_it_is_there(
    pods: Pods, admin: KubeClient
) -> None:
    env = [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "v"}}}]
    await pods.create("patient", "echo got $V", container={"env": env})
    assert await pods.waits("patient", "CreateContainerConfigError") == 'configmap "later" not found'
    await create_data(admin, pods.namespace, "ConfigMap", "later", {"v": "it"})
    await pods.phase("patient", "Succeeded")
    assert await pods.logs("patient") == "got it\n"


async def test_a_volume_of_an_unknown_kind_is_named(pods: Pods) -> None:
    volumes = [{"name": "host", "hostPath": {"path": "/etc"}}]
    await pods.create("curious", "exit 0", volumes=volumes)
    assert "hostPath" in await pods.waits("curious", "CreateContainerConfigError")


def token_volume(audience: str = names.BROKER_AUDIENCE) -> Object:
    source = {"serviceAccountToken": {"audience": audience, "expirationSeconds": 600, "path": "token"}}
    return {"name": "token", "projected": {"sources": [source]}}


async def test_a_projected_token_is_the_pods_own_and_for_its_audience_alone(pods: Pods, admin: KubeClient) -> None:
    mounts = [{"name": "token", "mountPath": "/var/run/broker"}]
    script = "cat /var/run/broker/token; echo; trap 'exit 0' TERM; while :; do sleep 0.05; done"
    created = await pods.create("bearer", script, container={"volumeMounts": mounts}, volumes=[token_volume()])
    await pods.phase("bearer", "Running")
    token = await anext(pods.admin.stream(f"{pods.path}/bearer/log", {"follow": "true"}))
    spec = {"token": token.decode().strip(), "audiences": [names.BROKER_AUDIENCE]}
    review: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = (await admin.create(path, review))["status"]
    assert status["authenticated"]
    assert status["user"]["username"] == f"system:serviceaccount:{pods.namespace}:default"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [created["metadata"]["uid"]]
    spec["audiences"] = ["https://kubernetes.default.svc"]
    assert not (await admin.create(path, review))["status"].get("authenticated")
    await pods.delete("bearer")
    await pods.gone("bearer")


async def test_a_token_is_replaced_in_one_step_at_80_percent_of_its_life(
    pods: Pods, node: NodeProcess, tmp_path: Path
) -> None:
    created = await pods.create("holder", "trap 'exit 0' TERM; while :; do sleep 0.05; done", volumes=[token_volume()])
    await pods.phase("holder", "Running")
    bound = parse(await pods.admin.get(f"{pods.path}/holder"))
    file = tmp_path / "v" / "token" / "token"
    async with NodeClient(config.load(node.kubeconfig)) as client:
        volumes = Volumes(bound, tmp_path / "v", client, Machine(1, 1))
        await volumes.make()
        first, due = file.read_text(), volumes.next_rotation
        old = os.open(file, os.O_RDONLY)
        assert due is not None
        assert abs(due - clock.now() - dt.timedelta(seconds=480)) < dt.timedelta(seconds=10)
        await volumes.refresh(due - dt.timedelta(seconds=1))
        assert file.read_text() == first
        await volumes.refresh(due)
        second = file.read_text()
    assert claims(first)["jti"] != claims(second)["jti"]
    assert claims(second)["kubernetes.io"]["pod"]["uid"] == created["metadata"]["uid"]
    assert os.read(old, 100_000).decode() == first
    os.close(old)
    assert file.stat().st_mode & 0o077 == 0


def claims(token: str) -> Object:
    body = token.split(".")[1]
    decoded: Object = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return decoded
