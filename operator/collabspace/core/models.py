"""Models of the own team: the stored result of one of its tasks, or what one of its aliases stands for."""

from dataclasses import dataclass

from collabspace.api.run import RunResult
from collabspace.api.task import ModelKind, ModelSource, TaskSpec
from collabspace.core.observed import Models, StoredResult


@dataclass(frozen=True, slots=True)
class Choice:
    """The result to use: uid of the task that stored it, and its digest. `lacking` says why there is none yet."""

    uid: str = ""
    digest: str = ""
    lacking: str = ""


def choose(source: ModelSource, models: Models) -> Choice:
    """What a `modelFrom` of kind CollabTask or Alias means now."""
    key = (source.namespace, source.name)
    label = f"modelFrom: {source.kind} {source.namespace}/{source.name}"
    if source.kind is ModelKind.ALIAS:
        alias = models.aliases.get(key)
        if alias is None:
            return Choice(lacking=f"{label} stands for nothing yet; promote a model: kubectl collab promote")
        return _pinned(label, source.digest, alias.task_uid, alias.digest)
    task = models.results.get(key)
    if task is None:
        return Choice(lacking=f"{label} does not exist in this namespace; submit it")
    if task.digest is None:
        return Choice(lacking=f"{label} has stored no result yet")
    return _pinned(label, source.digest, task.uid, task.digest)


def _pinned(label: str, wanted: str | None, uid: str, digest: str) -> Choice:
    if wanted in (None, digest):
        return Choice(uid, digest)
    return Choice(lacking=f"{label} is {digest}, not {wanted}; name that digest, or leave it out for the current one")


def compared(spec: TaskSpec, namespace: str, models: Models) -> tuple[tuple[RunResult, ...], tuple[str, ...]]:
    """The results to compare with the uids of their tasks, and what is lacking."""
    found, lacking = [], []
    for each in spec.results:
        task = models.results.get((namespace, each.task_name))
        if task is None or task.digest != each.digest:
            lacking.append(f"results[{each.name}]: CollabTask {namespace}/{each.task_name} has no result {each.digest}")
        else:
            found.append(RunResult(name=each.name, candidate=each.candidate, uid=task.uid, digest=each.digest))
    return tuple(found), tuple(lacking)


def gone(spec: TaskSpec, namespace: str, models: Models, model_uid: str | None) -> str:
    """What the task can never have, in words; empty: nothing.

    A result is of the one task that stored it: once that is deleted, no task of its name can store it again.
    `model_uid` is of the object whose model the first attempt had, empty when it had none; None: there was no attempt.
    """
    lost = [
        f"results[{each.name}]: CollabTask {namespace}/{each.task_name}"
        for each in spec.results
        if _is_gone(models.results.get((namespace, each.task_name)), each.digest, model_uid is not None)
    ]
    source = spec.model_from
    if model_uid and source is not None and source.kind is ModelKind.COLLAB_TASK:
        task = models.results.get((namespace, source.name))
        if task is None or task.uid != model_uid:
            lost.append(f"modelFrom: CollabTask {namespace}/{source.name}")
    words = "was deleted, and its result with it; submit the task anew with results that are there"
    return f"{', '.join(lost)} {words}" if lost else ""


def _is_gone(task: StoredResult | None, digest: str, had: bool) -> bool:
    """`had`: an attempt had the result, so a task that does not have it is another one."""
    return task is None or (had and task.digest != digest)


def misfits(spec: TaskSpec, namespace: str, models: Models) -> list[str]:
    """Results of tasks that learned something else than is compared here."""
    found = []
    for each in spec.results:
        task = models.results.get((namespace, each.task_name))
        if task is not None and task.task != spec.task:
            label = f"results[{each.name}]: CollabTask {namespace}/{each.task_name}"
            found.append(f"{label} learned {task.task}; this task is {spec.task}")
    return found
