"""Does the store refuse what it must refuse? Tried on the store itself, from outside, at start and every day.

The broker is the only door to data as long as the store behind it has no other. What could not be tried counts as not
refused: nothing is proven by silence.
"""

import asyncio
import logging
import os
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import urllib3

from collabspace.broker import metrics
from collabspace.broker.s3_bucket import CONNECT_SECONDS, READ_SECONDS
from collabspace.broker.s3_store import PROBES, S3Store
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
DAY_SECONDS = 24 * 3600.0
AGAIN_SECONDS = 600.0
URL_SECONDS = 60
EXPIRY_SECONDS = 10.0
POLL_SECONDS = 0.25
REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
INSIDE, BESIDE, WRITTEN = b"collabspace: inside", b"collabspace: beside", b"collabspace: written"


class Check(StrEnum):
    """What must hold, for metrics and messages."""

    OWN_URL = "SignedReadAllowed"
    UNSIGNED_READ = "UnsignedReadRefused"
    UNSIGNED_LIST = "UnsignedListRefused"
    OTHER_OBJECT = "OtherObjectRefused"
    LIST = "ListByReadLinkRefused"
    WRITE = "WriteByReadLinkRefused"
    DELETE = "DeleteByReadLinkRefused"
    PROLONGED = "ProlongedLinkRefused"
    EXPIRED = "ExpiredLinkRefused"


class Enforcement:
    """The latest verdict: `failed` says of each check that does not hold what the store did instead."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._asked = float("-inf")
        self._visit: asyncio.Task[None] | None = None
        self.failed: dict[Check, str] = dict.fromkeys(Check, "not tried yet")

    @property
    def proven(self) -> bool:
        return not self.failed

    @property
    def detail(self) -> str:
        """One line for people."""
        return "; ".join(f"{check.value}: {what}" for check, what in self.failed.items()) or "every check holds"

    def read_url(self, owner: str, sha256: str) -> str:
        """A link that opens this one blob for a minute."""
        return self._store.read_url(owner, sha256, URL_SECONDS)

    async def keep_up(self) -> None:
        """Begins the visit that is due once a day, or sooner after one that proved nothing; does not wait for it."""
        due = time.monotonic() - self._asked > (DAY_SECONDS if self.proven else AGAIN_SECONDS)
        if due and (self._visit is None or self._visit.done()):
            self._visit = asyncio.create_task(asyncio.to_thread(self._daily))

    def _daily(self) -> None:
        self.probe()
        try:
            self._store.discard_partial()
        except OSError as error:
            say(logger, "leftovers-stay", logging.WARNING, cause=str(error))

    def probe(self) -> None:
        """Blocks for seconds. Never raises what a store can cause."""
        before, self._asked = self.proven, time.monotonic()
        try:
            self.failed = _Probe(self._store).run()
        except Exception as error:  # a probe that cannot be made proves nothing, whatever the cause
            self.failed = dict.fromkeys(Check, f"could not be tried ({type(error).__name__})")
        for check in Check:
            metrics.ENFORCEMENT.labels(check.value).set(check not in self.failed)
        if not self.proven:
            say(logger, "enforcement-not-proven", logging.WARNING, detail=self.detail)
        elif not before:
            say(logger, "enforcement-proven")


class _Probe:
    """Two objects of our own, and what a stranger, or a reader who wants more than was given, could try on them."""

    def __init__(self, store: S3Store) -> None:
        self._bucket = store.bucket
        folder = f"{PROBES}/{secrets.token_hex(8)}"
        self._inside, self._beside = f"{folder}/inside", f"{folder}/beside"
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        trusted = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
        self._http = urllib3.PoolManager(timeout=timeout, retries=False, ssl_context=trusted)

    def run(self) -> dict[Check, str]:
        """Raises OSError when there is nothing to try anything on."""
        try:
            self._bucket.put(self._inside, INSIDE)
            self._bucket.put(self._beside, BESIDE)
            found = {check: self._tried(attempt) for check, attempt in self._checks().items()}
            found[Check.WRITE] = found[Check.WRITE] or self._changed()
            return {check: what for check, what in found.items() if what is not None}
        finally:
            self._http.clear()
            for key in (self._inside, self._beside):
                self._bucket.delete(key)

    def _checks(self) -> dict[Check, Callable[[], str | None]]:
        """In the order of their harm: what deletes comes last but for what waits."""
        url = self._bucket.read_url(self._inside, URL_SECONDS)
        bare = urlunsplit(urlsplit(url)._replace(query=""))
        return {
            Check.OWN_URL: lambda: self._opens(url),
            Check.UNSIGNED_READ: lambda: self._refuses("GET", bare),
            Check.UNSIGNED_LIST: lambda: self._refuses("GET", self._list_of(bare)),
            Check.OTHER_OBJECT: lambda: self._refuses("GET", self._moved(url)),
            Check.LIST: lambda: self._refuses("GET", self._list_of(url)),
            Check.PROLONGED: lambda: self._refuses("GET", _prolonged(url)),
            Check.WRITE: lambda: self._refuses("PUT", url, WRITTEN),
            Check.DELETE: lambda: self._refuses("DELETE", url),
            Check.EXPIRED: self._expires,
        }

    def _tried(self, attempt: Callable[[], str | None]) -> str | None:
        try:
            return attempt()
        except urllib3.exceptions.HTTPError as error:
            return f"could not be tried ({type(error).__name__})"

    def _ask(self, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        answer = self._http.request(method, url, body=body, redirect=False, preload_content=False)
        try:
            return answer.status, answer.read(len(INSIDE) + 1)
        finally:
            answer.close()

    def _opens(self, url: str) -> str | None:
        status, content = self._ask("GET", url)
        return None if (status, content) == (HTTPStatus.OK, INSIDE) else f"answered {status} to the broker's own link"

    def _refuses(self, method: str, url: str, body: bytes | None = None) -> str | None:
        status, _ = self._ask(method, url, body)
        return None if status in REFUSED else f"answered {status} instead of refusing"

    def _expires(self) -> str | None:
        """A link for a second must stop to open within ten: clocks differ a little."""
        url, begun = self._bucket.read_url(self._inside, 1), time.monotonic()
        while (said := self._refuses("GET", url)) is not None and time.monotonic() - begun < EXPIRY_SECONDS:
            threading.Event().wait(POLL_SECONDS)
        return said

    def _changed(self) -> str | None:
        found = self._bucket.read(self._inside, 1 << 10)
        return None if found is not None and found[0] == INSIDE else "refused, and the object changed all the same"

    def _moved(self, url: str) -> str:
        """The same link, for the other object."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(path=self._place(parts.path) + quote(self._bucket.key(self._beside))))

    def _list_of(self, url: str) -> str:
        """The same link, for the bucket."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(path=self._place(parts.path), query=f"{parts.query}&list-type=2".lstrip("&")))

    def _place(self, path: str) -> str:
        """The path of the bucket, however it is addressed."""
        return path.removesuffix(quote(self._bucket.key(self._inside)))


def _prolonged(url: str) -> str:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), "X-Amz-Expires": str(2 * URL_SECONDS)}
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))
