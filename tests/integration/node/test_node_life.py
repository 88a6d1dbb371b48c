"""A pod's life on the process node, as the API server shows it."""

import asyncio
import contextlib
import ssl
import subprocess
from typing import Any

import aiohttp
import pytest
from node_harness import SHELL, NodeProcess, Pods, status_writes, until, wait_for

from collabspace.kube.client import KubeClient
from collabspace.local.certificates import Authority, Credential, Subject
from collabspace.local.cluster import LocalCluster

Object = dict[str, Any]


def conditions(pod: Object) -> dict[str, str]:
    return {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}


async def test_a_pod_that_exits_0_has_succeeded(pods: Pods) -> None:
    await pods.create("good", "echo out; echo err >&2")
    end = await pods.end("good")
    assert (end["exitCode"], end["reason"]) == (0, "Completed")
    assert end["startedAt"] <= end["finishedAt"]
    pod = await pods.phase("good", "Succeeded")
    assert conditions(pod) == {
        "PodScheduled": "True",
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "ContainersReady": "False",
        "Ready": "False",
    }
    assert pod["status"]["podIP"] == pod["status"]["hostIP"] == "127.0.0.1"


async def test_a_job_fails_by_the_exit_code_of_its_pod(admin: KubeClient, namespace: str, node: NodeProcess) -> None:
    template = {
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": node.name},
            "containers": [{"name": "main", "image": f"{SHELL}:v1", "command": ["sh", "-c", "exit 3"]}],
        }
    }
    job: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "three"},
        "spec": {"backoffLimit": 0, "template": template, "podReplacementPolicy": "Failed"},
    }
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    await admin.create(path, job)
    done = await wait_for(admin, path, "three", lambda job: job.get("status", {}).get("failed") == 1)
    assert any(one["type"] in ("Failed", "FailureTarget") for one in done["status"]["conditions"])
    found = await admin.list(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": "job-name=three"})
    assert [pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in found["items"]] == [3]


async def test_a_suspended_job_gives_its_pod_the_grace_period_and_the_pod_goes(
    admin: KubeClient, pods: Pods, node: NodeProcess
) -> None:
    script = "trap 'echo saved; exit 50' TERM; echo up; while :; do sleep 0.05; done"
    template = {
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": node.name},
            "containers": [{"name": "main", "image": SHELL, "command": ["sh", "-c", script]}],
        }
    }
    job: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "paused"},
        "spec": {"backoffLimit": 0, "template": template},
    }
    path = f"/apis/batch/v1/namespaces/{pods.namespace}/jobs"
    await admin.create(path, job)
    await wait_for(admin, path, "paused", lambda job: job.get("status", {}).get("ready") == 1)
    (pod,) = (await admin.list(pods.path, {"labelSelector": "job-name=paused"}))["items"]
    await pods.up(pod["metadata"]["name"])
    await admin.merge(f"{path}/paused", {"spec": {"suspend": True}})
    await wait_for(
        admin, path, "paused", lambda job: not job["status"].get("active") and not job["status"].get("terminating")
    )
    assert [line["exitCode"] for line in node.journal(pods.namespace) if line["event"] == "end"] == [50]


