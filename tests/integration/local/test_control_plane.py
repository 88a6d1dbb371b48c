"""The embedded control plane behaves as a cluster does, and comes and goes as told."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local import controlplane, installation
from collabspace.local.certificates import Credential, service_account
from collabspace.local.cluster import LocalCluster
from collabspace.local.component import fetch
from collabspace.local.errors import LocalClusterError
from collabspace.local.state import Options, State

PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A second cluster beside the shared one, to be killed and stopped."""
    other = LocalCluster("other", tmp_path_factory.mktemp("other"), print)
    try:
        other.start_control_plane()
        yield other
    finally:
        other.down(wipe=True)


def pids(cluster: LocalCluster) -> dict[str, int | None]:
    return {name: cluster.pid(name) for name in controlplane.NAMES}


def processes_of(cluster: LocalCluster) -> list[str]:
    """Command lines of all processes of this machine that mention the cluster's state."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(cluster.state) in line:
            found.append(line)
    return found


@asynccontextmanager
async def acting_as(cluster: LocalCluster, name: str, groups: tuple[str, ...] = ()) -> AsyncIterator[KubeClient]:
    async with KubeClient(config.load(cluster.user(name, groups))) as client:
        yield client


async def _get_once_known(node: KubeClient, path: str) -> dict[str, Any]:
    """An object that a pod of the node refers to, once the Node authorizer has heard of the binding."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await node.get(path)
            except KubeError as refusal:
                if refusal.status != 403:
                    raise


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "example/any"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


class TestComingAndGoing:
    def test_up_a_second_time_leaves_everything_running(self, other: LocalCluster) -> None:
        before = pids(other)
        other.start_control_plane()
        assert pids(other) == before
        assert None not in before.values()

    @pytest.mark.parametrize("victim", controlplane.NAMES)
    def test_up_brings_back_what_was_killed_and_leaves_the_rest(self, other: LocalCluster, victim: str) -> None:
        before, server = pids(other), other.server
        other.kill(victim)
        assert [entry.name for entry in other.status() if entry.missing == "not running"] == [victim]
        other.start_control_plane()
        after = pids(other)
        assert [name for name in after if after[name] != before[name]] == [victim]
        assert other.server == server
        assert [entry.missing for entry in other.status()] == [""] * 4

    async def test_objects_outlive_a_killed_database(self, other: LocalCluster) -> None:
        async with KubeClient(config.load(other.kubeconfig)) as admin:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}}
            await admin.create("/api/v1/namespaces/default/configmaps", body)
            other.kill("etcd")
            other.start_control_plane()
            kept = await admin.get("/api/v1/namespaces/default/configmaps/kept")
        assert kept["data"] == {"a": "b"}

    async def test_a_credential_of_one_cluster_is_nothing_to_another(
        self, cluster: LocalCluster, other: LocalCluster
    ) -> None:
        foreign = cluster.kubeconfig.read_text().replace(cluster.server, other.server)
        foreign = foreign.replace(str(cluster.authority), str(other.authority))
        file = other.state / "foreign.kubeconfig"
        file.write_text(foreign)
        async with KubeClient(config.load(file)) as client:
            with pytest.raises(KubeError) as refusal:
                await client.get("/api/v1/namespaces")
        assert refusal.value.status in (0, 401)
        async with KubeClient(config.load(cluster.kubeconfig)) as client:
            assert (await client.list("/api/v1/namespaces"))["items"]

    def test_kubectl_speaks_with_it(self, other: LocalCluster) -> None:
        answer = json.loads(installation.run(other.kubectl, other.kubeconfig, ["version", "--output=json"]))
        assert answer["serverVersion"]["gitVersion"] == answer["clientVersion"]["gitVersion"]
        assert answer["serverVersion"]["minor"] == "36"

    def test_a_component_that_cannot_start_shows_why(self, other: LocalCluster) -> None:
        with pytest.raises(LocalClusterError, match="kube-scheduler ended before it was ready") as failure:
            other.start_control_plane(Options(arguments={"kube-scheduler": ("--no-such-flag",)}))
        assert "unknown flag: --no-such-flag" in str(failure.value)
        other.start_control_plane(Options())

    def test_down_stops_every_process_and_wipe_removes_the_state(self, other: LocalCluster) -> None:
        running = pids(other)
        assert len(processes_of(other)) == 4
        other.down()
        assert processes_of(other) == []
        assert not [pid for pid in running.values() if Path(f"/proc/{pid}").exists()]
        assert other.state.exists()
        other.down(wipe=True)
        assert not other.state.exists()

    def test_a_cluster_never_started_says_so(self, tmp_path: Path) -> None:
        nothing = LocalCluster("nothing", tmp_path)
        assert nothing.status() == []
        nothing.down()
        with pytest.raises(LocalClusterError, match="was never started; run `collabspace local up"):
            nothing.user("someone")

    def test_a_name_that_leaves_the_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LocalClusterError, match=r"cluster name '\.\./x'"):
            LocalCluster("../x", tmp_path)

    def test_a_second_command_at_the_same_time_is_told_to_wait(self, tmp_path: Path) -> None:
        refused = pytest.raises(LocalClusterError, match="another command is changing cluster busy")
        with State("busy", tmp_path).lock(), refused:
            LocalCluster("busy", tmp_path).down()

    def test_damaged_settings_are_named_with_the_remedy_and_can_be_wiped(self, tmp_path: Path) -> None:
        state = State("broken", tmp_path)
        state.make()
        state.write("settings.json", '{"ports": 7}')
        broken = LocalCluster("broken", tmp_path)
        with pytest.raises(
            LocalClusterError, match=r"settings\.json is damaged .*; run `collabspace local down --wipe --name broken`"
        ):
            broken.start_control_plane()
        broken.down(wipe=True)
        assert not broken.state.exists()

    def test_arguments_for_an_unknown_component_are_refused_before_anything_starts(self, tmp_path: Path) -> None:
        typo = Options(arguments={"scheduler": ("--v=4",)})
        with pytest.raises(LocalClusterError, match="no component 'scheduler'"):
            LocalCluster("typo", tmp_path).start_control_plane(typo)
        assert processes_of(LocalCluster("typo", tmp_path)) == []

    def test_an_unknown_component_is_answered_with_the_known(self, cluster: LocalCluster) -> None:
        with pytest.raises(LocalClusterError, match="no component 'kubelet'; there are etcd, "):
            cluster.restart("kubelet")


