"""`grants`: who may use a dataset, for what, until when. Advice that saves vain starts; the broker's word counts."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from collabspace.api import timestamp
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.dataset import Grant, GrantState, Use, VersionSource
from collabspace.api.manifest import DatasetFormat
from collabspace.api.run import EVALUATION, InitialModel, Role, RunDataset, RunResult
from collabspace.api.task import ModelKind, TaskSpec
from collabspace.core import models as own
from collabspace.core import status
from collabspace.core.observed import MODEL, NO_MODELS, Dataset, Key, Models, ObservedDataset

USE = {Role.TRAIN: Use.TRAIN, Role.EVALUATE: Use.EVALUATE}


@dataclass(frozen=True, slots=True)
class Authorization:
    """Whether the task may have all its data now, with versions pinned; `expires`: when that may change by itself.

    `refused` are the datasets that it may not have.
    """

    reason: Reason
    message: str
    refused: tuple[Key, ...] = ()
    datasets: tuple[RunDataset, ...] = ()
    initial_model: InitialModel | None = None
    results: tuple[RunResult, ...] = ()
    expires: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """The version of one input that the first attempt had, and the uid of the object that it belongs to."""

    uid: str
    digest: str


@dataclass(frozen=True, slots=True)
class _Input:
    """One thing to be read: `field` names it in messages."""

    field: str
    key: Key
    digest: str | None
    use: Use
    pin: Pin | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    reason: Reason
    message: str = ""
    uid: str = ""
    digest: str = ""
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


def withdrawn(
    sources: Iterable[tuple[VersionSource, ObservedDataset | None]],
    home: str,
    namespaces: Mapping[str, str],
    now: dt.datetime,
) -> str:
    """Of which sources `home` may not derive now, in words; empty: of none. Each comes with the dataset as it is."""
    found = []
    for source, dataset in sources:
        if source.namespace == home:
            continue
        spec = dataset.spec if dataset is not None and dataset.meta.uid == source.uid else None
        given = spec.grants if spec is not None else []
        ours = [grant for grant in given if grant.namespace == home and Use.DERIVE in grant.uses]
        if not any(state(grant, namespaces, now) is GrantState.ACTIVE for grant in ours):
            remedy = f"kubectl collab grants add {source.name} -n {source.namespace} --to {home} --use Derive"
            words = f"made of {source.namespace}/{source.name}, which is not granted to {home} for Derive"
            found.append(f"{words}; its owner can do it: {remedy}")
    return "; ".join(found[:4])


def authorize(
    spec: TaskSpec,
    namespace: str,
    datasets: Mapping[Key, Dataset],
    namespaces: Mapping[str, str],
    now: dt.datetime,
    pins: Mapping[str, Pin] = MappingProxyType({}),
    models: Models = NO_MODELS,
) -> Authorization:
    """Whether a task in `namespace` may use its datasets and models, judged for all of them at once.

    `datasets` and `models` hold those of its references that exist. `pins` are versions chosen before, by the input's
    name within the task: of those only the grant is judged. The first problem gives the reason, all the message.
    """
    inputs = _inputs(spec, pins)
    answers = [_answer(each, namespace, datasets.get(each.key), namespaces, now) for each in inputs]
    expires = min((each.expires for each in answers if each.expires is not None), default=None)
    refused = [(each.key, answer) for each, answer in zip(inputs, answers, strict=True) if _is_refusal(answer)]
    model, words = _initial_model(spec, answers, pins, models)
    results, lacking = own.compared(spec, namespace, models)
    if refused or words or lacking:
        message = "; ".join((*(answer.message for _, answer in refused), *words, *lacking))
        reason = refused[0][1].reason if refused else Reason.DATASET_NOT_READY
        return Authorization(reason, status.bounded(message), tuple(key for key, _ in refused), expires=expires)
    pinned = tuple(
        RunDataset(
            name=each.name,
            owner=f"{each.dataset_ref.namespace}/{each.dataset_ref.name}",
            uid=answer.uid,
            digest=answer.digest,
            role=each.role,
        )
        for each, answer in zip(spec.datasets, answers, strict=False)
    )
    return Authorization(Reason.GRANTED, "", (), pinned, model, results, expires)


def _inputs(spec: TaskSpec, pins: Mapping[str, Pin]) -> list[_Input]:
    """What is granted by owners, weights last."""
    found = [
        _Input(
            f"datasets[{each.name}]",
            (each.dataset_ref.namespace, each.dataset_ref.name),
            each.version,
            USE[each.role],
            pins.get(each.name),
        )
        for each in spec.datasets
    ]
    source = spec.model_from
    if source is not None and source.kind is ModelKind.SHARED_DATASET:
        found.append(_Input(MODEL, (source.namespace, source.name), source.digest, Use.TRAIN, pins.get(MODEL)))
    return found


def _initial_model(
    spec: TaskSpec, answers: Sequence[_Answer], pins: Mapping[str, Pin], models: Models
) -> tuple[InitialModel | None, tuple[str, ...]]:
    """The model to start from, and what is lacking of it where it is the team's own."""
    if spec.model_from is None:
        return None, ()
    pin = pins.get(MODEL)
    if spec.model_from.kind is ModelKind.SHARED_DATASET:
        choice = own.Choice(answers[-1].uid, answers[-1].digest)
    else:
        choice = own.Choice(pin.uid, pin.digest) if pin is not None else own.choose(spec.model_from, models)
    if choice.lacking or not choice.digest:
        return None, (choice.lacking,) if choice.lacking else ()
    return InitialModel(uid=choice.uid, digest=choice.digest), ()


