"""The ledger as people read it, and the two calls of the operator: the feed of changes and the usage of attempts."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collabspace.api import names, timestamp
from collabspace.broker.feed import Knowledge
from collabspace.broker.gate import Gate, invalid, read_body, whole_number
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import MAX_PAGE, USED, Entry, Ledger, time_text
from collabspace.broker.live import OBJECT_NAME, Cluster
from collabspace.broker.outcomes import task_and_attempt
from collabspace.broker.tokens import Caller
from collabspace.client.protocol import ChainVerdict, Decision, LedgerVerdict, Usage
from collabspace.kube import clock

MAX_WAIT_SECONDS = 60
MAX_SEQUENCE = 2**62
MAX_UID = 64
MAX_SECONDS = 2**40


class RecordRoutes:
    """The calls on /v1/ledger, /v1/ledger/verify, /v1/feed and /v1/usage/{task uid}/{n}."""

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
        after = whole_number(request, "after", None, MAX_SEQUENCE)
        since = _since(request)
        if after is None:
            page = await self._journal.read(lambda ledger: ledger.page(caller.namespace, before, limit, dataset))
        else:
            page = await self._journal.read(lambda ledger: ledger.onward(caller.namespace, after, limit, since))
        return Response(page.model_dump_json(by_alias=True), media_type="application/json")

    async def verify(self, request: Request) -> Response:
        """Every chain of the caller's datasets and the one of decisions, against the heads in the datasets' status."""
        caller = await self._gate.caller(request, names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT)
        chains = await self._journal.read(lambda ledger: ledger.chains_of(caller.namespace))
        heads = {chain: await self._mirrored(chain, caller.namespace, name) for chain, name in chains.items() if name}

        def check(ledger: Ledger) -> list[ChainVerdict]:
            return [ledger.verify(chain, heads.get(chain, ())) for chain in sorted(chains)]

        verdicts = await self._journal.read(check)
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
        caller = await self._gate.operator(request)
        if len(task_uid) > MAX_UID:
            raise invalid("task uid: longer than any uid")
        used = await read_body(request, Usage)
        entry = _used(caller, task_uid, attempt, used)
        await self._journal.run(lambda: self._journal.ledger.keep_usage(entry, clock.now()))
        return JSONResponse({"ok": True})


def _since(request: Request) -> str:
    """The query parameter `since` as the ledger writes times; empty when it is not given. Raises Refused."""
    text = request.query_params.get("since")
    if text is None:
        return ""
    try:
        return time_text(timestamp.parse(text))
    except (ValueError, OverflowError):
        raise invalid("since: must be a time such as 2026-01-31T00:00:00Z") from None


def _used(caller: Caller, task_uid: str, attempt: int, used: Usage) -> Entry:
    """The record of what an attempt used. Raises Refused."""
    for field, value, longest in (("namespace", used.namespace, 63), ("task", used.task, 253)):
        if len(value) > longest or not OBJECT_NAME.fullmatch(value):
            raise invalid(f"Usage.{field}: must be the name of a Kubernetes object")
    if max(used.gpu_seconds, used.cpu_seconds) > MAX_SECONDS or not used.outcome:
        raise invalid(f"Usage: seconds must be at most {MAX_SECONDS}, and outcome must not be empty")
    return Entry(
        event=USED,
        decision=Decision.ALLOWED,
        reason=used.outcome,
        namespace=used.namespace,
        account=caller.account,
        task=used.task,
        task_uid=task_uid,
        attempt=attempt,
        gpu_seconds=used.gpu_seconds,
        cpu_seconds=used.cpu_seconds,
    )