class TestSecurity:
    async def test_callers_without_a_credential_are_refused(self, cluster: LocalCluster) -> None:
        assert fetch(f"{cluster.server}/readyz", cluster.authority, None).status_code == 401

    async def test_a_privileged_pod_is_refused_in_a_restricted_namespace(
        self, admin: KubeClient, restricted_namespace: str
    ) -> None:
        with pytest.raises(KubeError, match='violates PodSecurity "restricted:latest"') as refusal:
            await admin.create(f"/api/v1/namespaces/{restricted_namespace}/pods", pod("bad", hostNetwork=True))
        assert refusal.value.status == 403

    async def test_a_node_reads_the_secrets_of_its_pods_only(
        self, cluster: LocalCluster, admin: KubeClient, namespace: str
    ) -> None:
        secrets = f"/api/v1/namespaces/{namespace}/secrets"
        for name in ("mounted", "foreign"):
            await admin.create(secrets, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
        volume = {"name": "s", "secret": {"secretName": "mounted"}}
        await admin.create(f"/api/v1/namespaces/{namespace}/pods", pod("p", nodeName="n1", volumes=[volume]))
        async with acting_as(cluster, "system:node:n1", ("system:nodes",)) as node:
            assert (await _get_once_known(node, f"{secrets}/mounted"))["metadata"]["name"] == "mounted"
            with pytest.raises(KubeError) as refusal:
                await node.get(f"{secrets}/foreign")
        assert refusal.value.status == 403

    async def test_a_node_may_not_name_another_node(self, cluster: LocalCluster) -> None:
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}
        async with acting_as(cluster, "system:node:n1", ("system:nodes",)) as node:
            with pytest.raises(KubeError) as refusal:
                await node.create("/api/v1/nodes", body)
        assert refusal.value.status == 403

    async def test_a_member_without_a_role_sees_nothing(self, cluster: LocalCluster, namespace: str) -> None:
        async with acting_as(cluster, "ann", ("team-a",)) as member:
            with pytest.raises(KubeError) as refusal:
                await member.list(f"/api/v1/namespaces/{namespace}/pods")
        assert refusal.value.status == 403
        assert '"ann"' in refusal.value.message

    async def test_a_token_for_an_audience_is_known_to_that_audience_only(
        self, admin: KubeClient, namespace: str
    ) -> None:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [names.BROKER_AUDIENCE], "expirationSeconds": 600},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        token = (await admin.create(path, request))["status"]["token"]

        async def review(audience: str) -> dict[str, Any]:
            body = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token, "audiences": [audience]},
            }
            status: dict[str, Any] = (await admin.create("/apis/authentication.k8s.io/v1/tokenreviews", body))["status"]
            return status

        known = await review(names.BROKER_AUDIENCE)
        assert known["authenticated"] is True
        assert known["user"]["username"] == f"system:serviceaccount:{namespace}:default"
        assert "authenticated" not in await review("https://elsewhere")

    def test_the_public_keys_of_tokens_are_served(self, cluster: LocalCluster) -> None:
        admin = Credential(cluster.state / "keys" / "admin.crt", cluster.state / "keys" / "admin.key")
        answer = fetch(f"{cluster.server}/openid/v1/jwks", cluster.authority, admin)
        assert [key["kty"] for key in answer.json()["keys"]] == ["EC"]

    def test_private_keys_are_readable_by_their_owner_only(self, cluster: LocalCluster) -> None:
        keys = list((cluster.state / "keys").glob("*.key"))
        assert len(keys) >= 10
        assert {file.stat().st_mode & 0o077 for file in keys} == {0}
        assert (cluster.state / "keys").stat().st_mode & 0o077 == 0


