"""What a trainer pod is, read live from pod to Job to CollabTask: nothing that it says about itself counts."""

from dataclasses import dataclass
from typing import NoReturn

from pydantic import ValidationError

from collabspace.api import names
from collabspace.api.run import MAX_RUN_BYTES, RUN_VARIABLE, RunDocument
from collabspace.api.task import CollabTask
from collabspace.broker.access import Why
from collabspace.broker.ledger import DENIED, Entry
from collabspace.broker.live import Cluster
from collabspace.broker.tokens import Caller
from collabspace.client.protocol import Decision
from collabspace.kube.client import Object


class AccessDenied(Exception):
    """The answer is no. `entry` goes to the ledger; the caller gets the one answer that all refusals share."""

    def __init__(self, why: Why, entry: Entry) -> None:
        super().__init__(why.value)
        self.why = why
        self.entry = entry.but(event=DENIED, decision=Decision.DENIED, reason=why.value)


@dataclass(frozen=True)
class Trainer:
    """A trainer pod whose whole descent was found to be true. `run` pins what it may open."""

    caller: Caller
    run: RunDocument
    task: CollabTask

    @property
    def attempt(self) -> int:
        return self.run.execution.attempt


def entry_of(caller: Caller | None) -> Entry:
    """The part of a record that says who it was."""
    if caller is None:
        return Entry(event=DENIED, decision=Decision.DENIED, reason="")
    return Entry(
        event=DENIED,
        decision=Decision.DENIED,
        reason="",
        namespace=caller.namespace,
        account=caller.account,
        pod=caller.pod,
        pod_uid=caller.pod_uid,
        node=caller.node,
        token_id=caller.token_id,
    )


def entry_of_trainer(trainer: Trainer) -> Entry:
    return entry_of(trainer.caller).but(
        task=trainer.task.metadata.name, task_uid=trainer.task.metadata.uid, attempt=trainer.attempt
    )


class Trainers:
    """Finds the trainer behind a caller. Remembers the highest attempt of each task that was ever seen."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._newest: dict[str, int] = {}

    def learn(self, task_uid: str, attempt: int) -> None:
        """An attempt is known from elsewhere, such as the ledger's tables."""
        self._newest[task_uid] = max(attempt, self._newest.get(task_uid, 0))

    async def reading(self, caller: Caller) -> Trainer:
        """A running pod of the newest attempt, which may open data. Raises AccessDenied, Undecided."""
        pod = await self._pod(caller)
        if pod["metadata"].get("deletionTimestamp") or pod.get("status", {}).get("phase") != "Running":
            _deny(Why.POD_NOT_RUNNING, caller)
        trainer = await self._descent(caller, pod)
        self.fence(trainer.task.metadata.uid, trainer.attempt, entry_of_trainer(trainer))
        return trainer

    async def writing(self, caller: Caller, task_uid: str, attempt: int) -> Trainer:
        """A pod of the newest attempt, even one that was told to go: it must be able to save. Raises as above."""
        trainer = await self._descent(caller, await self._pod(caller))
        if (trainer.task.metadata.uid, trainer.attempt) != (task_uid, attempt):
            _deny(Why.NOT_IN_TASK, caller)
        self.fence(trainer.task.metadata.uid, trainer.attempt, entry_of_trainer(trainer))
        return trainer

    def fence(self, task_uid: str, attempt: int, entry: Entry) -> None:
        """Passes the newest attempt of a task alone, as far as is known at this moment. Raises AccessDenied."""
        if attempt < self._newest.get(task_uid, 0):
            raise AccessDenied(Why.ATTEMPT_SUPERSEDED, entry)

    async def _pod(self, caller: Caller) -> Object:
        """The pod of the token, still the same one, under the trainers' account and with nobody else inside."""
        if caller.account != names.TRAINER_ACCOUNT or caller.pod is None or caller.pod_uid is None:
            _deny(Why.ACCOUNT_NOT_KNOWN, caller)
        pod = await self._cluster.pod(caller.namespace, caller.pod)
        if pod is None or pod["metadata"].get("uid") != caller.pod_uid:
            _deny(Why.POD_GONE, caller)
        spec = pod.get("spec", {})
        if spec.get("serviceAccountName") != names.TRAINER_ACCOUNT or spec.get("ephemeralContainers"):
            _deny(Why.POD_NOT_TRUSTED, caller)
        return pod

    async def _descent(self, caller: Caller, pod: Object) -> Trainer:
        owner = _controller(pod, "batch/v1", "Job")
        job = None if owner is None else await self._cluster.job(caller.namespace, str(owner["name"]))
        if owner is None or job is None or job["metadata"].get("uid") != owner.get("uid"):
            _deny(Why.POD_NOT_TRUSTED, caller)
        maker = _controller(job, names.API_VERSION, "CollabTask")
        task = None if maker is None else await self._cluster.task(caller.namespace, str(maker["name"]))
        if maker is None or task is None or task.metadata.uid != maker.get("uid"):
            _deny(Why.POD_NOT_TRUSTED, caller)
        run = _run_document(job)
        if run is None or not _belongs(run, task, str(job["metadata"].get("name"))):
            _deny(Why.POD_NOT_TRUSTED, caller)
        known = max((attempt.number for attempt in task.status.attempts), default=0)
        self.learn(task.metadata.uid, max(known, run.execution.attempt))
        return Trainer(caller, run, task)


def _deny(why: Why, caller: Caller) -> NoReturn:
    raise AccessDenied(why, entry_of(caller))


def _controller(item: Object, api_version: str, kind: str) -> Object | None:
    """The owner that controls the object, when it is of the kind that it must be."""
    for owner in item["metadata"].get("ownerReferences") or []:
        if owner.get("controller") and (owner.get("apiVersion"), owner.get("kind")) == (api_version, kind):
            return dict(owner)
    return None


def _run_document(job: Object) -> RunDocument | None:
    containers = job.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or []
    texts = [
        str(variable.get("value") or "")
        for container in containers
        if container.get("name") == names.TRAINER_CONTAINER
        for variable in container.get("env") or []
        if variable.get("name") == RUN_VARIABLE
    ]
    if len(texts) != 1 or len(texts[0]) > MAX_RUN_BYTES:
        return None
    try:
        return RunDocument.model_validate_json(texts[0])
    except ValidationError:
        return None


def _belongs(run: RunDocument, task: CollabTask, job: str) -> bool:
    meta = task.metadata
    return (run.task.namespace, run.task.name, run.task.uid) == (meta.namespace, meta.name, meta.uid) and (
        job == names.job_name(meta.name, run.execution.attempt)
    )
