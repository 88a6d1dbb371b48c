"""The ledger as people read it, and the two calls of the operator: the feed of changes and the usage of attempts."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collabspace.api import names
from collabspace.broker.feed import Knowledge
from collabspace.broker.gate import Gate, invalid, read_body, whole_number
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import MAX_PAGE, Ledger, LedgerUnavailableError, time_text
from collabspace.broker.live import OBJECT_NAME, Cluster
from collabspace.broker.outcomes import task_and_attempt
from collabspace.broker.refusal import Undecided
from collabspace.client.protocol import ChainVerdict, LedgerVerdict, Usage
from collabspace.kube import clock

T = TypeVar("T")
MAX_WAIT_SECONDS = 60
MAX_SEQUENCE = 2**62
MAX_UID = 64


class RecordRoutes:
    """GET /v1/ledger, GET /v1/ledger/verify, GET /v1/feed, PUT /v1/usage/{task uid}/{n}."""

    def __init__(self, gate: Gate, cluster: Cluster, journal: Journal, knowledge: Knowledge) -> None:
        self._gate = gate
        self._cluster = cluster
        self._journal = journal
        self._knowledge = knowledge

    async def page(self, request: Request) -> Response:
        caller = await self._gate.caller(request, names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT)
        before = whole_number(request, "before", None, MAX_SEQUENCE)
        limit = whole_number(request, "limit", 100, MAX_PAGE) or 1
        dataset = request.query_params.get("dataset")
        if dataset is not None and not OBJECT_NAME.fullmatch(dataset):
            raise invalid("dataset: must be the name of a SharedDataset of this namespace")
        page = await self._read(lambda ledger: ledger.page(caller.namespace, before, limit, dataset))
        return Response(page.model_dump_json(by_alias=True), media_type="application/json")

    async def verify(self, request: Request) -> Response:
        """Every chain of the caller's datasets and the one of decisions, against the heads in the datasets' status."""
        caller = await self._gate.caller(request, names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT)
        chains = await self._read(lambda ledger: ledger.chains_of(caller.namespace))
        heads = {chain: await self._mirrored(chain, caller.namespace, name) for chain, name in chains.items() if name}

        def check(ledger: Ledger) -> list[ChainVerdict]:
            return [ledger.verify(chain, heads.get(chain, ())) for chain in sorted(chains)]

        verdicts = await self._read(check)
        verdict = LedgerVerdict(
            ok=all(chain.ok for chain in verdicts), records=sum(chain.records for chain in verdicts), chains=verdicts
        )
        return Response(verdict.model_dump_json(by_alias=True), media_type="application/json")

    async def _mirrored(self, uid: str, namespace: str, name: str) -> list[str]:
        """The head of the chain as the dataset's own status shows it, if there is one."""
        dataset = await self._cluster.dataset(namespace, name)
        usage = None if dataset is None or dataset.metadata.uid != uid else dataset.status.usage
        return [usage.ledger_head] if usage is not None and usage.ledger_head else []

    async def feed(self, request: Request) -> Response:
        await self._gate.operator(request)
        wait = whole_number(request, "wait", 0, MAX_WAIT_SECONDS) or 0
        feed = await self._knowledge.feed(request.query_params.get("cursor", ""), wait)
        return Response(feed.model_dump_json(by_alias=True), media_type="application/json")

    async def usage(self, request: Request) -> Response:
        task_uid, attempt = task_and_attempt(request)
        await self._gate.operator(request)
        if len(task_uid) > MAX_UID:
            raise invalid("task uid: longer than any uid")
        used = await read_body(request, Usage)
        values = used.model_dump() | {"task_uid": task_uid, "attempt": attempt, "time": time_text(clock.now())}
        await self._journal.run(lambda: self._journal.ledger.keep_usage(**values))
        return JSONResponse({"ok": True})

    async def _read(self, call: Callable[[Ledger], T]) -> T:
        """Reading goes on beside the writer's thread: a long check delays no decision. Raises Undecided."""
        try:
            return await asyncio.to_thread(call, self._journal.ledger)
        except LedgerUnavailableError as error:
            raise Undecided("LedgerUnavailable", "the ledger cannot be read now; try again soon") from error