class TestRights:
    """The operator and the broker have the rights of their accounts, and no more."""

    async def test_the_operator_starts_jobs_only_where_a_team_bound_it(
        self, cluster: LocalCluster, admin: KubeClient, namespace: str
    ) -> None:
        subject = service_account(names.OPERATOR_ACCOUNT)
        container = {"name": "main", "image": names.TRAINER_IMAGE, "command": ["collabspace-trainer"]}
        account = {"serviceAccountName": names.TRAINER_ACCOUNT, "automountServiceAccountToken": False}
        template = {"spec": {"restartPolicy": "Never", "containers": [container], **account}}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j-1"}, "spec": {"template": template}}
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        async with acting_as(cluster, subject.name, subject.groups) as operator:
            with pytest.raises(KubeError) as refusal:
                await operator.create(path, job)
            assert refusal.value.status == 403
            await self._bind_team(admin, namespace)
            await until_allowed(admin, subject.name, {**JOBS, "namespace": namespace})
            assert (await operator.create(path, job))["metadata"]["name"] == "j-1"

    @pytest.mark.parametrize(
        ("account", "verb", "group", "resource", "allowed"),
        [
            ("operator", "watch", names.GROUP, names.COLLAB_TASKS, True),
            ("operator", "patch", names.GROUP, f"{names.COLLAB_TASKS}/status", True),
            ("operator", "patch", names.GROUP, names.COLLAB_TASKS, False),
            ("operator", "list", "", "secrets", False),
            ("operator", "get", "", "secrets", False),
            ("operator", "create", "", "pods", False),
            ("operator", "create", "", "serviceaccounts/token", False),
            ("operator", "create", "rbac.authorization.k8s.io", "rolebindings", False),
            ("broker", "get", names.GROUP, names.SHARED_DATASETS, True),
            ("broker", "get", "", "pods", True),
            ("broker", "list", "", "pods", False),
            ("broker", "create", "batch", "jobs", False),
            ("broker", "patch", names.GROUP, f"{names.COLLAB_TASKS}/status", False),
            ("broker", "get", "", "secrets", False),
        ],
    )
    async def test_rights_in_a_namespace(
        self, admin: KubeClient, namespace: str, account: str, verb: str, group: str, resource: str, allowed: bool
    ) -> None:
        subject = service_account(f"collabspace-{account}")
        kind, _, part = resource.partition("/")
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": kind, "subresource": part}
        assert await may(admin, subject.name, subject.groups, attributes) is allowed

    async def test_an_editor_of_a_team_has_our_kinds_and_two_tokens(self, admin: KubeClient, namespace: str) -> None:
        await bind(admin, namespace, "edit", {"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"})
        await bind(admin, namespace, "view", {"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"})
        tasks = {"namespace": namespace, "group": names.GROUP, "resource": names.COLLAB_TASKS}
        await until_allowed(admin, "ann", tasks | {"verb": "create"})
        await until_allowed(admin, "bob", tasks | {"verb": "list"})
        assert not await may(admin, "bob", (), tasks | {"verb": "create"})
        token = {"namespace": namespace, "resource": "serviceaccounts", "subresource": "token", "verb": "create"}
        assert await may(admin, "ann", (), token | {"name": names.PUBLISHER_ACCOUNT})
        assert not await may(admin, "bob", (), token | {"name": names.PUBLISHER_ACCOUNT})
        data = {"namespace": namespace, "group": names.GROUP, "resource": names.SHARED_DATASETS, "subresource": "data"}
        for person in ("ann", "bob"):
            assert not await may(admin, person, (), data | {"verb": "get"})

    @staticmethod
    async def _bind_team(admin: KubeClient, namespace: str) -> None:
        account = {"kind": "ServiceAccount", "name": names.OPERATOR_ACCOUNT, "namespace": names.SYSTEM_NAMESPACE}
        await bind(admin, namespace, names.OPERATOR_TEAM_ROLE, account)


