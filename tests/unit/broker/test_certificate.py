"""What a client sees of the broker's certificate: none of ours before it is there, and always the newest that fits."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509

from collabspace.broker.certificate import Certificate
from collabspace.broker.settings import NotYetError
from collabspace.local.certificates import LOOPBACK, Authority, Subject

Pair = tuple[Path, Path]


@pytest.fixture
def files(tmp_path: Path) -> Pair:
    return tmp_path / "tls.crt", tmp_path / "tls.key"


@pytest.fixture
def put(files: Pair, tmp_path: Path) -> Callable[[str], None]:
    """A pair for this name lies in the files, as a renewed Secret does."""
    authority = Authority(tmp_path / "authority", "broker")

    def issue(name: str) -> None:
        made = authority.issue(Subject(name, hosts=LOOPBACK))
        files[0].write_bytes(made.cert.read_bytes())
        files[1].write_bytes(made.key.read_bytes())

    return issue


@pytest.fixture
def certificate(files: Pair) -> Certificate:
    return Certificate(*files)


@pytest.fixture
async def seen(certificate: Certificate) -> AsyncIterator[Callable[[], object]]:
    """The name in the certificate that a new connection is shown."""
    look = ssl.create_default_context()
    look.check_hostname, look.verify_mode = False, ssl.CERT_NONE

    async def shown() -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=look)
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(raw).subject.rfc4514_string()

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.context)
    port = server.sockets[0].getsockname()[1]
    yield shown
    server.close()
    await server.wait_closed()


async def test_a_stand_in_is_shown_until_the_files_are_there_and_the_newest_after_that(
    certificate: Certificate, seen: Callable, put: Callable[[str], None], files: Pair
) -> None:
    with pytest.raises(NotYetError, match="COLLABSPACE_BROKER_TLS_CERT: the file cannot be read"):
        certificate.read()
    assert await seen() == "CN=collabspace-broker-not-ready"
    put("first")
    certificate.read()
    assert await seen() == "CN=first"
    put("second")
    certificate.read()
    assert await seen() == "CN=second"
    files[1].write_text("no key")
    with pytest.raises(NotYetError, match="no certificate in PEM form with its key"):
        certificate.read()
    assert await seen() == "CN=second"


def test_a_key_of_another_certificate_is_told(
    certificate: Certificate, put: Callable[[str], None], files: Pair
) -> None:
    put("first")
    key = files[1].read_bytes()
    put("second")
    files[1].write_bytes(key)
    with pytest.raises(NotYetError, match="put a pair there that belongs together"):
        certificate.read()
