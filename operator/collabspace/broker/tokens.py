"""Whose token it is. Junk is found here by its signature; only what the cluster has signed reaches the API server."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from collabspace.api import names
from collabspace.broker import metrics
from collabspace.broker.keys import SigningKeys
from collabspace.broker.refusal import Undecided, too_many
from collabspace.kube.client import KubeClient, KubeError, Object

# Three parts in base64url. A cluster's header names an algorithm and a key: 100 characters.
SHAPE = re.compile(r"[A-Za-z0-9_-]{1,512}\.[A-Za-z0-9_-]{1,8192}\.[A-Za-z0-9_-]{1,1024}")
POSITIVE_SECONDS = 10.0
NEGATIVE_SECONDS = 10.0
CACHE_ENTRIES = 4096
MAX_REVIEWS = 16
MAX_REVIEWS_OF_ONE = 4
MAX_WAITING_OF_ONE = 256
EXTRA = "authentication.kubernetes.io"


@dataclass(frozen=True)
class Caller:
    """Who calls, as the API server says. `pod_*` and `node` are set for tokens that are bound to a pod."""

    namespace: str
    account: str
    pod: str | None = None
    pod_uid: str | None = None
    node: str | None = None
    token_id: str | None = None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What a session is bound to: it outlives one token of the same pod or account, not another pod's."""
        return self.namespace, self.account, self.pod_uid


@dataclass
class _Share:
    """How many reviews one namespace may cause at a time, and how many of its callers wait for theirs."""

    reviews: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_REVIEWS_OF_ONE))
    waiting: int = 0


class Tokens:
    """Turns a token into its Caller. Yes and no are remembered for ten seconds, under the token's hash only.

    They are remembered apart, and every namespace has its own share of reviews: junk pushes no honest caller out, and
    one namespace with many tokens is not another's delay.
    """

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._keys = SigningKeys(kube.access, kube.user_agent)
        self._accepted: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._reviews = asyncio.Semaphore(MAX_REVIEWS)
        self._shares: WeakValueDictionary[str, _Share] = WeakValueDictionary()

    async def caller(self, token: str) -> Caller | None:
        """None: not a token for us, or not valid any more. Raises Undecided when nobody could say, Refused for too
        many new tokens of one namespace at once."""
        if not SHAPE.fullmatch(token):
            metrics.REVIEWS.labels(metrics.REFUSED_LOCALLY).inc()
            return None
        name = hashlib.sha256(token.encode()).digest()
        for known in (self._accepted, self._refused):
            remembered = known.get(name)
            if remembered is not None and time.monotonic() < remembered[0]:
                return remembered[1]
        claims = await self._keys.claims(token)
        if claims is None:
            metrics.REVIEWS.labels(metrics.REFUSED_LOCALLY).inc()
            return self._remember(name, None, NEGATIVE_SECONDS)
        async with self._turn(str(claims["sub"])):
            caller = await self._review(token)
        metrics.REVIEWS.labels(metrics.REFUSED if caller is None else metrics.ACCEPTED).inc()
        left = float(claims["exp"]) - time.time()
        return self._remember(name, caller, NEGATIVE_SECONDS if caller is None else min(POSITIVE_SECONDS, max(left, 0)))

    @asynccontextmanager
    async def _turn(self, subject: str) -> AsyncIterator[None]:
        """Waits for a review to be free, for all and for the namespace that the signed subject names."""
        namespace = subject.rpartition(":")[0]
        share = self._shares.get(namespace)
        if share is None:
            share = self._shares[namespace] = _Share()
        if share.waiting >= MAX_WAITING_OF_ONE:
            raise too_many("this namespace shows too many new tokens at once; slow down")
        share.waiting += 1
        try:
            async with share.reviews, self._reviews:
                yield
        finally:
            share.waiting -= 1

    def _remember(self, name: bytes, caller: Caller | None, seconds: float) -> Caller | None:
        known = self._refused if caller is None else self._accepted
        known[name] = (time.monotonic() + seconds, caller)
        known.move_to_end(name)
        while len(known) > CACHE_ENTRIES:
            known.popitem(last=False)
        return caller

    async def _review(self, token: str) -> Caller | None:
        body: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [names.BROKER_AUDIENCE]},
        }
        try:
            answer = await self._kube.create("/apis/authentication.k8s.io/v1/tokenreviews", body)
        except KubeError as error:
            metrics.REVIEWS.labels(metrics.UNDECIDED).inc()
            raise Undecided("ClusterUnavailable", "the API server did not judge the token; try again soon") from error
        return _caller(answer.get("status") or {})


def _caller(status: Object) -> Caller | None:
    if not status.get("authenticated") or names.BROKER_AUDIENCE not in (status.get("audiences") or []):
        return None
    user = status.get("user") or {}
    parts = str(user.get("username", "")).split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        return None
    extra = user.get("extra") or {}

    def first(name: str) -> str | None:
        values = extra.get(f"{EXTRA}/{name}") or []
        return str(values[0]) if values else None

    return Caller(
        namespace=parts[2],
        account=parts[3],
        pod=first("pod-name"),
        pod_uid=first("pod-uid"),
        node=first("node-name"),
        token_id=first("credential-id"),
    )
