"""The rule of data: who may use a dataset for what, from the owner's grants alone. Pure: same facts, same answer."""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from collabspace.api import timestamp
from collabspace.api.dataset import Grant, SharedDataset, Use
from collabspace.api.run import Role

USE_OF_ROLE = {Role.TRAIN: Use.TRAIN, Role.EVALUATE: Use.EVALUATE}
USE_OF_WEIGHTS = Use.TRAIN


class Why(StrEnum):
    """Why access was refused: for the ledger, never for the caller. From the least to the nearest to a yes."""

    TOKEN_REFUSED = "TokenRefused"
    ACCOUNT_NOT_KNOWN = "AccountNotKnown"
    NOT_OWN_NAMESPACE = "NotOwnNamespace"
    POD_GONE = "PodGone"
    POD_NOT_RUNNING = "PodNotRunning"
    POD_NOT_TRUSTED = "PodNotTrusted"
    ATTEMPT_SUPERSEDED = "AttemptSuperseded"
    NOT_IN_TASK = "NotInTask"
    NOT_FOUND = "NotFound"
    DATASET_REPLACED = "DatasetReplaced"
    GRANT_MISSING = "GrantMissing"
    GRANT_NOT_BOUND = "GrantNotBound"
    NAMESPACE_REPLACED = "NamespaceReplaced"
    GRANT_EXPIRED = "GrantExpired"
    USE_NOT_GRANTED = "UseNotGranted"
    QUARANTINED = "Quarantined"


@dataclass(frozen=True)
class Asker:
    """The namespace that asks, as proven by its token, and its uid as read live (None: it is gone)."""

    namespace: str
    namespace_uid: str | None


@dataclass(frozen=True)
class Allowed:
    """`grant` is None in the owner's own namespace, which needs none."""

    grant: Grant | None


@dataclass(frozen=True)
class Denied:
    why: Why


def decide(asker: Asker, dataset: SharedDataset | None, use: Use, now: dt.datetime) -> Allowed | Denied:
    """Whether `asker` may use `dataset` for `use` at `now`.

    Several grants for one namespace are alternatives: one that covers everything is enough; if none does, the reason is
    that of the grant that came nearest. A grant takes effect only with a namespaceUID: without it nobody can say which
    namespace of that name its owner meant. From `notAfter` on it is over.
    """
    if dataset is None:
        return Denied(Why.NOT_FOUND)
    if asker.namespace_uid is None:
        return Denied(Why.NAMESPACE_REPLACED)
    if asker.namespace == dataset.metadata.namespace:
        return Allowed(None)
    nearest = Why.GRANT_MISSING
    for grant in dataset.spec.grants:
        if grant.namespace != asker.namespace:
            continue
        fault = _fault(grant, asker.namespace_uid, use, now)
        if fault is None:
            return Allowed(grant)
        nearest = max(nearest, fault, key=_nearness)
    return Denied(nearest)


def _fault(grant: Grant, namespace_uid: str, use: Use, now: dt.datetime) -> Why | None:
    if grant.namespace_uid is None:
        return Why.GRANT_NOT_BOUND
    if grant.namespace_uid != namespace_uid:
        return Why.NAMESPACE_REPLACED
    if grant.not_after is not None and _is_over(grant.not_after, now):
        return Why.GRANT_EXPIRED
    if use not in grant.uses:
        return Why.USE_NOT_GRANTED
    return None


def _is_over(not_after: str, now: dt.datetime) -> bool:
    try:
        return now >= timestamp.parse(not_after)
    except ValueError:
        return True  # an end that cannot be read is no leave to go on


def _nearness(why: Why) -> int:
    return list(Why).index(why)
