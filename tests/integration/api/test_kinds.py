"""What the API server itself refuses of our kinds, with the field named, and what it freezes."""

from typing import Any

import pytest

from collabspace.api import names
from collabspace.kube.client import KubeClient, KubeError

BASE = f"/apis/{names.API_VERSION}/namespaces"
VERSION = {"digest": "sha256:" + "0" * 64, "createdTime": "2026-01-01T00:00:00Z", "records": 1, "bytes": 1, "files": 1}


def task(name: str = "x", **spec: Any) -> dict[str, Any]:
    full = {
        "task": "Tabular",
        "method": "LogisticRegression",
        "datasets": [{"name": "a", "datasetRef": {"namespace": "b", "name": "c"}}],
    } | spec
    return {"apiVersion": names.API_VERSION, "kind": "CollabTask", "metadata": {"name": name}, "spec": full}


def dataset(**spec: Any) -> dict[str, Any]:
    full = {"format": "Tabular", "contract": {"target": {"column": "y", "kind": "Class"}}} | spec
    return {"apiVersion": names.API_VERSION, "kind": "SharedDataset", "metadata": {"name": "d"}, "spec": full}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (task(resourcesPerNode={"nvidia.com/gpu": -1}), "spec.resourcesPerNode.nvidia.com/gpu"),
        (task(resourcesPerNode={"nvidia.com/gpu": 10_000}), "spec.resourcesPerNode.nvidia.com/gpu"),
        (task(resourcesPerNode={"nvidia.com/gpu": "-1"}), "spec.resourcesPerNode.nvidia.com/gpu"),
        (task(resourcesPerNode={"cpu": -1}), "spec.resourcesPerNode.cpu"),
        (task(resourcesPerNode={"memory": "4Gib"}), "spec.resourcesPerNode.memory"),
        (task(parameters={"learningRate": 0.1}), "spec.parameters.learningRate"),
        (task(seed=-1), "spec.seed"),
        (task(datasets=[]), "spec.datasets"),
        (task(datasets=[{"name": "a", "datasetRef": {"namespace": "../b", "name": "c"}}]), "datasetRef.namespace"),
        (
            task(datasets=[{"name": "a", "datasetRef": {"namespace": "b", "name": "c"}, "role": "Evaluate"}]),
            "at least one must have role Train",
        ),
        (task(name="n" * 51), "at most 50 characters"),
        (task(name="a.b"), "no dots"),
        (
            task(initialization="Random", modelFrom={"namespace": "b", "name": "m"}),
            "initialization Random and modelFrom exclude each other",
        ),
    ],
)
async def test_a_broken_task_is_refused_at_apply_and_the_field_is_named(
    admin: KubeClient, namespace: str, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(KubeError) as refused:
        await admin.create(f"{BASE}/{namespace}/collabtasks", body)
    assert refused.value.status == 422
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (dataset(contract={}), "format Tabular needs contract.target"),
        (dataset(splits={"trainPercent": 80, "validationPercent": 10, "testPercent": 20}), "must add up to 100"),
        (dataset(format="Pictures"), "spec.format"),
        (dataset(grants=[{"name": "g", "namespace": "lab", "uses": []}]), "spec.grants[0].uses"),
        (dataset(grants=[{"name": "g", "namespace": "lab", "uses": ["Train"], "notAfter": "soon"}]), "notAfter"),
    ],
)
async def test_a_broken_dataset_is_refused_at_apply_and_the_field_is_named(
    admin: KubeClient, namespace: str, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(KubeError) as refused:
        await admin.create(f"{BASE}/{namespace}/shareddatasets", body)
    assert refused.value.status == 422
    assert said in refused.value.message


async def test_splits_and_contract_freeze_with_the_first_version_and_grants_never_do(
    admin: KubeClient, namespace: str
) -> None:
    path = f"{BASE}/{namespace}/shareddatasets"
    await admin.create(path, dataset())
    await admin.merge(f"{path}/d", {"spec": {"splits": {"seed": 4}}})
    await admin.merge(f"{path}/d/status", {"status": {"currentVersion": VERSION}})
    for change in ({"splits": {"seed": 5}}, {"contract": {"target": {"column": "z"}}}):
        with pytest.raises(KubeError, match="is frozen since the first version was pushed"):
            await admin.merge(f"{path}/d", {"spec": change})
    changed = await admin.merge(
        f"{path}/d", {"spec": {"grants": [{"name": "lab", "namespace": "lab", "uses": ["Train"]}]}}
    )
    assert changed["spec"]["grants"][0]["name"] == "lab"


async def test_a_refused_spec_can_be_corrected_and_an_accepted_one_not(admin: KubeClient, namespace: str) -> None:
    path = f"{BASE}/{namespace}/collabtasks"
    await admin.create(path, task())
    for verdict, allowed in (("False", True), ("True", False)):
        condition = {
            "type": "Accepted",
            "status": verdict,
            "reason": "Valid",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        await admin.merge(f"{path}/x/status", {"status": {"conditions": [condition]}})
        if allowed:
            await admin.merge(f"{path}/x", {"spec": {"seed": 7}})
        else:
            with pytest.raises(KubeError, match=r"spec\.seed is frozen"):
                await admin.merge(f"{path}/x", {"spec": {"seed": 8}})
    await admin.merge(f"{path}/x", {"spec": {"priority": 5}})
