"""`grants`: who may use a dataset, for what, until when. Advice that saves vain starts; the broker's word counts."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collabspace.api import timestamp
from collabspace.api.conditions import Reason
from collabspace.api.dataset import Grant, GrantState, Use, Version
from collabspace.api.manifest import DatasetFormat
from collabspace.api.run import InitialModel, Role, RunDataset
from collabspace.api.task import TaskSpec
from collabspace.core.observed import Dataset, Key

USE = {Role.TRAIN: Use.TRAIN, Role.EVALUATE: Use.EVALUATE}


@dataclass(frozen=True, slots=True)
class Authorization:
    """Whether the task may have all its data now, with versions pinned; `expires`: when that may change by itself."""

    reason: Reason
    message: str
    datasets: tuple[RunDataset, ...] = ()
    initial_model: InitialModel | None = None
    expires: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class _Input:
    """One thing to be read: `field` names it in messages."""

    field: str
    key: Key
    digest: str | None
    use: Use


@dataclass(frozen=True, slots=True)
class _Answer:
    reason: Reason
    message: str = ""
    uid: str = ""
    version: Version | None = None
    expires: dt.datetime | None = None


def state(grant: Grant, namespaces: Mapping[str, str], now: dt.datetime) -> GrantState:
    """The state of one grant. `namespaces` maps each existing namespace to its uid."""
    uid = namespaces.get(grant.namespace)
    if uid is None:
        return GrantState.NAMESPACE_MISSING
    if grant.namespace_uid is None:
        return GrantState.NOT_BOUND
    if grant.namespace_uid != uid:
        return GrantState.NAMESPACE_REPLACED
    end = end_of(grant)
    return GrantState.EXPIRED if end is not None and end <= now else GrantState.ACTIVE


def end_of(grant: Grant) -> dt.datetime | None:
    """When the grant ends; None: never. An end that cannot be read counts as passed: doubt closes."""
    if grant.not_after is None:
        return None
    try:
        return timestamp.parse(grant.not_after)
    except ValueError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)


def next_end(grants: Iterable[Grant], now: dt.datetime) -> dt.datetime | None:
    """The next moment at which one of the grants ends."""
    return min((end for end in map(end_of, grants) if end is not None and end > now), default=None)


def authorize(
    spec: TaskSpec, namespace: str, datasets: Mapping[Key, Dataset], namespaces: Mapping[str, str], now: dt.datetime
) -> Authorization:
    """Whether a task in `namespace` may use its datasets and weights, judged for all of them at once.

    `datasets` holds those of the task's references that exist. The first problem gives the reason, all the message.
    """
    inputs = [
        _Input(
            f"datasets[{each.name}]", (each.dataset_ref.namespace, each.dataset_ref.name), each.version, USE[each.role]
        )
        for each in spec.datasets
    ]
    if spec.model_from is not None:
        source = spec.model_from
        inputs.append(_Input("modelFrom", (source.namespace, source.name), source.digest, Use.TRAIN))
    answers = [_answer(each, namespace, datasets.get(each.key), namespaces, now) for each in inputs]
    expires = min((each.expires for each in answers if each.expires is not None), default=None)
    refusals = [each for each in answers if each.reason is not Reason.GRANTED]
    if refusals:
        return Authorization(refusals[0].reason, "; ".join(each.message for each in refusals), expires=expires)
    pinned = tuple(
        RunDataset(
            name=each.name,
            owner=f"{each.dataset_ref.namespace}/{each.dataset_ref.name}",
            uid=answer.uid,
            digest=_digest(answer),
            role=each.role,
        )
        for each, answer in zip(spec.datasets, answers, strict=False)
    )
    model = InitialModel(uid=answers[-1].uid, digest=_digest(answers[-1])) if spec.model_from is not None else None
    return Authorization(Reason.GRANTED, "", pinned, model, expires)


def misfits(spec: TaskSpec, data_format: DatasetFormat, datasets: Mapping[Key, Dataset]) -> tuple[str, ...]:
    """Datasets of another format than the task reads. Asked once all are granted: formats are not for strangers."""
    found = []
    for each in spec.datasets:
        dataset = datasets.get((each.dataset_ref.namespace, each.dataset_ref.name))
        if dataset is not None and dataset.format is not data_format:
            found.append(
                f"datasets[{each.name}]: {each.dataset_ref.namespace}/{each.dataset_ref.name} has format "
                f"{dataset.format}; task {spec.task} reads {data_format}"
            )
    if spec.model_from is not None:
        model = datasets.get((spec.model_from.namespace, spec.model_from.name))
        if model is not None and model.format is not DatasetFormat.MODEL:
            found.append(
                f"modelFrom: {spec.model_from.namespace}/{spec.model_from.name} has format {model.format}; "
                "weights come from a SharedDataset of format Model"
            )
    return tuple(found)


def _digest(answer: _Answer) -> str:
    assert answer.version is not None  # noqa: S101 granted answers hold a version
    return answer.version.digest


def _answer(
    wanted: _Input, namespace: str, dataset: Dataset | None, namespaces: Mapping[str, str], now: dt.datetime
) -> _Answer:
    label = f"{wanted.field}: {wanted.key[0]}/{wanted.key[1]}"
    if wanted.key[0] == namespace:
        if dataset is None:
            return _Answer(Reason.DATASET_NOT_READY, f"{label} does not exist in this namespace; create it")
        return _version(wanted, label, dataset, None)
    missing = _Answer(Reason.GRANT_MISSING, f"{label} is not granted to namespace {namespace} for {wanted.use}")
    if dataset is None or dataset.object.spec is None:
        return missing
    ours = [grant for grant in dataset.object.spec.grants if grant.namespace == namespace]
    active = [grant for grant in ours if state(grant, namespaces, now) is GrantState.ACTIVE]
    covering = [grant for grant in active if wanted.use in grant.uses]
    if covering:
        ends = [end_of(grant) for grant in covering]
        return _version(wanted, label, dataset, None if None in ends else max(end for end in ends if end is not None))
    if active:
        uses = ", ".join(sorted({use for grant in active for use in grant.uses}))
        return _Answer(
            Reason.USE_NOT_GRANTED,
            f"{label} is granted to namespace {namespace} for {uses}, not for {wanted.use}",
            expires=next_end(active, now),
        )
    expired = [grant for grant in ours if state(grant, namespaces, now) is GrantState.EXPIRED]
    if expired:
        newest = max(expired, key=lambda grant: end_of(grant) or now)
        return _Answer(
            Reason.GRANT_EXPIRED, f"{label}: grant {newest.name} to namespace {namespace} ended at {newest.not_after}"
        )
    return missing


def _version(wanted: _Input, label: str, dataset: Dataset, expires: dt.datetime | None) -> _Answer:
    uid = dataset.object.meta.uid
    if not dataset.versions:
        return _Answer(Reason.DATASET_NOT_READY, f"{label} has no version yet", uid, expires=expires)
    if wanted.digest is None:
        return _Answer(Reason.GRANTED, uid=uid, version=dataset.versions[0], expires=expires)
    for version in dataset.versions:
        if version.digest == wanted.digest:
            return _Answer(Reason.GRANTED, uid=uid, version=version, expires=expires)
    known = ", ".join(version.digest for version in dataset.versions)
    return _Answer(
        Reason.DATASET_NOT_READY,
        f"{label} has no version {wanted.digest} among its newest; it has {known}",
        uid,
        expires=expires,
    )
