"""Models of the own team: the stored result of one of its tasks, or what one of its aliases stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

from collabspace.api.catalogue import Catalogue, Purpose
from collabspace.api.run import EVALUATION, InitialModel, RunDataset, RunResult
from collabspace.api.task import ModelKind, ModelSource, TaskSpec
from collabspace.core.observed import Models, StoredResult

# Parameter of the methods that can add what they learned to the weights in the end.
MERGE = "merge"


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


@dataclass(frozen=True, slots=True)
class Base:
    """Weights that a stored model rests on without holding them: what its task named, and which version that was."""

    source: ModelSource
    uid: str
    digest: str


def base_of(stored: StoredResult, catalogue: Catalogue) -> Base | None:
    """None: the model is whole. What cannot do without weights keeps only what it adds to them, unless it merges."""
    spec, model = stored.made_by, stored.started_from
    task = catalogue.task(spec.task) if spec is not None else None
    method = task.method(spec.method) if task is not None and spec is not None else None
    if spec is None or spec.model_from is None or model is None or method is None:
        return None
    if method.purpose is not Purpose.TRAINING or not method.needs_weights or spec.parameters.get(MERGE) == "Yes":
        return None
    return Base(spec.model_from, model.uid, model.digest)


def incomplete(
    spec: TaskSpec, models: Models, catalogue: Catalogue, model: InitialModel | None, datasets: Sequence[RunDataset]
) -> str:
    """Why the task's own model cannot be used as it is stored, with the remedy; empty: it can, as far as is known.

    `model` and `datasets` are those that it was given.
    """
    source = spec.model_from
    stored = _stored(source, models) if source is not None else None
    base = base_of(stored, catalogue) if stored is not None and model is not None and stored.uid == model.uid else None
    if source is None or base is None:
        return ""
    measured = spec.method == EVALUATION
    if measured and (base.uid, base.digest) in {(each.uid, each.digest) for each in datasets}:
        return ""
    remedies = []
    if measured and base.source.kind is ModelKind.SHARED_DATASET:
        place = f"{{namespace: {base.source.namespace}, name: {base.source.name}}}"
        entry = f"{{name: base, datasetRef: {place}, version: {base.digest}, role: Evaluate}}"
        remedies.append(f"name them in datasets as well: {entry}")
    remedies.append("take a whole model: by FullFineTuning, or by LoRA with parameter merge: Yes")
    label = f"modelFrom: {source.kind} {source.namespace}/{source.name}"
    return f"{label} rests on weights that it does not hold; {', or '.join(remedies)}"


def _stored(source: ModelSource, models: Models) -> StoredResult | None:
    """The task behind it, as far as it is there."""
    if source.kind is ModelKind.ALIAS:
        alias = models.aliases.get((source.namespace, source.name))
        return models.results.get((source.namespace, alias.task)) if alias is not None else None
    return models.results.get((source.namespace, source.name)) if source.kind is ModelKind.COLLAB_TASK else None


def misfits(spec: TaskSpec, namespace: str, models: Models) -> list[str]:
    """Results of tasks that learned something else than is compared here."""
    found = []
    for each in spec.results:
        task = models.results.get((namespace, each.task_name))
        if task is not None and task.task != spec.task:
            label = f"results[{each.name}]: CollabTask {namespace}/{each.task_name}"
            found.append(f"{label} learned {task.task}; this task is {spec.task}")
    return found