async def test_the_termination_message_reaches_the_status(pods: Pods) -> None:
    await pods.create("default-path", "printf said > /dev/termination-log; exit 4")
    assert (await pods.end("default-path"))["message"] == "said"

    mounted = {"terminationMessagePath": "/work/last", "volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    volumes = [{"name": "work", "emptyDir": {}}]
    await pods.create("in-volume", "cd /work && printf %05000d 7 > last; exit 5", container=mounted, volumes=volumes)
    end = await pods.end("in-volume")
    assert (end["exitCode"], len(end["message"])) == (5, 4096)

    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await pods.create("from-log", "echo the last line; exit 6", container=fallback)
    assert (await pods.end("from-log"))["message"] == "the last line\n"


async def test_deletion_gives_the_grace_period_and_then_kills_every_process(pods: Pods, node: NodeProcess) -> None:
    script = "trap : TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo up; while :; do sleep 0.05; done"
    await pods.create("stubborn", script, terminationGracePeriodSeconds=2)
    await pods.up("stubborn")
    await pods.delete("stubborn")
    end = await pods.end("stubborn")
    assert (end["exitCode"], end["reason"]) == (137, "Error")
    await pods.gone("stubborn")
    assert [line["event"] for line in node.journal(pods.namespace)] == ["start", "end"]


async def test_init_containers_run_in_order_before_the_main_one(pods: Pods) -> None:
    mount = [{"name": "work", "mountPath": "/work"}]
    inits = [
        {"name": name, "image": SHELL, "command": ["sh", "-c", f"echo {name} >> /work/order"], "volumeMounts": mount}
        for name in ("first", "second")
    ]
    volumes = [{"name": "work", "emptyDir": {}}]
    await pods.create(
        "ordered", "cat /work/order", container={"volumeMounts": mount}, initContainers=inits, volumes=volumes
    )
    await pods.phase("ordered", "Succeeded")
    assert await pods.logs("ordered", container="main") == "first\nsecond\n"


async def test_a_failed_init_container_fails_the_pod_and_the_main_one_never_starts(
    pods: Pods, node: NodeProcess
) -> None:
    inits = [{"name": "broken", "image": SHELL, "command": ["sh", "-c", "exit 9"]}]
    await pods.create("blocked", "echo never", initContainers=inits)
    pod = await pods.phase("blocked", "Failed")
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 9
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert [line["container"] for line in node.journal(pods.namespace)] == ["broken", "broken"]


async def test_a_sidecar_runs_beside_the_main_container_and_ends_after_it(pods: Pods, node: NodeProcess) -> None:
    mount = [{"name": "work", "mountPath": "/work"}]
    script = "trap 'exit 0' TERM; touch /work/ready; while :; do sleep 0.05; done"
    side = {"name": "side", "image": SHELL, "command": ["sh", "-c", script], "restartPolicy": "Always"}
    await pods.create(
        "pair",
        "while [ ! -e /work/ready ]; do sleep 0.05; done",
        container={"volumeMounts": mount},
        initContainers=[{**side, "volumeMounts": mount}],
        volumes=[{"name": "work", "emptyDir": {}}],
    )
    await pods.phase("pair", "Succeeded")
    assert [line["container"] for line in node.journal(pods.namespace) if line["event"] == "end"] == ["main", "side"]


async def test_a_container_that_fails_is_started_again_where_the_pod_says_so(pods: Pods) -> None:
    mount = [{"name": "work", "mountPath": "/work"}]
    await pods.create(
        "again",
        "if [ -e /work/been ]; then echo second; exit 0; fi; touch /work/been; echo first; exit 1",
        container={"volumeMounts": mount},
        volumes=[{"name": "work", "emptyDir": {}}],
        restartPolicy="OnFailure",
    )
    pod = await pods.phase("again", "Succeeded", 40)
    (status,) = pod["status"]["containerStatuses"]
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 1)
    assert await pods.logs("again", previous="true") == "first\n"


async def test_memory_above_the_limit_ends_as_oom_killed(pods: Pods) -> None:
    hog = {
        "image": "collabspace/trainer@sha256:" + "0" * 64,
        "command": ["python", "-c", "import signal; held = b'x' * 200_000_000; signal.pause()"],
        "resources": {"limits": {"memory": "100Mi"}},
    }
    await pods.create("hog", container=hog)
    end = await pods.end("hog")
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")
    assert "104857600 bytes" in end["message"]


