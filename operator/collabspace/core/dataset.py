"""What is to be done about one SharedDataset: tell its versions, the state of its grants and how it was used."""

import datetime as dt
from collections.abc import Callable, Mapping

from collabspace.api.conditions import DATASET_CONDITIONS, ConditionType, Reason
from collabspace.api.dataset import DatasetStatus, GrantState, GrantStatus, VersionSource
from collabspace.core import grants, status
from collabspace.core.observed import DatasetRecord, Key, ObservedDataset
from collabspace.core.plan import Plan
from collabspace.core.status import Judged

DatasetPlan = Plan[DatasetStatus]
Sources = tuple[tuple[VersionSource, ObservedDataset | None], ...]
# Others' grants change without a word to this object; the broker asks at each access anyway.
SOURCES_SECONDS = 15.0


def sources_of(
    dataset: ObservedDataset, record: DatasetRecord | None, find: Callable[[Key], ObservedDataset | None]
) -> Sources:
    """What the current version was made of, each with the dataset of that name as it is now."""
    newest = record.versions[:1] if record is not None else dataset.status.versions[:1]
    return tuple((each, find((each.namespace, each.name))) for version in newest for each in version.sources)


def decide_dataset(
    dataset: ObservedDataset,
    record: DatasetRecord | None,
    namespaces: Mapping[str, str],
    now: dt.datetime,
    sources: Sources = (),
) -> DatasetPlan:
    """The plan for a dataset. `record` is None while the broker's feed was never read: then what stood, stands."""
    if dataset.meta.deletion_timestamp is not None:
        return Plan()
    before = dataset.status
    generation = dataset.meta.generation
    if dataset.spec is None:
        verdict = Judged("False", Reason.INVALID_SPEC, dataset.problem)
        update: dict[str, object] = {
            "conditions": _conditions(before, dict.fromkeys(DATASET_CONDITIONS, verdict), generation, now)
        }
        return _plan(before, before.model_copy(update=update | {"observed_generation": generation}), None)
    given = dataset.spec.grants
    states = [
        GrantStatus(name=each.name, namespace=each.namespace, state=grants.state(each, namespaces, now))
        for each in given
    ]
    active = sum(each.state is GrantState.ACTIVE for each in states)
    after = before.model_copy(update={"observed_generation": generation, "grants": states, "active_grants": active})
    if record is not None:
        versions = list(record.versions[:3])
        after = after.model_copy(
            update={
                "versions": versions,
                "current_version": versions[0] if versions else None,
                "usage": record.usage,
            }
        )
    judged = _judge(record is not None, bool(after.versions))
    withdrawn = grants.withdrawn(sources, dataset.meta.namespace, namespaces, now)
    if withdrawn and after.versions:
        judged |= {ConditionType.READY: Judged("False", Reason.QUARANTINED, withdrawn)}
    after = after.model_copy(update={"conditions": _conditions(before, judged, generation, now)})
    end = grants.next_end(given, now)
    seconds = [(end - now).total_seconds()] if end is not None else []
    return _plan(before, after, min([*seconds, *([SOURCES_SECONDS] if sources else [])], default=None))


def _judge(known: bool, available: bool) -> dict[ConditionType, Judged]:
    if available:
        verified = Judged("True", Reason.VERIFIED)
        return {
            ConditionType.READY: Judged("True", Reason.VERSION_AVAILABLE),
            ConditionType.CONTRACT_SATISFIED: verified,
            ConditionType.INTEGRITY_VERIFIED: verified,
        }
    if not known:
        return {}
    return {ConditionType.READY: Judged("False", Reason.NO_VERSION)}


def _conditions(
    before: DatasetStatus, judged: Mapping[ConditionType, Judged], generation: int, now: dt.datetime
) -> object:
    return status.conditions(DATASET_CONDITIONS, before.conditions, judged, generation, now)


def _plan(before: DatasetStatus, after: DatasetStatus, requeue: float | None) -> DatasetPlan:
    return Plan(status=after if after != before else None, requeue_after=requeue)
