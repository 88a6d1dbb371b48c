"""What only admins of the platform may do: give the versions of a dataset that is gone to its successor."""

from contextlib import AsyncExitStack
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from collabspace.api import names
from collabspace.api.dataset import SharedDataset
from collabspace.broker.custody import Owner, OwnerKind
from collabspace.broker.gate import invalid, read_body
from collabspace.broker.identity import entry_of
from collabspace.broker.ledger import REBOUND, Entry
from collabspace.broker.parts import Parts
from collabspace.broker.publishing import check_contract, owner_of
from collabspace.broker.refusal import Refused
from collabspace.broker.store import OWNER
from collabspace.client.protocol import Decision, Rebind, Rebound

GIVEN, TAKEN = "Given", "Taken"


class AdminRoutes:
    """POST /v1/admin/rebind."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def rebind(self, request: Request) -> Response:
        """Digests stay what they are: files stay under the old uid, and the new object is where they are looked up."""
        caller = await self._parts.gate.admin(request)
        wish = await read_body(request, Rebind)
        if not OWNER.fullmatch(wish.from_uid):
            raise invalid("fromUid: must be the uid of a SharedDataset that is gone")
        dataset = await self._parts.cluster.dataset(wish.namespace, wish.name)
        if dataset is None:
            raise Refused(HTTPStatus.NOT_FOUND, "DatasetMissing", "apply the SharedDataset first, then rebind to it")
        async with AsyncExitStack() as locks:
            for uid in sorted({wish.from_uid, dataset.metadata.uid}):
                await locks.enter_async_context(self._parts.custody.lock(uid))
            versions = await self._rebind(wish.from_uid, dataset, entry_of(caller))
        return Response(Rebound(versions=versions).model_dump_json(by_alias=True), media_type="application/json")

    async def _rebind(self, from_uid: str, dataset: SharedDataset, who: Entry) -> int:
        parts, to = self._parts, owner_of(dataset)
        held = parts.custody.owner(from_uid)
        if held is not None and held.uid == to.uid != from_uid:
            return await self._count(from_uid, dataset)
        await self._check_given(from_uid, held)
        if parts.knowledge.current(to.uid) is not None:
            raise _conflict("NotEmpty", "the SharedDataset has versions of its own; make a new one and rebind to that")
        versions = await self._count(from_uid, dataset)
        entry = who.but(event=REBOUND, decision=Decision.ALLOWED)
        old = held or to
        await parts.journal.record(
            entry.but(reason=GIVEN, purpose=f"to {to.uid}", owner=old.namespace, dataset=old.name, dataset_uid=from_uid)
        )
        await parts.journal.record(
            entry.but(reason=TAKEN, purpose=f"from {from_uid}", owner=to.namespace, dataset=to.name, dataset_uid=to.uid)
        )
        await parts.custody.give(from_uid, to)
        parts.knowledge.give(from_uid, to.uid)
        return versions

    async def _check_given(self, from_uid: str, held: Owner | None) -> None:
        """Raises Refused when the versions are somebody's, Undecided when that could not be found out."""
        if held is not None and held.kind is not OwnerKind.DATASET:
            raise invalid("fromUid: is a task; results belong to nobody else")
        if held is not None and held.uid != from_uid:
            raise _conflict("VersionsTaken", f"these versions belong to {held.namespace}/{held.name} by now")
        for item in await self._parts.cluster.every(names.SHARED_DATASETS):
            if item["metadata"]["uid"] == from_uid:
                meta = item["metadata"]
                raise _conflict("StillInUse", f"fromUid: is SharedDataset {meta['namespace']}/{meta['name']}, alive")

    async def _count(self, from_uid: str, dataset: SharedDataset) -> int:
        """How many versions there are, all fit for the dataset. Raises Refused."""
        parts = self._parts
        storages = {from_uid, *parts.custody.storages(from_uid)}
        count = 0
        for summary in parts.knowledge.versions(from_uid) or parts.knowledge.versions(dataset.metadata.uid):
            found = [await parts.versions.manifest(storage, summary.digest) for storage in storages]
            for manifest in found:
                if manifest is not None:
                    check_contract(dataset, manifest)
                    count += 1
        if not count:
            raise Refused(HTTPStatus.NOT_FOUND, "VersionMissing", "fromUid: the store holds no version under this uid")
        return count


def _conflict(reason: str, message: str) -> Refused:
    return Refused(HTTPStatus.CONFLICT, reason, message)