async def test_the_pods_deadline_ends_it(pods: Pods) -> None:
    await pods.create("late", "while :; do sleep 0.05; done", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    pod = await pods.phase("late", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_an_unknown_image_waits_and_says_which_are_known(pods: Pods) -> None:
    await pods.create("stranger", container={"image": "nginx:1.27"})
    message = await pods.waits("stranger", "ErrImageNeverPull")
    assert "collabspace/trainer" in message
    assert "kind" in message
    await pods.phase("stranger", "Pending")
    await pods.delete("stranger")
    await pods.gone("stranger")


async def test_a_program_that_is_not_the_images_does_not_start(pods: Pods, node: NodeProcess) -> None:
    await pods.create("sly", container={"image": "collabspace/trainer", "command": ["/bin/sh", "-c", "id"]})
    end = await pods.end("sly")
    assert (end["exitCode"], end["reason"]) == (128, "StartError")
    assert "collabspace-trainer" in end["message"]
    assert node.journal(pods.namespace) == []


async def test_the_status_is_written_only_when_it_changed(pods: Pods, cluster: LocalCluster, node: NodeProcess) -> None:
    await pods.create("quiet", "exit 0")
    await pods.phase("quiet", "Succeeded")
    user = f"system:node:{node.name}"
    await until(lambda: status_writes(cluster, pods.namespace, "quiet", user) >= 1)
    assert status_writes(cluster, pods.namespace, "quiet", user) <= 2  # Running and Succeeded, or only the latter


async def test_a_third_gpu_pod_waits_where_two_gpus_are(admin: KubeClient, pods: Pods, node: NodeProcess) -> None:
    shown = await admin.get(f"/api/v1/nodes/{node.name}")
    assert shown["metadata"]["labels"]["collabspace.io/simulated-gpu"] == "true"
    assert shown["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    for name in ("one", "two"):
        await pods.create(name, "trap 'exit 0' TERM; while :; do sleep 0.05; done", container=gpu)
        await pods.phase(name, "Running")
    await pods.create("three", "exit 0", container=gpu)
    refused = await pods.wait(
        "three", lambda pod: any(one.get("reason") == "Unschedulable" for one in pod["status"].get("conditions", []))
    )
    assert "Insufficient nvidia.com/gpu" in refused["status"]["conditions"][0]["message"]
    await pods.delete("one")
    await pods.phase("three", "Succeeded")


async def test_the_folder_of_a_deleted_pod_is_removed(pods: Pods, node: NodeProcess) -> None:
    created = await pods.create("brief", "exit 0")
    await pods.phase("brief", "Succeeded")
    (folder,) = node.folders(created["metadata"]["uid"])
    await until(lambda: not (folder / "v").exists())
    await pods.delete("brief")
    await until(lambda: not folder.exists())


async def test_followed_logs_arrive_while_the_container_runs_and_end_with_it(pods: Pods) -> None:
    await pods.create("talker", "exec 2>&-; trap 'echo two; exit 0' TERM; echo one; while :; do sleep 0.05; done")
    await pods.phase("talker", "Running")
    async with contextlib.aclosing(pods.admin.stream(f"{pods.path}/talker/log", {"follow": "true"})) as stream:
        assert await anext(stream) == b"one\n"
        await pods.delete("talker")
        assert b"".join([part async for part in stream]) == b"two\n"


async def test_kubectl_reads_logs_and_hears_why_there_are_none(pods: Pods, cluster: LocalCluster) -> None:
    async def kubectl(*arguments: str) -> tuple[int | None, str]:
        command = [cluster.kubectl, f"--kubeconfig={cluster.kubeconfig}", f"--namespace={pods.namespace}", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    await pods.create("talker", "echo one; sleep 0.3; echo two")
    await pods.wait("talker", lambda pod: pod["status"]["phase"] != "Pending")
    assert await kubectl("logs", "-f", "talker") == (0, "one\ntwo\n")
    await pods.create("stranger", container={"image": "nginx"})
    await pods.waits("stranger", "ErrImageNeverPull")
    code, text = await kubectl("logs", "stranger")
    assert code == 1
    assert "ErrImageNeverPull" in text


async def test_the_log_port_takes_the_api_servers_certificate_alone(
    admin: KubeClient, node: NodeProcess, cluster: LocalCluster
) -> None:
    shown = await admin.get(f"/api/v1/nodes/{node.name}")
    port = shown["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]

    async def healthz(credential: Credential | None) -> str:
        context = ssl.create_default_context(cafile=cluster.authority)
        if credential is not None:
            context.load_cert_chain(credential.cert, credential.key)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://127.0.0.1:{port}/healthz", ssl=context) as answer,
        ):
            return await answer.text()

    keys = cluster.state / "keys"
    assert (
        await healthz(Authority(keys, "kubelet").issue(Subject("kube-apiserver-kubelet-client"), "kubelet-client"))
        == "ok"
    )
    for stranger in (None, Authority(keys, "cluster").issue(Subject("mallory", ("system:masters",)), "mallory")):
        with pytest.raises(aiohttp.ClientError):
            await healthz(stranger)


async def test_a_folder_that_a_container_closed_is_removed_all_the_same(pods: Pods, node: NodeProcess) -> None:
    volume = {
        "container": {"volumeMounts": [{"name": "w", "mountPath": "/w"}]},
        "volumes": [{"name": "w", "emptyDir": {}}],
    }
    created = await pods.create(
        "closed", "mkdir -p /w/a/b && ln -s /etc /w/a/etc && chmod 0 /w/a/b && chmod 500 /w/a", **volume
    )
    await pods.phase("closed", "Succeeded")
    (folder,) = node.folders(created["metadata"]["uid"])
    await until(lambda: not (folder / "v").exists())


async def test_log_options_are_honoured(pods: Pods) -> None:
    await pods.create("lines", "for i in 1 2 3 4 5; do echo line $i; done")
    await pods.phase("lines", "Succeeded")
    assert await pods.logs("lines", tailLines="2") == "line 4\nline 5\n"
    assert await pods.logs("lines", limitBytes="6") == "line 1"
    assert await pods.logs("lines", sinceSeconds="3600", tailLines="1") == "line 5\n"
    stamped = await pods.logs("lines", timestamps="true", tailLines="1")
    assert stamped.endswith("Z line 5\n")
    assert await pods.logs("lines", sinceTime="2999-01-01T00:00:00Z") == ""
