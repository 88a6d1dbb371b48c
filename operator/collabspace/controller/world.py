"""The world as the operator knows it: a cache per kind, the indexes between them, and who is woken by which change."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from collabspace.api.dataset import DatasetSpec, DatasetStatus
from collabspace.api.selection import SelectionSpec, SelectionStatus
from collabspace.api.task import ModelKind
from collabspace.controller.beats import Beats
from collabspace.controller.early import EarlyNews
from collabspace.controller.facts import NamespaceFacts, PackedTask, read_namespace, read_node
from collabspace.controller.holdings import Holdings
from collabspace.controller.index import Index
from collabspace.controller.queue import WorkKey
from collabspace.core import job, outcome
from collabspace.core.admission import Node
from collabspace.core.observed import (
    AliasRecord,
    AttemptRecord,
    Dataset,
    DatasetRecord,
    JobFacts,
    Key,
    ObservedDataset,
    ObservedSelection,
    ObservedTask,
    PodFacts,
    Reference,
    observe,
    selection_references,
)
from collabspace.core.quantity import Amount
from collabspace.kube.cache import Cache

TASK, DATASET, SELECTION, TEAM, ADMISSION, DRAIN = "task", "dataset", "selection", "team", "admission", "drain"
ADMISSION_KEY = WorkKey(ADMISSION, "", "")


def drain_key(namespace: str, task_uid: str, attempt: int) -> WorkKey:
    """Watches over the pods of an attempt without a Job; `name` is `<task uid>.<attempt>`."""
    return WorkKey(DRAIN, namespace, f"{task_uid}.{attempt}")


class World:
    """All caches. Runs on the event loop alone; `wake` is called with every key that a change may concern."""

    def __init__(self, wake: Callable[[WorkKey], None]) -> None:
        self._wake = wake
        self._quiet = False
        self.tasks = Cache[PackedTask]("CollabTask", PackedTask.pack, self._task)
        self.datasets = Cache[ObservedDataset](
            "SharedDataset", lambda raw: observe(raw, DatasetSpec, DatasetStatus), self._dataset
        )
        self.selections = Cache[ObservedSelection](
            "ModelSelection", lambda raw: observe(raw, SelectionSpec, SelectionStatus), self._selection
        )
        self.namespaces = Cache[NamespaceFacts]("Namespace", read_namespace, self._namespace)
        self.nodes = Cache[Node]("Node", read_node, self._node)
        self.jobs = Cache[JobFacts]("Job", job.read, self._job)
        self.pods = Cache[PodFacts]("Pod", outcome.read_pod, self._pod)
        self.holdings = Holdings()
        self.namespace_uids: dict[str, str] = {}
        self.tasks_by_uid: dict[str, Key] = {}
        self.datasets_by_uid: dict[str, Key] = {}
        self.records: dict[str, DatasetRecord] = {}
        self.attempts: dict[str, dict[int, AttemptRecord]] = defaultdict(dict)
        self.beats = Beats()
        self._early = EarlyNews()
        self.offers: frozenset[Amount] = frozenset()
        self.broker_known = False
        self.broker_read = False
        self.aliases: dict[Key, AliasRecord] = {}
        self._users = Index[Reference, WorkKey]()
        self._members = Index[str, WorkKey]()
        self._datasets_by_grantee = Index[str, Key]()
        self._jobs_by_task: dict[str, dict[int, JobFacts]] = defaultdict(dict)
        self._task_of_job: dict[str, JobFacts] = {}
        self._pods_by_job: dict[str, PodFacts] = {}

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """For the answer to our own write: known at once, and no reason to look again."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def task(self, key: Key) -> ObservedTask | None:
        """The task as last seen."""
        packed = self.tasks.get(key)
        return packed.unpack() if packed is not None else None

    def dataset(self, key: Key) -> Dataset | None:
        """The dataset with its versions: the broker's word where there is one, else what the status says."""
        found = self.datasets.get(key)
        if found is None:
            return None
        record = self.record(found)
        return Dataset(found, record.versions if record is not None else tuple(found.status.versions))

    def record(self, dataset: ObservedDataset) -> DatasetRecord | None:
        """What the broker says; None while it was never heard. A dataset that it does not mention has no version."""
        if not self.broker_read:
            return None
        return self.records.get(dataset.meta.uid, DatasetRecord())

    def job_of(self, task_uid: str, attempt: int | None = None) -> JobFacts | None:
        """The Job of that attempt, None: the newest; also after it was deleted."""
        known = self._jobs_by_task.get(task_uid)
        return known.get(attempt or max(known)) if known else None

    def jobs_of(self, task_uid: str) -> tuple[JobFacts, ...]:
        """All Jobs of the task that are there."""
        known = self._jobs_by_task.get(task_uid) or {}
        return tuple(each for each in known.values() if self.jobs.get((each.namespace, each.name)) is not None)

    def attempt_of(self, task_uid: str, attempt: int) -> AttemptRecord | None:
        known = self.attempts.get(task_uid)
        return known.get(attempt) if known is not None else None

    def newest_attempt_of(self, task_uid: str) -> int:
        """The newest attempt that the broker ever heard of; 0: none."""
        return max(self.attempts.get(task_uid) or (), default=0)

    def is_ready(self, node: str) -> bool:
        """Whether the node is there and answers."""
        known = self.nodes.get(("", node))
        return known is not None and known.ready

    def pod_of(self, facts: JobFacts) -> PodFacts | None:
        return self._pods_by_job.get(facts.uid)

    def wake_everything(self) -> None:
        """Every object is looked at again."""
        self._wake_all(DATASET, self.datasets)
        self._wake_all(SELECTION, self.selections)
        self._wake_all(TASK, self.tasks)
        self._wake(ADMISSION_KEY)

    def wake_team(self, namespace: str) -> None:
        """All tasks and selections of the namespace."""
        self._wake_each(self._members.of(namespace))

    def alias(self, key: Key) -> AliasRecord | None:
        """What the alias stands for; one of a namespace that was deleted and made again stands for nothing."""
        known = self.aliases.get(key)
        return known if known is not None and known.namespace_uid == self.namespace_uids.get(key[0]) else None

    def tell_alias(self, key: Key, record: AliasRecord | None) -> None:
        """The broker's word about an alias; None: there is none any more."""
        before = self.aliases.pop(key, None)
        if record is not None:
            self.aliases[key] = record
        if before != record:
            self._wake_each(self._users.of(Reference(ModelKind.ALIAS, *key)))

    def wake_task(self, uid: str) -> None:
        key = self.tasks_by_uid.get(uid)
        if key is not None and not self._quiet:
            self._wake(WorkKey(TASK, *key))

    def tell(self, record_uid: str, record: DatasetRecord) -> None:
        """The broker's word about a dataset."""
        before = self.records.get(record_uid)
        self.records[record_uid] = record
        key = self.datasets_by_uid.get(record_uid)
        if key is None or before == record:
            return
        self._wake(WorkKey(DATASET, *key))
        if before is None or before.versions != record.versions:
            self._wake_each(self._users.of(Reference(ModelKind.SHARED_DATASET, *key)))

    def tell_attempt(self, task_uid: str, attempt: int, record: AttemptRecord, now: float) -> None:
        """The broker's word about an attempt at the time `now`, of a task that is known by then or not."""
        if task_uid not in self.tasks_by_uid:
            self._early.keep(task_uid, attempt, record)
            return
        if record.progress is not None:
            self.beats.tell(task_uid, attempt, record.progress.beat, now)
        if self.attempts[task_uid].get(attempt) != record:
            self.attempts[task_uid][attempt] = record
            self.wake_task(task_uid)

    def _wake_all(self, kind: str, keys: Iterable[Key]) -> None:
        self._wake_each(WorkKey(kind, *key) for key in keys)

    def _wake_each(self, keys: Iterable[WorkKey]) -> None:
        for key in keys:
            self._wake(key)

    def _task(self, key: Key, before: PackedTask | None, after: PackedTask | None) -> None:
        work = WorkKey(TASK, *key)
        old = before.references if before is not None else frozenset()
        new = after.references if after is not None else frozenset()
        self._users.move(work, old, new)
        if before is not None and (after is None or after.uid != before.uid):
            self._forget(before.uid)
        self._members.move(work, {key[0]}, {key[0]} if after is not None else set())
        if after is not None and self.tasks_by_uid.get(after.uid) != key:
            self.tasks_by_uid[after.uid] = key
            if early := self._early.take(after.uid):
                self.attempts[after.uid] |= early
        if not self._quiet:
            self._wake(work)
        self._tell_of_task(key, before, after)

    def _tell_of_task(self, key: Key, before: PackedTask | None, after: PackedTask | None) -> None:
        """Wakes its selection, and who waits for what it stores; also after a write of our own."""
        for owner in {each.owner for each in (before, after) if each is not None and each.owner is not None}:
            self._wake(WorkKey(SELECTION, key[0], owner.name))
        stored = [(each.uid, each.result) if each is not None else None for each in (before, after)]
        if stored[0] != stored[1]:
            self._wake_each(self._users.of(Reference(ModelKind.COLLAB_TASK, *key)))

    def _dataset(self, key: Key, before: ObservedDataset | None, after: ObservedDataset | None) -> None:
        old, new = _grantees(before), _grantees(after)
        self._datasets_by_grantee.move(key, old, new)
        if before is not None:
            self.datasets_by_uid.pop(before.meta.uid, None)
        if after is not None:
            self.datasets_by_uid[after.meta.uid] = key
        if self._quiet:
            return
        if after is not None:
            self._wake(WorkKey(DATASET, *key))
        # Versions in the status are ours or the broker's; tasks care for what the owner says.
        if before is None or after is None or (before.meta.uid, before.spec) != (after.meta.uid, after.spec):
            self._wake_each(self._users.of(Reference(ModelKind.SHARED_DATASET, *key)))

    def _selection(self, key: Key, before: ObservedSelection | None, after: ObservedSelection | None) -> None:
        work = WorkKey(SELECTION, *key)
        old = selection_references(before.spec, key[0]) if before is not None else set()
        new = selection_references(after.spec, key[0]) if after is not None else set()
        self._users.move(work, old, new)
        self._members.move(work, {key[0]}, {key[0]} if after is not None else set())
        if not self._quiet:
            self._wake(work)

    def _namespace(self, key: Key, _before: NamespaceFacts | None, after: NamespaceFacts | None) -> None:
        name = key[1]
        if after is None:
            self.namespace_uids.pop(name, None)
        else:
            self.namespace_uids[name] = after.uid
        self._wake(WorkKey(TEAM, "", name))
        self._wake_all(DATASET, self._datasets_by_grantee.of(name))
        self.wake_team(name)
        self._wake(ADMISSION_KEY)

    def _node(self, _key: Key, before: Node | None, after: Node | None) -> None:
        if before is None and after is not None:
            self.offers |= {after.allocatable}
        elif before is None or after is None or before.allocatable != after.allocatable:
            self.offers = frozenset(each.allocatable for each in self.nodes.values())
        self._wake(ADMISSION_KEY)

    def _job(self, _key: Key, before: JobFacts | None, after: JobFacts | None) -> None:
        facts = after or before
        if facts is None:
            return
        uid = facts.task_uid
        if after is None:
            self._job_deleted(facts)
        else:
            self._task_of_job[after.uid] = after
            self._jobs_by_task[uid][after.attempt] = after
            self.account(after)
        self.wake_task(uid)

    def account(self, facts: JobFacts) -> None:
        """What the Job says that its attempt holds."""
        if not holds(facts) or facts.uid in self._pods_by_job:
            self.release(facts.task_uid, facts.attempt)
        else:
            self.holdings.hold(facts.task_uid, facts.attempt, facts.namespace, facts.amount)

    def _job_deleted(self, facts: JobFacts) -> None:
        uid = facts.task_uid
        if self.holdings.attempt(uid) == facts.attempt:
            # Its pod may still be stopping; the quota is free when that is over.
            self._wake(drain_key(facts.namespace, uid, facts.attempt))
        newest = self.job_of(uid)
        if uid not in self.tasks_by_uid or (newest is not None and newest.attempt > facts.attempt):
            self._forget_job(facts)

    def _pod(self, _key: Key, _before: PodFacts | None, after: PodFacts | None) -> None:
        # A pod that is removed after its end still says how its attempt ended.
        if after is None:
            return
        self._pods_by_job[after.job_uid] = after
        facts = self._task_of_job.get(after.job_uid)
        if facts is not None:
            self.release(facts.task_uid, facts.attempt)
            self.wake_task(facts.task_uid)

    def release(self, task_uid: str, attempt: int) -> None:
        """That attempt of the task holds nothing any more."""
        if self.holdings.release(task_uid, attempt):
            self._wake(ADMISSION_KEY)

    def _forget(self, uid: str) -> None:
        """The task is deleted; what only it needed goes too."""
        self.tasks_by_uid.pop(uid, None)
        self.attempts.pop(uid, None)
        self.beats.forget(uid)
        known = self._jobs_by_task.get(uid)
        if not known:
            self.release(uid, self.holdings.attempt(uid))
            return
        for facts in list(known.values()):
            if self.jobs.get((facts.namespace, facts.name)) is None:
                self._forget_job(facts)

    def _forget_job(self, facts: JobFacts) -> None:
        known = self._jobs_by_task.get(facts.task_uid)
        if known is not None:
            known.pop(facts.attempt, None)
            if not known:
                del self._jobs_by_task[facts.task_uid]
        self._task_of_job.pop(facts.uid, None)
        self._pods_by_job.pop(facts.uid, None)


def holds(facts: JobFacts) -> bool:
    """Whether a Job may have a pod that uses what it asks for, as far as the Job itself says."""
    return not facts.finished and not facts.halted


def _grantees(dataset: ObservedDataset | None) -> set[str]:
    return {grant.namespace for grant in dataset.spec.grants} if dataset is not None and dataset.spec else set()
