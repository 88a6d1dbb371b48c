"""Teams and grants as written to a real API server: complete, idempotent, and never over somebody else's change."""

import asyncio
import json

import pytest
import yaml
from cli_harness import Person, dataset_body, fresh, make_task, set_state

from collabspace.api import names
from collabspace.api.dataset import SharedDataset
from collabspace.cli import team_objects
from collabspace.cli.cluster import path_of
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local.cluster import LocalCluster


async def everything(admin: KubeClient, team: str) -> dict[str, object]:
    """What `teams add` makes, with its versions: equal twice means that nothing was written."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{team}/rolebindings"
    network = f"/apis/networking.k8s.io/v1/namespaces/{team}/networkpolicies"
    paths = {
        "namespace": f"/api/v1/namespaces/{team}",
        **{account: f"/api/v1/namespaces/{team}/serviceaccounts/{account}" for account in
           (names.TRAINER_ACCOUNT, names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT)},
        "binding": f"{rbac}/{names.OPERATOR_TEAM_ROLE}",
        "network": f"{network}/{names.TRAINER_NETWORK_POLICY}",
        "broker": f"/api/v1/namespaces/{team}/configmaps/{names.BROKER_CONFIG_MAP}",
    }  # fmt: skip
    found = {key: await admin.get(path) for key, path in paths.items()}
    for item in found.values():
        item["metadata"].pop("managedFields", None)
        item.pop("status", None)
    return found


async def test_a_team_has_all_it_needs_and_adding_it_again_changes_nothing(
    team, chief: Person, admin: KubeClient
) -> None:
    name = await team("lab", "--gpu-quota", "2", "--cpu-quota", "8", "--skills", "nlp,tabular")
    first = await everything(admin, name)
    metadata = first["namespace"]["metadata"]  # type: ignore[index]
    assert metadata["labels"][names.TEAM_LABEL] == "true"
    assert [metadata["labels"][f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")] == [
        "restricted"
    ] * 3
    annotations = {names.GPU_QUOTA: "2", names.CPU_QUOTA: "8", names.SKILLS: "nlp,tabular"}
    assert metadata["annotations"].items() >= annotations.items()
    source = await admin.get(f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/configmaps/{names.BROKER_CONFIG_MAP}")
    assert first["broker"]["data"] == source["data"]  # type: ignore[index]
    result = await chief.did("teams", "add", name, "--gpu-quota", "2")
    assert result.stdout == f"namespace/{name} configured as a team\n"
    assert await everything(admin, name) == first


async def test_a_setting_that_is_not_named_stays(team, chief: Person, admin: KubeClient) -> None:
    name = await team("lab", "--gpu-quota", "2", "--skills", "nlp")
    await chief.did("teams", "add", name, "--cpu-quota", "4")
    annotations = (await admin.get(f"/api/v1/namespaces/{name}"))["metadata"]["annotations"]
    assert (annotations[names.GPU_QUOTA], annotations[names.CPU_QUOTA], annotations[names.SKILLS]) == ("2", "4", "nlp")


async def test_a_namespace_that_is_there_already_keeps_its_labels(
    namespace: str, chief: Person, admin: KubeClient
) -> None:
    level, version = "pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"
    known = {"cost-centre": "7", level: "baseline", version: "v1.30"}
    await admin.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": known}})
    await chief.did("teams", "add", namespace)
    labels = (await admin.get(f"/api/v1/namespaces/{namespace}"))["metadata"]["labels"]
    assert (labels["cost-centre"], labels[names.TEAM_LABEL]) == ("7", "true")
    assert (labels[level], labels[version]) == ("restricted", "v1.30"), "never looser than it was"


async def test_a_team_that_is_removed_leaves_nothing_of_what_was_added(team, chief: Person, admin: KubeClient) -> None:
    name = await team("lab", "--gpu-quota", "1", "--member", "ann")
    made = [*team_objects.contents(name, {}), *team_objects.members(name, ())]
    await make_task(admin, name, "runs")
    busy = await chief.collab("teams", "remove", name)
    assert busy.stderr.startswith(f"error: 1 tasks of team {name} have not ended: runs.")
    assert all([await admin.get(path) for path, _ in made])
    await set_state(admin, name, "runs", "Completed", Admitted="True", Succeeded="True")
    assert (await chief.did("teams", "remove", name)).stdout.startswith(f"namespace/{name} is no team any more")
    for path, _ in made:
        with pytest.raises(KubeError) as missing:
            await admin.get(path)
        assert missing.value.status == 404, path
    metadata = (await admin.get(f"/api/v1/namespaces/{name}"))["metadata"]
    assert names.TEAM_LABEL not in metadata["labels"] and not metadata.get("annotations")
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert (await chief.collab("teams", "remove", name)).stderr.startswith(f"error: namespace {name} is no team")


async def test_the_operators_account_may_make_jobs_there_and_nowhere_else(
    team, cluster: LocalCluster, namespace: str
) -> None:
    name = await team("lab")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{names.SYSTEM_NAMESPACE}", "system:authenticated")
    account = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.OPERATOR_ACCOUNT}"
    from collabspace.kube import config

    async with KubeClient(config.load(cluster.user(account, groups))) as operator:
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        allowed = {}
        for place in (name, namespace):
            asked = {"resourceAttributes": {"namespace": place, "verb": "create", "group": "batch", "resource": "jobs"}}
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            allowed[place] = (await operator.create(path, review | {"spec": asked}))["status"]["allowed"]
    assert allowed == {name: True, namespace: False}


async def test_teams_are_listed_with_what_they_own_and_use(team, chief: Person, admin: KubeClient) -> None:
    name = await team("lab", "--gpu-quota", "3", "--skills", "nlp")
    for task, gpus in (("runs", 2), ("waits", 1), ("ended", 1)):
        await make_task(admin, name, task, gpus=gpus)
    await set_state(admin, name, "runs", "Training", Accepted="True", Admitted="True", Running="True")
    await set_state(admin, name, "ended", "Completed", Admitted="True", Succeeded="True")
    lines = (await chief.did("teams", "list")).stdout.splitlines()
    assert lines[0].split("   ")[0] == "NAME"
    row = next(line for line in lines if line.startswith(name))
    assert row.split() == [name, "3", "2", "-", "1", "1", "nlp"]
    assert f"namespace/{name}" in (await chief.did("teams", "list", "-o", "name")).stdout.splitlines()


async def test_a_member_may_not_make_teams_and_is_told_which_right_is_missing(team, cluster: LocalCluster) -> None:
    name = await team("lab", "--member", "ann")
    ann = Person(cluster.user("ann", namespace=name))
    result = await ann.collab("teams", "add", fresh("own"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not allowed: needs verb get on configmaps in namespace collabspace-system")


async def test_without_the_platform_a_team_cannot_be_made(chief: Person, admin: KubeClient) -> None:
    path = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/configmaps/{names.BROKER_CONFIG_MAP}"
    kept = await admin.get(path)
    await admin.delete(path)
    name = fresh("early")
    try:
        result = await chief.collab("teams", "add", name)
    finally:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names.BROKER_CONFIG_MAP}}
        await admin.create(path.rpartition("/")[0], body | {"data": kept["data"]})
    assert result.exit_code == 1
    assert "Install the platform first" in result.stderr
    with pytest.raises(KubeError, match="not found"):
        await admin.get(f"/api/v1/namespaces/{name}")


# Grants


async def grants_of(admin: KubeClient, namespace: str) -> list[dict[str, object]]:
    found = await admin.get(path_of(names.SHARED_DATASETS, namespace, "notes"))
    return list(found["spec"].get("grants") or [])


async def test_a_grant_is_bound_to_the_live_namespace_and_adding_it_again_changes_nothing(
    team, hospital: str, chief: Person, admin: KubeClient
) -> None:
    lab = await team("lab")
    words = ["grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train", "--until", "2099-12-31"]
    first = await chief.did(*words, "--purpose", "disease names")
    assert first.stdout == f"shareddataset.collabspace.io/notes grant/{lab} created\n"
    assert f"kubectl collab grants revoke notes {lab} -n {hospital}" in first.stderr
    uid = (await admin.get(f"/api/v1/namespaces/{lab}"))["metadata"]["uid"]
    (grant,) = await grants_of(admin, hospital)
    assert grant["namespaceUID"] == uid
    assert (grant["uses"], grant["notAfter"]) == (["Train"], "2099-12-31T23:59:59Z")
    before = await admin.get(path_of(names.SHARED_DATASETS, hospital, "notes"))
    assert (await chief.did(*words)).stdout.endswith("unchanged\n")
    assert await admin.get(path_of(names.SHARED_DATASETS, hospital, "notes")) == before
    sooner = [*words[:-1], "2098-12-31"]
    refused = await chief.collab(*sooner)
    assert refused.exit_code == 1
    assert f"grant {lab} holds until 2099-12-31T23:59:59Z" in refused.stderr
    assert await admin.get(path_of(names.SHARED_DATASETS, hospital, "notes")) == before
    shortened = await chief.did(*sooner, "--shorten")
    assert "until 2099-12-31T23:59:59Z -> 2098-12-31T23:59:59Z" in shortened.stderr


async def test_two_owners_granting_at_once_lose_nothing(team, hospital: str, chief: Person, admin: KubeClient) -> None:
    teams = [await team("lab") for _ in range(3)]

    async def grant(lab: str) -> tuple[bytes, bytes]:
        async with chief.process("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train") as process:
            return await process.communicate()

    results = await asyncio.gather(*map(grant, teams))
    assert all(b"created" in out for out, _ in results), results
    assert sorted(str(grant["namespace"]) for grant in await grants_of(admin, hospital)) == sorted(teams)


async def test_a_change_that_was_made_meanwhile_is_kept(team, hospital: str, chief: Person, admin: KubeClient) -> None:
    """Our change meets a newer object at its first try, as the API server itself sees it."""
    from collabspace.cli import granting
    from collabspace.cli.cluster import Cluster, Where
    from collabspace.kube import config

    tries = []

    async with KubeClient(config.load(chief.kubeconfig)) as client:
        cluster = Cluster(client, Where(namespace=hospital))
        path = path_of(names.SHARED_DATASETS, hospital, "notes")
        kept = {"name": "first", "namespace": "first", "uses": ["Train"]}

        def change(existing: list[dict[str, object]]) -> tuple[list[dict[str, object]], str]:
            tries.append(list(existing))
            return [*existing, {"name": "second", "namespace": "second", "uses": ["Train"]}], "created"

        found = cluster.find

        async def find_then_somebody_else_writes(*words: str) -> dict[str, object]:
            item = await found(*words)
            if not tries:
                await admin.merge(path, {"spec": {"grants": [kept]}})
            return item

        cluster.find = find_then_somebody_else_writes  # type: ignore[method-assign]
        await granting._edit(cluster, "notes", change)
    assert len(tries) == 2
    assert [grant["name"] for grant in await grants_of(admin, hospital)] == ["first", "second"]


async def test_a_revoked_grant_is_gone_and_the_printed_command_brings_it_back(
    team, hospital: str, chief: Person, admin: KubeClient
) -> None:
    lab = await team("lab")
    await chief.did("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train", "--use", "Evaluate",
                    "--purpose", "it's a test", "--agreement", "DUA 7")  # fmt: skip
    before = await grants_of(admin, hospital)
    result = await chief.did("grants", "revoke", "notes", "-n", hospital, "--to", lab)
    assert await grants_of(admin, hospital) == []
    import shlex

    undo = shlex.split(result.stderr.splitlines()[-1].strip())
    assert undo[:2] == ["kubectl", "collab"]
    await chief.did(*undo[2:])
    assert await grants_of(admin, hospital) == before


async def test_who_revokes_hears_which_running_tasks_stop_and_a_member_what_she_may_know(
    team, cluster: LocalCluster, chief: Person, admin: KubeClient
) -> None:
    owner, lab = await team("hospital", "--member", "olga"), await team("lab")
    await admin.create(path_of(names.SHARED_DATASETS, owner), dataset_body(owner))
    for name in ("runs", "waits"):
        await make_task(admin, lab, name, owner)
    await set_state(admin, lab, "runs", "Training", Accepted="True", Admitted="True", Running="True")
    grant = ["grants", "add", "notes", "-n", owner, "--to", lab, "--use", "Train"]
    await chief.did(*grant)
    sample = ["--use", "Download", "--name", "sample"]
    await chief.did("grants", "add", "notes", "-n", owner, "--to", lab, *sample)
    result = await chief.did("grants", "revoke", "notes", "sample", "-n", owner)
    assert f"Tasks of {lab} that run on it go on: no use of theirs was taken back." in result.stderr
    result = await chief.did("grants", "revoke", "notes", lab, "-n", owner)
    assert f"Tasks of {lab} that run on it: 1 (runs): they are stopped and end with AccessRevoked." in result.stderr
    await admin.merge(path_of(names.SHARED_DATASETS, owner, "notes"), {"spec": {"onRevoke": "Finish"}})
    await chief.did(*grant)
    result = await Person(cluster.user("olga", namespace=owner)).did("grants", "revoke", "notes", lab)
    said = f"Tasks of {lab} that run on it go on with what they have read (onRevoke Finish); how many, only its members"
    assert said in result.stderr


async def test_a_grant_made_by_other_means_is_given_again_by_the_printed_command(
    team, hospital: str, chief: Person, admin: KubeClient
) -> None:
    lab = await team("lab")
    uid = (await admin.get(f"/api/v1/namespaces/{lab}"))["metadata"]["uid"]
    ended = {
        "name": "old",
        "namespace": lab,
        "namespaceUID": uid,
        "uses": ["Train"],
        "notAfter": "2020-01-01T00:00:00Z",
    }
    serve = {"name": "serve", "namespace": lab, "namespaceUID": uid, "uses": ["Serve", "Derive"]}
    serve |= {"purpose": "", "agreement": ""}
    await admin.merge(path_of(names.SHARED_DATASETS, hospital, "notes"), {"spec": {"grants": [ended, serve]}})
    result = await chief.did("grants", "revoke", "notes", "-n", hospital, "--to", lab)
    assert "Had ended before: old" in result.stderr
    undo = result.stderr.splitlines()[-1].split()
    await chief.did(*undo[2:])
    assert await grants_of(admin, hospital) == [serve]


async def test_revoking_what_is_not_there_names_what_is(team, hospital: str, chief: Person) -> None:
    lab = await team("lab")
    await chief.did("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train")
    result = await chief.collab("grants", "revoke", "notes", "other", "-n", hospital)
    assert result.exit_code == 1
    assert f"Its grants: {lab} (to {lab})." in result.stderr


async def test_grants_are_listed_in_every_form(team, hospital: str, chief: Person) -> None:
    empty = await chief.collab("grants", "list", "-n", hospital)
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert empty.stderr == f"No resources found in {hospital} namespace.\n"
    lab = await team("lab")
    await chief.did("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train")
    assert (await chief.did("grants", "list", "-n", hospital)).stdout.splitlines()[1].split()[:4] == [
        "notes", lab, lab, "Train",
    ]  # fmt: skip
    everywhere = (await chief.did("grants", "list", "-A", "-o", "wide")).stdout
    assert "NAMESPACE UID" in everywhere
    assert hospital in everywhere
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        (grant,) = read((await chief.did("grants", "list", "notes", "-n", hospital, "-o", form)).stdout)
        assert (grant["dataset"], grant["namespace"]) == ({"namespace": hospital, "name": "notes"}, lab)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "no-such-team", "--use", "Train"], "namespace no-such-team not found"),
        (["--to", "OWN", "--use", "Train"], "needs no grant"),
        (["--to", "LAB"], "needs a use"),
        (["--to", "LAB", "--use", "Train", "--until", "2001-01-01"], "is past"),
    ],
)
async def test_a_grant_that_makes_no_sense_is_refused(
    team, hospital: str, chief: Person, admin: KubeClient, words: list[str], said: str
) -> None:
    lab = await team("lab")
    meant = [{"OWN": hospital, "LAB": lab}.get(word, word) for word in words]
    result = await chief.collab("grants", "add", "notes", "-n", hospital, *meant)
    assert result.exit_code == 1
    assert said in result.stderr
    assert await grants_of(admin, hospital) == []


async def test_a_member_of_the_owning_team_grants_and_a_stranger_may_not(
    team, cluster: LocalCluster, admin: KubeClient
) -> None:
    owner, lab = await team("hospital", "--member", "olga"), await team("lab", "--member", "rita")
    await admin.create(path_of(names.SHARED_DATASETS, owner), dataset_body(owner))
    olga, rita = Person(cluster.user("olga", namespace=owner)), Person(cluster.user("rita", namespace=lab))
    await olga.did("grants", "add", "notes", "--to", lab, "--use", "Train")
    stolen = await rita.collab("grants", "add", "notes", "-n", owner, "--to", lab, "--use", "Download")
    assert stolen.exit_code == 1
    assert "not allowed: needs verb get on shareddatasets.collabspace.io" in stolen.stderr
    found = SharedDataset.model_validate(await admin.get(path_of(names.SHARED_DATASETS, owner, "notes")))
    assert [use.value for use in found.spec.grants[0].uses] == ["Train"]
