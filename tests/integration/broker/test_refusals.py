"""Every no is the same no, whatever is behind it, and every one is on record with its true reason."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from broker_harness import MARKER, TASKS, BrokerProcess, Pin, Pod, World, job_body
from cryptography.hazmat.primitives.asymmetric import ec
from published_notes import Published

from collabspace.api import names
from collabspace.api.run import RUN_VARIABLE, Role, RunDocument

NONE = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Stage:
    """A hospital with a dataset, and a lab that may or may not use it."""

    world: World
    broker: BrokerProcess
    published: Published
    lab: str

    @property
    def pin(self) -> Pin:
        return Pin(self.published.owner, self.published.uid, self.published.digest)

    async def trainer(self, **options: Any) -> Pod:
        return await self.world.trainer(self.lab, [self.pin], **options)

    async def grant(self, **changes: Any) -> None:
        await self.world.grant(self.published.owner, self.lab, **changes)

    async def ask(self, token: str, **body: Any) -> httpx.Response:
        wish = {"uid": self.published.uid, "digest": self.published.digest} | body

        def send() -> httpx.Response:
            with self.broker.http(token) as http:
                return http.post("/v1/sessions", json={key: value for key, value in wish.items() if value is not None})

        return await asyncio.to_thread(send)

    async def ask_by_name(self, token: str) -> httpx.Response:
        return await self.ask(token, uid=None, digest=None, namespace=self.published.owner, name="notes")


@pytest.fixture
async def stage(world: World, broker: BrokerProcess, hospital: Published) -> Stage:
    """The hospital is shared by all tests of this file, the lab is new; no grant is left from the test before."""
    await world.revoke(hospital.owner)
    return Stage(world, broker, hospital, await world.team())


# Each scene ends with a request that must be refused, and names the reason that the ledger must give.
async def a_token_for_another_audience(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer()
    return await stage.ask(await pod.token("https://kubernetes.default.svc"))


async def a_token_cut_short(stage: Stage) -> httpx.Response:
    await stage.grant()
    return await stage.ask((await (await stage.trainer()).token())[:-5])


async def a_token_with_a_changed_claim(stage: Stage) -> httpx.Response:
    await stage.grant()
    head, body, signature = (await (await stage.trainer()).token()).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["kubernetes.io"]["namespace"] = stage.published.owner
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return await stage.ask(f"{head}.{forged}.{signature}")


async def a_token_of_another_issuer(stage: Stage) -> httpx.Response:
    await stage.grant()
    real = await (await stage.trainer()).token()
    claims = jwt.decode(real, options={"verify_signature": False})
    key = ec.generate_private_key(ec.SECP256R1())
    kid = jwt.get_unverified_header(real)["kid"]
    return await stage.ask(jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid}))


async def a_token_without_a_signature(stage: Stage) -> httpx.Response:
    await stage.grant()
    claims = jwt.decode(await (await stage.trainer()).token(), options={"verify_signature": False})
    return await stage.ask(jwt.encode(claims, None, algorithm="none"))


async def no_token_at_all(stage: Stage) -> httpx.Response:
    return await stage.ask("")


async def a_token_of_a_deleted_pod(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer()
    token = await pod.token()
    assert (await stage.ask(token)).status_code == 201
    await stage.world.deleted(pod.path)
    return await stage.ask(token)


async def a_token_of_a_pod_that_is_ending(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer()
    token = await pod.token()
    await stage.world.admin.delete(pod.path, grace_seconds=30)
    return await stage.ask(token)


async def a_pod_that_does_not_run_yet(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer()
    await stage.world.admin.merge(f"{pod.path}/status", {"status": {"phase": "Pending"}})
    return await stage.ask(await pod.token())


async def a_trainers_token_that_is_bound_to_no_pod(stage: Stage) -> httpx.Response:
    await stage.grant()
    return await stage.ask(await stage.world.token(stage.lab, names.TRAINER_ACCOUNT))


async def a_pod_under_another_account(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer(account="other")
    return await stage.ask(await stage.world.token(stage.lab, "other", pod.body))


async def a_pod_with_our_labels_but_no_job(stage: Stage) -> httpx.Response:
    await stage.grant()
    real = await stage.trainer()
    labels = {
        names.TASK_LABEL: real.task.name,
        names.TASK_UID_LABEL: real.task.uid,
        names.ATTEMPT_LABEL: "1",
    }
    forged = {
        "metadata": {"name": "forged", "namespace": stage.lab, "labels": labels},
        "spec": {
            "serviceAccountName": names.TRAINER_ACCOUNT,
            "containers": [{"name": names.TRAINER_CONTAINER, "image": names.TRAINER_IMAGE}],
        },
    }
    path = f"/api/v1/namespaces/{stage.lab}/pods"
    await stage.world.admin.create(path, forged)
    pod = await stage.world.admin.merge(f"{path}/forged/status", {"status": {"phase": "Running"}})
    return await stage.ask(await stage.world.token(stage.lab, names.TRAINER_ACCOUNT, pod))


async def a_job_that_no_task_made(stage: Stage) -> httpx.Response:
    await stage.grant()
    real = await stage.trainer()
    environment = real.body["spec"]["containers"][0]["env"]
    text = next(variable["value"] for variable in environment if variable["name"] == RUN_VARIABLE)
    task = await stage.world.admin.get(f"{TASKS.format(stage.lab)}/{real.task.name}")
    job = job_body(RunDocument.model_validate_json(text), task, names.TRAINER_ACCOUNT, {})
    job["metadata"] |= {"name": "ner-7", "ownerReferences": []}
    made = await stage.world.admin.create(f"/apis/batch/v1/namespaces/{stage.lab}/jobs", job)
    pod = await stage.world.pod_of(stage.lab, made)
    return await stage.ask(await stage.world.token(stage.lab, names.TRAINER_ACCOUNT, pod))


async def a_pod_with_a_stranger_inside(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer()
    stranger = {"name": "peek", "image": "busybox", "targetContainerName": names.TRAINER_CONTAINER}
    await stage.world.admin.merge(f"{pod.path}/ephemeralcontainers", {"spec": {"ephemeralContainers": [stranger]}})
    return await stage.ask(await pod.token())


async def a_namespace_without_a_grant(stage: Stage) -> httpx.Response:
    return await stage.ask(await (await stage.trainer()).token())


async def a_grant_for_a_namespace_with_a_longer_name(stage: Stage) -> httpx.Response:
    longer = await stage.world.team(stage.lab + "0")
    await stage.world.grant(stage.published.owner, longer)
    return await stage.ask(await (await stage.trainer()).token())


async def a_grant_without_a_uid(stage: Stage) -> httpx.Response:
    await stage.grant(namespaceUID=None)
    return await stage.ask(await (await stage.trainer()).token())


async def a_grant_that_ended(stage: Stage) -> httpx.Response:
    await stage.grant(notAfter="2020-01-01T00:00:00Z")
    return await stage.ask(await (await stage.trainer()).token())


async def a_grant_taken_back(stage: Stage) -> httpx.Response:
    await stage.grant()
    token = await (await stage.trainer()).token()
    assert (await stage.ask(token)).status_code == 201
    await stage.world.revoke(stage.published.owner)
    return await stage.ask(token)


async def a_grant_to_the_namespace_that_was_here_before(stage: Stage) -> httpx.Response:
    gone = await stage.world.team()
    await stage.world.grant(stage.published.owner, gone)
    await stage.world.deleted(f"/api/v1/namespaces/{gone}")
    await stage.world.team(gone)
    pod = await stage.world.trainer(gone, [stage.pin])
    return await stage.ask(await pod.token())


async def training_under_a_grant_to_evaluate(stage: Stage) -> httpx.Response:
    await stage.grant(uses=["Evaluate"])
    return await stage.ask(await (await stage.trainer()).token())


async def a_person_downloading_data_granted_to_train(stage: Stage) -> httpx.Response:
    await stage.grant(uses=["Train", "Evaluate"])
    return await stage.ask_by_name(await stage.world.token(stage.lab, names.READER_ACCOUNT))


async def a_publisher_reading(stage: Stage) -> httpx.Response:
    await stage.grant(uses=["Download"])
    return await stage.ask_by_name(await stage.world.token(stage.lab, names.PUBLISHER_ACCOUNT))


async def an_account_that_is_nobody(stage: Stage) -> httpx.Response:
    await stage.grant(uses=["Download"])
    return await stage.ask_by_name(await stage.world.token(stage.lab, "other"))


async def a_version_that_the_run_does_not_pin(stage: Stage) -> httpx.Response:
    await stage.grant()
    return await stage.ask(await (await stage.trainer()).token(), digest=NONE)


async def a_dataset_that_the_task_does_not_list_any_more(stage: Stage) -> httpx.Response:
    await stage.grant()
    pod = await stage.trainer()
    other = [{"name": "own", "datasetRef": {"namespace": stage.lab, "name": "own"}, "role": "Train"}]
    await stage.world.admin.merge(f"{TASKS.format(stage.lab)}/ner", {"spec": {"datasets": other}})
    return await stage.ask(await pod.token())


async def a_run_that_trains_what_the_task_only_evaluates(stage: Stage) -> httpx.Response:
    await stage.grant(uses=["Train", "Evaluate"])
    pod = await stage.trainer()
    changed = [
        {"name": "notes", "datasetRef": {"namespace": stage.published.owner, "name": "notes"}, "role": "Evaluate"},
        {"name": "own", "datasetRef": {"namespace": stage.lab, "name": "own"}, "role": "Train"},
    ]
    await stage.world.admin.merge(f"{TASKS.format(stage.lab)}/ner", {"spec": {"datasets": changed}})
    return await stage.ask(await pod.token())


async def a_dataset_deleted_and_made_again(stage: Stage) -> httpx.Response:
    uid = await stage.world.dataset(stage.published.owner, "short")
    pod = await stage.world.trainer(stage.lab, [Pin(stage.published.owner, uid, NONE, dataset="short")])
    path = f"/apis/{names.API_VERSION}/namespaces/{stage.published.owner}/{names.SHARED_DATASETS}/short"
    await stage.world.deleted(path)
    await stage.world.dataset(stage.published.owner, "short")
    await stage.world.grant(stage.published.owner, stage.lab, "short")
    return await stage.ask(await pod.token(), uid=uid, digest=NONE)


async def a_dataset_that_is_not_there(stage: Stage) -> httpx.Response:
    token = await stage.world.token(stage.lab, names.READER_ACCOUNT)
    return await stage.ask(token, uid=None, digest=None, namespace=stage.published.owner, name="nothing")


async def a_namespace_that_is_not_there(stage: Stage) -> httpx.Response:
    token = await stage.world.token(stage.lab, names.READER_ACCOUNT)
    return await stage.ask(token, uid=None, digest=None, namespace="nowhere", name="notes")


async def a_name_that_climbs_to_another_object(stage: Stage) -> httpx.Response:
    token = await stage.world.token(stage.lab, names.READER_ACCOUNT)
    climbing = f"../../{stage.lab}/shareddatasets/notes"
    return await stage.ask(token, uid=None, digest=None, namespace=stage.published.owner, name=climbing)


Scene = Callable[[Stage], Awaitable[httpx.Response]]
SCENES: list[tuple[Scene, str]] = [
    (a_token_for_another_audience, "TokenRefused"),
    (a_token_cut_short, "TokenRefused"),
    (a_token_with_a_changed_claim, "TokenRefused"),
    (a_token_of_another_issuer, "TokenRefused"),
    (a_token_without_a_signature, "TokenRefused"),
    (no_token_at_all, "TokenRefused"),
    (a_token_of_a_deleted_pod, "PodGone"),
    (a_token_of_a_pod_that_is_ending, "PodNotRunning"),
    (a_pod_that_does_not_run_yet, "PodNotRunning"),
    (a_trainers_token_that_is_bound_to_no_pod, "AccountNotKnown"),
    (a_pod_under_another_account, "AccountNotKnown"),
    (a_pod_with_our_labels_but_no_job, "PodNotTrusted"),
    (a_job_that_no_task_made, "PodNotTrusted"),
    (a_pod_with_a_stranger_inside, "PodNotTrusted"),
    (a_namespace_without_a_grant, "GrantMissing"),
    (a_grant_for_a_namespace_with_a_longer_name, "GrantMissing"),
    (a_grant_without_a_uid, "GrantNotBound"),
    (a_grant_that_ended, "GrantExpired"),
    (a_grant_taken_back, "GrantMissing"),
    (a_grant_to_the_namespace_that_was_here_before, "NamespaceReplaced"),
    (training_under_a_grant_to_evaluate, "UseNotGranted"),
    (a_person_downloading_data_granted_to_train, "UseNotGranted"),
    (a_publisher_reading, "AccountNotKnown"),
    (an_account_that_is_nobody, "AccountNotKnown"),
    (a_version_that_the_run_does_not_pin, "NotInTask"),
    (a_dataset_that_the_task_does_not_list_any_more, "NotInTask"),
    (a_run_that_trains_what_the_task_only_evaluates, "NotInTask"),
    (a_dataset_deleted_and_made_again, "DatasetReplaced"),
    (a_dataset_that_is_not_there, "NotFound"),
    (a_namespace_that_is_not_there, "NotFound"),
    (a_name_that_climbs_to_another_object, "NotFound"),
]


@pytest.mark.parametrize(("scene", "reason"), SCENES, ids=[scene.__name__ for scene, _ in SCENES])
async def test_refused_alike_and_on_record_is(stage: Stage, scene: Scene, reason: str) -> None:
    before = stage.broker.rows("event = 'Denied' AND reason = ?", reason)
    answer = await scene(stage)
    with stage.broker.http("junk") as http:
        plain = await asyncio.to_thread(http.post, "/v1/sessions", json={})
    assert (answer.status_code, answer.content) == (plain.status_code, plain.content)
    assert answer.status_code == 403 and answer.json()["reason"] == "AccessRefused"
    assert {k: v for k, v in answer.headers.items() if k != "date"} == {
        k: v for k, v in plain.headers.items() if k != "date"
    }
    if reason == "TokenRefused":
        # Nothing about such a caller is proven, so all of them are one flood with one record a minute.
        assert stage.broker.rows("event = 'Denied' AND reason = ? AND namespace = ''", reason)
    else:
        (record,) = stage.broker.rows("event = 'Denied' AND reason = ?", reason)[len(before) :]
        assert record["namespace"] != "" and record["decision"] == "Denied"


async def test_a_refusal_is_in_the_datasets_own_chain_when_there_is_one(stage: Stage) -> None:
    await stage.ask(await (await stage.trainer()).token())
    (record,) = stage.broker.rows("event = 'Denied' AND namespace = ?", stage.lab)
    assert (record["chain"], record["owner"], record["dataset"]) == (
        stage.published.uid,
        stage.published.owner,
        "notes",
    )


async def test_the_use_that_a_role_needs_is_enough(stage: Stage) -> None:
    await stage.grant(uses=["Evaluate"])
    own = await stage.world.dataset(stage.lab, "own")
    pins = [
        Pin(stage.published.owner, stage.published.uid, stage.published.digest, role=Role.EVALUATE),
        Pin(stage.lab, own, NONE, dataset="own", name="own"),
    ]
    pod = await stage.world.trainer(stage.lab, pins)
    assert (await stage.ask(await pod.token())).status_code == 201


async def test_a_missing_and_a_forbidden_dataset_take_the_same_time(stage: Stage) -> None:
    token = await stage.world.token(stage.lab, names.READER_ACCOUNT)
    times: dict[str, list[float]] = {"notes": [], "nothing": []}
    with stage.broker.http(token) as http:
        for _ in range(20):
            for name, taken in times.items():
                wish = {"namespace": stage.published.owner, "name": name}
                start = time.perf_counter()
                await asyncio.to_thread(http.post, "/v1/sessions", json=wish)
                taken.append(time.perf_counter() - start)
    # The quickest of each: whatever else the machine does only adds.
    forbidden, missing = (min(taken) for taken in times.values())
    # Far closer than one read of the API server, which is what would tell them apart and grows with the machine's load.
    assert abs(forbidden - missing) < max(0.005, 0.1 * min(forbidden, missing)), (forbidden, missing)


async def test_a_grant_taken_back_ends_a_session_within_five_seconds(stage: Stage) -> None:
    await stage.grant()
    token = await (await stage.trainer()).token()
    session = (await stage.ask(token)).json()
    path = f"/v1/sessions/{session['id']}/files/{stage.published.manifest.files[0].path}"
    await stage.world.revoke(stage.published.owner)
    revoked = time.monotonic()
    with stage.broker.http(token) as http:
        while (answer := await asyncio.to_thread(http.get, path)).status_code in (200, 307, 429):
            assert time.monotonic() - revoked < 6, "still open"
        # The watch of a stream that had not begun yet may have found out first.
        assert answer.status_code == 403 or answer.json()["reason"] == "SessionUnknown", answer.text
        assert (await asyncio.to_thread(http.get, path)).json()["reason"] == "SessionUnknown"
    assert (await stage.ask(token)).status_code == 403
    opened, closed, *denied = (row["event"] for row in stage.broker.rows("namespace = ?", stage.lab))
    assert (opened, closed, set(denied)) == ("Opened", "Closed", {"Denied"})


async def test_a_session_serves_nobody_but_who_opened_it(stage: Stage) -> None:
    await stage.grant()
    mine = await (await stage.trainer()).token()
    other = await (await stage.trainer(task="other")).token()
    session = (await stage.ask(mine)).json()
    path = f"/v1/sessions/{session['id']}/files/{stage.published.manifest.files[0].path}"
    with stage.broker.http(mine) as own, stage.broker.http(other) as foreign:
        assert (await asyncio.to_thread(foreign.get, path)).status_code == 404
        assert (await asyncio.to_thread(foreign.delete, f"/v1/sessions/{session['id']}")).status_code == 200
        assert (await asyncio.to_thread(own.get, path)).status_code in (200, 307)


async def test_a_flood_of_refusals_is_counted_and_does_not_fill_the_ledger(stage: Stage) -> None:
    token = await (await stage.trainer()).token()
    with stage.broker.http(token) as http:
        wish = {"uid": stage.published.uid, "digest": stage.published.digest}
        for _ in range(30):
            assert (await asyncio.to_thread(http.post, "/v1/sessions", json=wish)).status_code == 403
    assert len(stage.broker.rows("event = 'Denied' AND namespace = ?", stage.lab)) == 1


async def test_no_answer_holds_a_line_of_the_data(stage: Stage) -> None:
    answer = await a_namespace_without_a_grant(stage)
    assert MARKER not in answer.text and stage.published.owner not in answer.text