def _is_refusal(answer: _Answer) -> bool:
    return answer.reason is not Reason.GRANTED


def misfits(spec: TaskSpec, data_format: DatasetFormat, datasets: Mapping[Key, Dataset]) -> tuple[str, ...]:
    """Datasets of another format than the task reads. Asked once all are granted: formats are not for strangers."""
    found = []
    for each in spec.datasets:
        dataset = datasets.get((each.dataset_ref.namespace, each.dataset_ref.name))
        if dataset is not None and dataset.format is not data_format and not _may_be_base(spec, dataset):
            found.append(
                f"datasets[{each.name}]: {each.dataset_ref.namespace}/{each.dataset_ref.name} has format "
                f"{dataset.format}; task {spec.task} reads {data_format}"
            )
    if spec.model_from is not None and spec.model_from.kind is ModelKind.SHARED_DATASET:
        model = datasets.get((spec.model_from.namespace, spec.model_from.name))
        if model is not None and model.format is not DatasetFormat.MODEL:
            found.append(
                f"modelFrom: {spec.model_from.namespace}/{spec.model_from.name} has format {model.format}; "
                "weights come from a SharedDataset of format Model"
            )
    return tuple(found)


def _may_be_base(spec: TaskSpec, dataset: Dataset) -> bool:
    """Beside data an evaluation may name weights: what the model that it measures rests on."""
    return dataset.format is DatasetFormat.MODEL and spec.method == EVALUATION and len(spec.datasets) > 1


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
    if wanted.pin is not None:
        if wanted.pin.uid not in ("", uid):
            return _Answer(
                Reason.DATASET_NOT_READY,
                f"{label} was deleted and made again since the first attempt, which had a version of the old one; "
                "submit the task under another name",
                expires=expires,
            )
        return _Answer(Reason.GRANTED, uid=uid, digest=wanted.pin.digest, expires=expires)
    if not dataset.versions:
        return _Answer(Reason.DATASET_NOT_READY, f"{label} has no version yet", uid, expires=expires)
    known = [version.digest for version in dataset.versions]
    ready = status.find(ConditionType.READY, dataset.object.status.conditions)
    if ready is not None and ready.reason == Reason.QUARANTINED and wanted.digest in (None, known[0]):
        # The sources are no business of whoever was granted the model.
        return _Answer(Reason.DATASET_NOT_READY, f"{label} is quarantined: its owner knows why", uid, expires=expires)
    if wanted.digest is None or wanted.digest in known:
        return _Answer(Reason.GRANTED, uid=uid, digest=wanted.digest or known[0], expires=expires)
    return _Answer(
        Reason.DATASET_NOT_READY,
        f"{label} has no version {wanted.digest} among its newest; it has {', '.join(known)}",
        uid,
        expires=expires,
    )
