"""The versions of data and models that all candidates share: chosen once, before the first of them starts."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collabspace.api.conditions import Reason
from collabspace.api.run import Role
from collabspace.api.selection import Candidate, SelectionSpec
from collabspace.api.task import ModelSource, PinnedDataset, TaskDataset, TaskSpec
from collabspace.core import grants
from collabspace.core.observed import Dataset, Key
from collabspace.core.selection_world import SelectionWorld

# As many as a status holds.
MOST_PINS = 17


@dataclass(frozen=True, slots=True)
class Pins:
    """Either all versions, or why they cannot be had now; `wrong` when no waiting helps."""

    versions: tuple[PinnedDataset, ...] = ()
    reason: Reason = Reason.GRANTED
    message: str = ""
    wrong: bool = False
    expires: dt.datetime | None = None


def choose(spec: SelectionSpec, namespace: str, world: SelectionWorld, now: dt.datetime) -> Pins:
    """The current versions, judged for every candidate."""
    versions: dict[str, PinnedDataset] = {}
    expires: dt.datetime | None = None
    entry = world.catalogue.task(spec.task)
    for label, source in ((None, None), *model_labels(spec).items()):
        asked = TaskSpec(task=spec.task, method="-", datasets=spec.datasets, model_from=source)
        found = grants.authorize(asked, namespace, world.datasets, world.namespaces, now, models=world.models)
        if found.expires is not None:
            expires = min(found.expires, expires) if expires is not None else found.expires
        if found.reason is not Reason.GRANTED:
            return Pins((), found.reason, found.message, expires=expires)
        misfits = list(grants.misfits(asked, entry.format, world.datasets)) if entry is not None else []
        if misfits:
            return Pins((), Reason.INVALID_SPEC, "; ".join(misfits), wrong=True)
        for each in found.datasets:
            versions[each.name] = PinnedDataset(name=each.name, uid=each.uid, digest=each.digest)
        if label is not None and source is not None and source.digest is None and found.initial_model is not None:
            model = found.initial_model
            versions[label] = PinnedDataset(name=label, uid=model.uid, digest=model.digest)
    return Pins(tuple(versions.values()), expires=expires)


def model_labels(spec: SelectionSpec) -> dict[str, ModelSource]:
    """The different models to start from, under the names by which their versions are pinned."""
    found: dict[ModelSource, str] = {}
    for number, candidate in enumerate(spec.candidates):
        if candidate.model_from is not None:
            found.setdefault(candidate.model_from, f"modelFrom[{number}]")
    return {label: source for source, label in found.items()}


def too_many(spec: SelectionSpec) -> str:
    """What is wrong when a status cannot hold all the versions; empty: nothing."""
    unpinned = [source for source in model_labels(spec).values() if source.digest is None]
    room = MOST_PINS - len(spec.datasets)
    if len(unpinned) <= room:
        return ""
    return (
        f"candidates: {len(unpinned)} different modelFrom without digest; with {len(spec.datasets)} datasets {room} "
        "can be pinned: set modelFrom.digest in the others"
    )


def datasets(spec: SelectionSpec, pinned: Mapping[str, PinnedDataset], role: Role | None = None) -> list[TaskDataset]:
    """The datasets with their versions, all in another role where one is given."""
    return [
        each.model_copy(update={"version": pinned[each.name].digest, "role": role or each.role})
        for each in spec.datasets
        if each.name in pinned
    ]


def covers(spec: SelectionSpec, pinned: Iterable[PinnedDataset]) -> bool:
    """Whether a version of every dataset is on record."""
    return {each.name for each in spec.datasets} <= {each.name for each in pinned}


def model(spec: SelectionSpec, candidate: Candidate, pinned: Mapping[str, PinnedDataset]) -> ModelSource | None:
    """The candidate's model with its version."""
    source = candidate.model_from
    if source is None or source.digest is not None:
        return source
    label = next(label for label, each in model_labels(spec).items() if each == source)
    return source.model_copy(update={"digest": pinned[label].digest}) if label in pinned else source


def training_records(
    spec: SelectionSpec, pinned: Mapping[str, PinnedDataset], known: Mapping[Key, Dataset]
) -> int | None:
    """Records of the versions that are learned from; None when one is not known."""
    total = 0
    for each in spec.datasets:
        if each.role is Role.TRAIN:
            dataset = known.get((each.dataset_ref.namespace, each.dataset_ref.name))
            digest = pinned[each.name].digest if each.name in pinned else None
            found = [version.records for version in (dataset.versions if dataset else ()) if version.digest == digest]
            if not found:
                return None
            total += found[0]
    return total