JOBS = {"verb": "create", "group": "batch", "resource": "jobs"}


async def until_allowed(admin: KubeClient, user: str, attributes: dict[str, str]) -> None:
    """The API server's own cache of bindings follows shortly."""
    async with asyncio.timeout(PATIENCE):
        while not await may(admin, user, (), attributes):
            pass


async def bind(admin: KubeClient, namespace: str, role: str, subject: dict[str, Any]) -> None:
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"generateName": f"{role}-"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    await admin.create(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", body)


async def may(admin: KubeClient, user: str, groups: tuple[str, ...], attributes: dict[str, str]) -> bool:
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
    }
    review = await admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(review["status"]["allowed"])


async def test_the_audit_log_shows_who_wrote_what(cluster: LocalCluster, admin: KubeClient, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen"}, "data": {"secret": "planted-9f3"}}
    await admin.create(f"/api/v1/namespaces/{namespace}/configmaps", body)

    def events() -> list[dict[str, Any]]:
        whole = cluster.audit_log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def writes() -> list[str]:
        return [
            event["objectRef"]["name"]
            for event in events()
            if event["verb"] == "create" and event.get("objectRef", {}).get("namespace") == namespace
            if event["objectRef"].get("resource") == "configmaps" and event["user"]["username"] == "collabspace-admin"
        ]

    async with asyncio.timeout(PATIENCE):
        while not writes():  # noqa: ASYNC110 the line may be written after the answer has been sent
            await asyncio.sleep(0.02)
    assert writes() == ["seen"]
    assert {event["stage"] for event in events()} <= {"ResponseComplete", "ResponseStarted", "Panic"}
    assert "planted-9f3" not in cluster.audit_log.read_text()


def test_signals_reach_a_component_as_sent(cluster: LocalCluster) -> None:
    """Freezing is a fault that other tests use; a frozen component is not mistaken for a dead one."""
    process = cluster.process("kube-scheduler")
    process.signal(signal.SIGSTOP)
    try:
        assert cluster.pid("kube-scheduler") == process.pid
        assert [entry.name for entry in cluster.status() if entry.missing] == ["kube-scheduler"]
    finally:
        process.signal(signal.SIGCONT)
    cluster.start("kube-scheduler")
    assert [entry.name for entry in cluster.status() if entry.missing] == []
