"""The operator's line to the broker: its feed, the usage of ended attempts, and aliases that are to be set."""

import asyncio
import datetime as dt
import logging
import ssl
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from collabspace.api import names, timestamp
from collabspace.api.dataset import DatasetUsage, Version, VersionSource
from collabspace.api.resource import ObjectMeta
from collabspace.client.protocol import AliasChange, AliasState, AttemptFeed, DatasetFeed, Feed, Refusal, Usage
from collabspace.controller.metrics import BROKER_CONNECTED
from collabspace.controller.world import World
from collabspace.core.observed import AliasRecord, AttemptRecord, DatasetRecord
from collabspace.core.outcome import printable
from collabspace.core.plan import Spent
from collabspace.core.selection_world import Answer, PromotionRequest
from collabspace.kube import clock
from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.watch import Backoff

WAIT_SECONDS = 30
CALL_SECONDS = 10
# The broker reads the whole model before an alias may stand for it.
PROMOTION_SECONDS = 300
# Reason of the 409 that says: the alias is not what it was to replace.
ALIAS_MOVED = "AliasMoved"
# Answers after which the same request may succeed by itself: it was too slow, or too much was asked at once.
UNDECIDED = frozenset({408, 429})
# Reason of the 404 and 405 of a broker of another release: it may be about to be replaced.
NO_SUCH_CALL = "NoSuchCall"
# Who asks was not believed. A token that was just replaced, or signing keys that were, explain a few such answers;
# so many, each to a new token and with the pauses between them most of a minute apart, are the broker's decision.
UNBELIEVED = frozenset({401, 403})
UNBELIEVED_TRIES = 7
# The broker's own words for it are the same for everything that it refuses.
UNBELIEVED_WORDS = "it does not believe that this is the operator; an admin looks into both logs and their settings"
TOKEN_SECONDS = 600
# With their jitter never more than half a minute.
TRUST_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 23.0)
MAX_FEED_BYTES = 256 << 20
MAX_SOURCES = 64
MAX_UNSENT = 10_000
log = logging.getLogger(__name__)


class BrokerError(Exception):
    """The broker could not be reached, refused, or said what is no answer of its protocol."""


