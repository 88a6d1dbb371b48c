"""The certificate of the broker's port: read again when it was renewed, and stood in for while it is missing.

What stands in was signed by nobody, so that probes, which look at no certificate, are answered and no client is.
"""

import asyncio
import datetime as dt
import logging
import os
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collabspace.broker.settings import PREFIX, NotYetError
from collabspace.kube import clock
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
LOOK_SECONDS = 60.0
STAND_IN_LIFE = dt.timedelta(days=1)


class Certificate:
    """Two PEM files, and the context to serve with, which shows each new connection what was read last."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._files = (cert, key)
        self._current: ssl.SSLContext | None = None
        self._stand_in: ssl.SSLContext | None = None
        self._read: tuple[bytes, bytes] | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.sni_callback = self._choose

    def read(self) -> None:
        """Takes the files as they are now. Raises NotYetError, and goes on with what there was."""
        content = _contents(*self._files)
        if content == self._read:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(*self._files)
        except OSError as error:  # an SSLError is one
            why = getattr(error, "reason", None) or type(error).__name__
            raise NotYetError(
                f"{PREFIX}BROKER_TLS_CERT: the file and that of {PREFIX}BROKER_TLS_KEY are no certificate in PEM form "
                f"with its key ({why}); put a pair there that belongs together"
            ) from error
        self._current, self._read = context, content

    async def follow(self) -> None:
        """Looks for a renewed pair for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._read is None:
                continue
            before = self._read
            try:
                await asyncio.to_thread(self.read)
            except NotYetError as error:
                say(logger, "certificate-not-renewed", logging.WARNING, cause=str(error))
            if self._read != before:
                say(logger, "certificate-renewed")

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._current is None and self._stand_in is None:
            self._stand_in = _made_up()
        # The files may have been read meanwhile, in another thread.
        connection.context = self._current or self._stand_in or self.context


def _contents(cert: Path, key: Path) -> tuple[bytes, bytes]:
    found = []
    for path, name in ((cert, "CERT"), (key, "KEY")):
        try:
            found.append(path.read_bytes())
        except OSError as error:
            raise NotYetError(
                f"{PREFIX}BROKER_TLS_{name}: the file cannot be read ({error.strerror}); put a PEM file there, or give "
                "the path of one"
            ) from error
    return found[0], found[1]


def _made_up() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collabspace-broker-not-ready")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(clock.now()).not_valid_after(clock.now() + STAND_IN_LIFE)
    pem = serialization.Encoding.PEM
    text = builder.sign(key, hashes.SHA256()).public_bytes(pem) + key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # A context takes files alone.
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
    return context
