"""One conversation with the broker: a token for each request, and patience when the broker is away."""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from collabspace.client.errors import AccessRefused, BrokerError, BrokerUnavailable
from collabspace.client.protocol import Refusal

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
PATIENCE_SECONDS = 600.0
FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 20.0
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
REDIRECT_STATUS = HTTPStatus.TEMPORARY_REDIRECT
RETRIED_STATUS = frozenset({408, 425, 429})
# It would log every address, and a link opens data to whoever reads it.
logging.getLogger("httpx").setLevel(logging.WARNING)


class _Away(Exception):
    """The request may succeed later without any change."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


class Transport:
    """Requests that are safe to repeat, repeated with growing pauses until `patience` seconds have brought no progress.

    `token` is asked anew for every request, since kubelets rotate it. Setting `stop` ends all waiting at once: a
    trainer that was told to leave does not spend its grace on retries.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        ca: str | None = None,
        patience: float = PATIENCE_SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self._token = token
        self._patience = patience
        self._stop = stop or threading.Event()
        context = ssl.create_default_context(cadata=ca) if ca else ssl.create_default_context()
        # trust_env off: the token goes to the address that was given, never to a proxy named by the environment.
        self._http = httpx.Client(base_url=url, verify=context, timeout=TIMEOUT, trust_env=False)
        self._ca = ca
        self._links: httpx.Client | None = None

    def close(self) -> None:
        self._http.close()
        if self._links is not None:
            self._links.close()

    def json(self, answer: type[M], method: str, path: str, **options: Any) -> M:
        """One request whose answer is `answer`. Raises BrokerError, AccessRefused, BrokerUnavailable."""
        return self.patiently(lambda: self.once(answer, method, path, **options))

    def once(self, answer: type[M], method: str, path: str, **options: Any) -> M:
        """The same without patience, as a part of something that `patiently` repeats."""
        with self.open(method, path, **options) as response:
            return _parse(answer, response.read())

    def patiently(self, once: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Calls `once` until it returns. The clock of patience starts again whenever `progress()` has grown."""
        delay = FIRST_DELAY_SECONDS
        reached, deadline = progress(), time.monotonic() + self._patience
        while True:
            try:
                return once()
            except _Away as away:
                if progress() > reached:
                    reached, deadline, delay = progress(), time.monotonic() + self._patience, FIRST_DELAY_SECONDS
                pause = max(away.after, delay * random.uniform(0.5, 1.0))  # noqa: S311 spreads callers, hides nothing
                if time.monotonic() + pause > deadline or self._stop.wait(pause):
                    raise BrokerUnavailable("BrokerUnavailable", f"no useful answer from the broker: {away}") from away
                delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def again(self, why: str) -> NoReturn:
        """Ends one try inside `patiently`: the next one may succeed."""
        raise _Away(why)

    def try_once(self, method: str, path: str, body: BaseModel | None = None) -> bool:
        """A courtesy that nobody waits for: whether the broker took it."""
        options = {} if body is None else {"json": body.model_dump(mode="json", by_alias=True)}
        try:
            with self.open(method, path, **options):
                return True
        except (_Away, BrokerError):
            return False

    @contextmanager
    def open(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Iterator[httpx.Response]:
        """A streamed answer below 400. To be used inside `patiently`, which alone understands what else it raises.

        A broker whose store gives out links answers with one, and then the answer is the store's.
        """
        sent = {"Authorization": f"Bearer {self._token()}", **(headers or {})}
        try:
            with self._http.stream(method, path, headers=sent, **options) as response:
                if response.status_code >= 400:
                    _raise(response)
                link = response.headers.get("Location") if response.status_code == REDIRECT_STATUS else None
                if link is None:
                    yield response
                    return
            with self._follow(link, headers or {}) as response:
                yield response
        except httpx.InvalidURL:
            # Without its cause, which may quote the link.
            raise BrokerError(
                "UnknownAnswer", "the broker's link is no address; client and broker differ in release"
            ) from None
        except httpx.TransportError as error:
            raise _Away(f"{type(error).__name__} on {method} {path.split('?')[0]}") from error

    @contextmanager
    def _follow(self, link: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """What the store has behind the link. The token stays here; the link, which opens data, is in no message."""
        url = httpx.URL(link)
        if url.scheme not in ("http", "https") or not url.host:
            raise httpx.InvalidURL("no address of a store")
        if self._links is None:
            self._links = httpx.Client(verify=_context_of_stores(self._ca), timeout=TIMEOUT, trust_env=False)
        with self._links.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
            if response.status_code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                yield response
            elif response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                raise BrokerError("BlobLost", "the store does not hold what the broker's link names; tell its admin")
            else:
                # A link that is over, or a store that is busy: the broker gives another one, if it still may.
                raise _Away(f"{response.status_code} from the store")


def _context_of_stores(ca: str | None) -> ssl.SSLContext:
    """Stores have certificates of public authorities, or of the one that the broker has."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(cadata=ca)
    return context


def _raise(response: httpx.Response) -> None:
    refusal = _refusal(response)
    if response.status_code in RETRIED_STATUS or response.status_code in (500, 502, 503, 504):
        raise _Away(f"{response.status_code} {refusal.reason}", _seconds(response.headers.get("Retry-After")))
    kind = AccessRefused if response.status_code == 403 else BrokerError
    raise kind(refusal.reason, refusal.message, response.status_code)


def _refusal(response: httpx.Response) -> Refusal:
    try:
        return Refusal.model_validate_json(response.read())
    except ValidationError:
        return Refusal(reason="Unexplained", message=f"status {response.status_code} without a readable reason")


def _parse(answer: type[M], body: bytes) -> M:
    try:
        return answer.model_validate_json(body)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors()[:5])
        raise BrokerError(
            "UnknownAnswer", f"the answer is no {answer.__name__} ({fields}); client and broker differ in release"
        ) from error


def _seconds(header: str | None) -> float:
    try:
        return min(max(float(header or 0), 0.0), 60.0)
    except ValueError:
        return 0.0