class TokenSource:
    """Tokens of the operator's own account for the broker's audience, renewed at 80 % of their life."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._token = ""
        self._renew_at = dt.datetime.min.replace(tzinfo=dt.UTC)

    def forget(self) -> None:
        """The broker did not believe the token: the next one is new."""
        self._token = ""

    async def token(self) -> str:
        """Raises KubeError."""
        now = clock.now()
        if not self._token or now >= self._renew_at:
            answer = await self._client.create(
                f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/serviceaccounts/{names.OPERATOR_ACCOUNT}/token",
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"audiences": [names.BROKER_AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
                },
            )
            status = answer["status"]
            self._token = str(status["token"])
            self._renew_at = now + (timestamp.parse(status["expirationTimestamp"]) - now) * 0.8
        return self._token


class Broker:
    """Runs until cancelled; while the broker is away the operator goes on with what it knows.

    `permit` is asked before usage is sent and raises KubeError when this process may not; reading needs no leave.
    """

    def __init__(
        self, url: str, ca_file: Path | None, tokens: TokenSource, world: World, permit: Callable[[], object]
    ) -> None:
        self._url = url
        self._ca_file = ca_file
        self._tokens = tokens
        self._world = world
        self._permit = permit
        self._session: aiohttp.ClientSession | None = None
        self._unsent: OrderedDict[tuple[str, int], Usage] = OrderedDict()
        self._unbelieved: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._current = asyncio.Event()

    async def run(self) -> None:
        """Reads the feed and sends usage, for ever."""
        connector = aiohttp.TCPConnector(ssl=await self._trust() if self._url.startswith("https:") else False)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            self._session = session
            group.create_task(self._read(session))
            group.create_task(self._send(session))

    async def _trust(self) -> ssl.SSLContext:
        """By what the broker is known, once it is there: a file may come late, as the broker itself may."""
        pauses = Backoff(TRUST_PAUSES)
        while True:
            try:
                return await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
            except OSError as error:  # an SSLError is one
                pause = pauses.next()
                log.warning(
                    "COLLABSPACE_BROKER_CA_FILE: %s holds no certificates in PEM form (%s), so the broker cannot be "
                    "known; put them there; looking again in %.0f s",
                    self._ca_file,
                    error.strerror or type(error).__name__,
                    pause,
                )
                await asyncio.sleep(pause)

    async def told(self, seconds: float) -> None:
        """Returns when all is known that the broker tells, or when it has not told for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._current.wait()

    def spend(self, meta: ObjectMeta, spent: Spent) -> None:
        """The usage of a task's ended attempt goes to the ledger as soon as the broker takes it; twice is harmless."""
        self._unsent[meta.uid, spent.attempt] = Usage(
            namespace=meta.namespace,
            task=meta.name,
            gpu_seconds=spent.gpu_seconds,
            cpu_seconds=spent.cpu_seconds,
            outcome=spent.outcome,
        )
        if len(self._unsent) > MAX_UNSENT:
            self._unsent.popitem(last=False)
        self._wanted.set()

    async def promote(self, request: PromotionRequest) -> Answer:
        """Asks that the alias be set; asking again by the same key is harmless. Raises BrokerError or KubeError when
        the broker has not decided: ask again. A refusal is what no asking again changes."""
        if self._session is None:
            raise BrokerError("not connected yet")
        change = AliasChange(
            key=request.key, task_uid=request.task_uid, digest=request.digest, replaces=request.replaces
        )
        body = change.model_dump_json(by_alias=True, exclude_none=True).encode()
        path = f"/v1/aliases/{request.namespace}/{request.alias}"
        status, raw = await self._exchange(self._session, "PUT", path, PROMOTION_SECONDS, body)
        try:
            if status < 300:
                record = _alias(AliasState.model_validate_json(raw))
                self._world.tell_alias((request.namespace, request.alias), record)
                self._unbelieved.pop(request.key, None)
                return Answer(record)
            refusal = Refusal.model_validate_json(raw)
        except ValidationError as error:
            raise BrokerError(f"answered {status}, not understood") from error
        if status in UNDECIDED or status >= 500 or refusal.reason == NO_SUCH_CALL or self._may_believe(request, status):
            raise BrokerError(f"answered {status}")
        words = UNBELIEVED_WORDS if status in UNBELIEVED else printable(f"{refusal.reason}: {refusal.message}")[:300]
        return Answer(None, moved=refusal.reason == ALIAS_MOVED, words=words)

    def _may_believe(self, request: PromotionRequest, status: int) -> bool:
        """Whether the broker did not believe us, and another token may change that."""
        tries = self._unbelieved.pop(request.key, 0) + 1
        if status not in UNBELIEVED or tries >= UNBELIEVED_TRIES:
            return False
        self._unbelieved[request.key] = tries
        self._tokens.forget()
        return True

    async def _read(self, session: aiohttp.ClientSession) -> None:
        backoff, cursor = Backoff(), ""
        while True:
            try:
                feed = Feed.model_validate_json(
                    await self._call(session, "GET", f"/v1/feed?cursor={cursor}&wait={WAIT_SECONDS}", WAIT_SECONDS + 15)
                )
            except (BrokerError, KubeError, ValidationError) as error:
                self._connected(False)
                pause = backoff.next()
                log.warning("the broker's feed: %s; again in %.1f s", _words(error), pause)
                await asyncio.sleep(pause)
                continue
            backoff.reset()
            cursor = feed.cursor
            self._take(feed)
            self._connected(True)

    def _take(self, feed: Feed) -> None:
        first, self._world.broker_read = not self._world.broker_read, True
        now = asyncio.get_running_loop().time()
        self._world.beats.heard(now)
        for dataset in feed.datasets:
            self._world.tell(dataset.uid, _dataset(dataset))
        for attempt in feed.attempts:
            self._world.tell_attempt(attempt.task_uid, attempt.attempt, _attempt(attempt), now)
        for alias in feed.aliases:
            self._world.tell_alias((alias.namespace, alias.alias), _alias(alias))
        if feed.full:
            told = {(alias.namespace, alias.alias) for alias in feed.aliases}
            for key in self._world.aliases.keys() - told:
                self._world.tell_alias(key, None)
            named = {dataset.uid for dataset in feed.datasets}
            for uid in [uid for uid in self._world.records if uid not in named]:
                self._world.tell(uid, DatasetRecord())
        if first:
            self._world.wake_everything()

    def _connected(self, value: bool) -> None:
        self._world.broker_known = value
        if value:
            self._current.set()
        else:
            self._current.clear()
            self._world.beats.lost()
        BROKER_CONNECTED.set(value)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        backoff = Backoff()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._unsent:
                (uid, attempt), usage = next(iter(self._unsent.items()))
                try:
                    body = usage.model_dump_json(by_alias=True).encode()
                    await self._call(session, "PUT", f"/v1/usage/{uid}/{attempt}", CALL_SECONDS, body)
                    backoff.reset()
                except (BrokerError, KubeError) as error:
                    pause = backoff.next()
                    log.warning("usage of %s: %s; again in %.1f s", uid, _words(error), pause)
                    await asyncio.sleep(pause)
                    continue
                if self._unsent.get((uid, attempt)) is usage:
                    del self._unsent[uid, attempt]

    async def _call(
        self, session: aiohttp.ClientSession, method: str, path: str, seconds: float, body: bytes | None = None
    ) -> bytes:
        status, raw = await self._exchange(session, method, path, seconds, body)
        if status >= 300:
            raise BrokerError(f"answered {status}")
        return raw

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, path: str, seconds: float, body: bytes | None
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises BrokerError when there is none."""
        headers = {"Authorization": f"Bearer {await self._tokens.token()}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=5)
        if body is not None:
            self._permit()
        try:
            async with session.request(
                method, self._url + path, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > MAX_FEED_BYTES:
                        raise BrokerError(f"answered more than {MAX_FEED_BYTES} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokerError(f"unreachable ({type(error).__name__})") from error
        if response.status == 401:
            self._tokens.forget()
        return response.status, bytes(raw)


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {error}"[:300] if not isinstance(error, ValidationError) else "not understood"


def _dataset(feed: DatasetFeed) -> DatasetRecord:
    versions = tuple(
        Version(
            digest=each.digest,
            created_time=each.created_time,
            records=each.records,
            bytes=each.bytes,
            files=each.files,
            sources=[VersionSource(namespace=s.namespace, name=s.name, uid=s.uid) for s in each.sources[:MAX_SOURCES]],
        )
        for each in feed.versions
    )
    usage = DatasetUsage(
        reads=feed.reads,
        denials=feed.denials,
        bytes=feed.bytes_read,
        last_read_time=feed.last_read_time,
        ledger_head=feed.ledger_head,
    )
    return DatasetRecord(versions, usage)


def _alias(state: AliasState) -> AliasRecord:
    return AliasRecord(
        namespace_uid=state.namespace_uid,
        task_uid=state.task_uid,
        task=state.task,
        digest=state.digest,
        promoted_time=state.promoted_time,
        keys=tuple(state.keys),
    )


def _attempt(feed: AttemptFeed) -> AttemptRecord:
    return AttemptRecord(
        progress=feed.progress,
        end=feed.end,
        checkpoint_step=feed.checkpoint.step if feed.checkpoint is not None else None,
        result_digest=feed.result.digest if feed.result is not None else None,
        result_bytes=feed.result.bytes if feed.result is not None else 0,
    )
