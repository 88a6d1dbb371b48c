"""What a team may look up before it asks for data: its own datasets, and those of other teams with a grant to it.

Members cannot read objects of other teams, and a grant stands in its owner's. So the broker tells them of those alone
that name their own namespace, and only what the grant itself discloses.
"""

import datetime as dt
from http import HTTPStatus

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from collabspace.api import names
from collabspace.api.conditions import ConditionType
from collabspace.api.dataset import Grant, SharedDataset
from collabspace.broker.access import Asker, Denied, Why, decide
from collabspace.broker.feed import Knowledge
from collabspace.broker.gate import Gate
from collabspace.broker.identity import AccessDenied, entry_of
from collabspace.broker.live import Cluster
from collabspace.broker.refusal import Refused
from collabspace.client.protocol import DatasetOffer, DatasetOffers, GrantOffer, VersionSummary
from collabspace.kube import clock
from collabspace.kube.client import Object


class OfferRoutes:
    """GET /v1/datasets/{namespace}."""

    def __init__(self, gate: Gate, cluster: Cluster, knowledge: Knowledge) -> None:
        self._gate = gate
        self._cluster = cluster
        self._knowledge = knowledge

    async def list(self, request: Request) -> Response:
        """By readers and publishers, of their own namespace."""
        caller = await self._gate.caller(request, names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT)
        namespace = request.path_params["namespace"]
        if caller.namespace != namespace:
            raise AccessDenied(Why.NOT_OWN_NAMESPACE, entry_of(caller))
        asker = Asker(namespace, await self._cluster.namespace_uid(namespace))
        if asker.namespace_uid is None:
            raise Refused(HTTPStatus.NOT_FOUND, "NamespaceMissing", "there is no such namespace (any more)")
        now, offers = clock.now(), []
        for item in await self._cluster.every(names.SHARED_DATASETS):
            dataset = _dataset(item) if _concerns(item, namespace) else None
            if dataset is not None:
                offers.append(offer(asker, dataset, self._knowledge.current(dataset.metadata.uid), now))
        found = [each for each in offers if each is not None]
        answer = DatasetOffers(datasets=sorted(found, key=lambda each: (each.namespace, each.name)))
        return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


def offer(
    asker: Asker, dataset: SharedDataset, version: VersionSummary | None, now: dt.datetime
) -> DatasetOffer | None:
    """What `asker` is told of the dataset, whose newest version is `version`; None: nothing, as if it were not there.

    Grants that have ended are told as such, without the version: `asker` waited on them once. Pure.
    """
    meta = dataset.metadata
    own = meta.namespace == asker.namespace
    told = [] if own else [_grant(asker, dataset, each, now) for each in dataset.spec.grants]
    grants = [each for each in told if each is not None]
    if not own and not grants:
        return None
    shown = version if own or any(not each.ended for each in grants) else None
    return DatasetOffer(
        namespace=meta.namespace,
        name=meta.name,
        format=str(dataset.spec.format),
        version=shown.digest if shown else None,
        created_time=shown.created_time if shown else None,
        records=shown.records if shown else None,
        unready=_unready(dataset),
        grants=grants,
    )


def _grant(asker: Asker, dataset: SharedDataset, grant: Grant, now: dt.datetime) -> GrantOffer | None:
    """None where it is not the asker's: the door's own rule says so, asked about this grant alone."""
    alone = dataset.model_copy(update={"spec": dataset.spec.model_copy(update={"grants": [grant]})})
    decision = decide(asker, alone, grant.uses[0], now)
    ended = isinstance(decision, Denied) and decision.why is Why.GRANT_EXPIRED
    if isinstance(decision, Denied) and not ended:
        return None
    return GrantOffer(
        name=grant.name,
        uses=[str(use) for use in grant.uses],
        purpose=grant.purpose,
        not_after=grant.not_after,
        ended=ended,
    )


def _unready(dataset: SharedDataset) -> str:
    """Reason of the condition Ready where it is not True; tasks that want the dataset are told the same."""
    ready = next((each for each in dataset.status.conditions if each.type == ConditionType.READY), None)
    return ready.reason if ready is not None and ready.status != "True" else ""


def _concerns(item: Object, namespace: str) -> bool:
    """Whether the object is the namespace's or names it: nothing else is read, so that others cost nothing."""
    grants = (item.get("spec") or {}).get("grants") or []
    return item["metadata"]["namespace"] == namespace or any(each.get("namespace") == namespace for each in grants)


def _dataset(item: Object) -> SharedDataset | None:
    """None when it cannot be read (written past the schema): such a dataset gives nobody access either."""
    try:
        return SharedDataset.model_validate(item)
    except ValidationError:
        return None
