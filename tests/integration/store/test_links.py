"""A client that is sent on to the store: it takes the bytes from there, and nothing that is the broker's goes along."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from collabspace.client.errors import BrokerError, BrokerUnavailable
from collabspace.client.transport import Transport

TOKEN = "zqxmarker-token"


@dataclass
class Place:
    """Answers everything with `status`, `headers` and `body`, but with `first` once; keeps what it was asked with."""

    status: int = 200
    first: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"bytes of the store"
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving() -> Iterator[Place]:
    place = Place()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place.asked.append(dict(self.headers.items()))
            self.send_response(place.first or place.status)
            place.first = None
            for name, value in place.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(place.body)))
            self.end_headers()
            self.wfile.write(place.body)

        def log_message(self, format: str, *values: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def places() -> Iterator[tuple[Place, Place]]:
    """A broker that sends on, and the store where it sends to."""
    with ExitStack() as stack:
        broker, store = stack.enter_context(serving()), stack.enter_context(serving())
        broker.status, broker.body = 307, b""
        broker.headers = {"Location": f"{store.url}/bucket/key?X-Amz-Signature=zqxmarker"}
        yield broker, store


def fetched(broker: Place, patience: float = 0.1, **headers: str) -> bytes:
    transport = Transport(broker.url, lambda: TOKEN, patience=patience)

    def once() -> bytes:
        with transport.open("GET", "/v1/sessions/1/files/a", headers) as response:
            return response.read()

    try:
        return transport.patiently(once)
    finally:
        transport.close()


def test_the_bytes_come_from_the_store_and_the_token_stays_with_the_broker(places: tuple[Place, Place]) -> None:
    broker, store = places
    assert fetched(broker, Range="bytes=3-") == b"bytes of the store"
    assert broker.asked[0]["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in store.asked[0] and store.asked[0]["Range"] == "bytes=3-"
    assert TOKEN not in str(store.asked)


def test_a_link_that_is_over_is_asked_for_again(places: tuple[Place, Place]) -> None:
    broker, store = places
    store.first = 403
    assert fetched(broker, patience=30) == b"bytes of the store"
    assert len(broker.asked) == 2


@pytest.mark.parametrize("link", ["file:///etc/passwd", "ftp://host/x", "//", "http://", "/v1/elsewhere", "http:x"])
def test_a_link_that_is_no_address_of_a_store_is_not_followed(places: tuple[Place, Place], link: str) -> None:
    broker, store = places
    broker.headers = {"Location": link}
    with pytest.raises(BrokerError) as refused:
        fetched(broker)
    assert refused.value.reason == "UnknownAnswer" and store.asked == []


def test_a_store_that_sends_on_is_not_followed(places: tuple[Place, Place]) -> None:
    broker, store = places
    store.status, store.headers = 302, {"Location": broker.url}
    with pytest.raises(BrokerUnavailable, match="302 from the store") as refused:
        fetched(broker)
    assert "zqxmarker" not in str(refused.value)


def test_an_object_that_the_store_lacks_is_said_at_once(places: tuple[Place, Place]) -> None:
    broker, store = places
    store.status = 404
    with pytest.raises(BrokerError) as refused:
        fetched(broker)
    assert (refused.value.reason, len(broker.asked)) == ("BlobLost", 1)
