"""Certificates of the embedded cluster: three authorities, so that a credential for one door opens no other.

`cluster` signs everyone the API server knows and every server's certificate; `etcd` signs the two ends of the
database's connection; `kubelet` signs the API server's credential for a node's log endpoint, and nothing else.
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collabspace.api import names
from collabspace.kube import clock
from collabspace.local.errors import LocalClusterError
from collabspace.local.files import write_whole

AUTHORITY_LIFETIME: Final = dt.timedelta(days=3650)
LIFETIME: Final = dt.timedelta(days=365)
RENEW_BEFORE: Final = dt.timedelta(days=30)
LOOPBACK: Final = ("localhost", "127.0.0.1")
SERVICE_ACCOUNT_GROUPS: Final = ("system:serviceaccounts", f"system:serviceaccounts:{names.SYSTEM_NAMESPACE}")


@dataclass(frozen=True)
class Credential:
    """A certificate and its private key, as PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Subject:
    """Who a certificate speaks for: user name and groups in the API server's eyes.

    With `hosts` it is a server's and only serves, unless `peer` lets it call as well, as etcd does to itself.
    """

    name: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    peer: bool = False


class Authority:
    """A certificate authority in a folder; issues into the same folder and keeps what is still good."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._credential = Credential(folder / f"{name}-ca.crt", folder / f"{name}-ca.key")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.file.exists():
            _make_authority(self._credential, f"collabspace-{name}-ca")

    @property
    def file(self) -> Path:
        """The certificate by which others know this authority."""
        return self._credential.cert

    def issue(self, subject: Subject, file_name: str | None = None) -> Credential:
        """A certificate for the subject, kept until 30 days before it ends or its name or groups change.

        Raises LocalClusterError when the name is longer than a certificate can say.
        """
        stem = quote(file_name or subject.name, safe="@+ ")  # no colon: it separates the files named by KUBECONFIG
        credential = Credential(self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        if not self._is_good(credential, subject):
            key = ec.generate_private_key(ec.SECP256R1())
            _write_private(credential.key, key)
            credential.cert.write_bytes(self._sign(subject, key.public_key()).public_bytes(_PEM))
        return credential

    def _is_good(self, credential: Credential, subject: Subject) -> bool:
        if not (credential.cert.exists() and credential.key.exists()):
            return False
        cert = x509.load_pem_x509_certificate(credential.cert.read_bytes())
        return (
            cert.subject == _distinguished(subject)
            and cert.not_valid_after_utc - clock.now() > RENEW_BEFORE
            and cert.issuer == self._certificate().subject
        )

    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.file.read_bytes())

    def _sign(self, subject: Subject, public: ec.EllipticCurvePublicKey) -> x509.Certificate:
        authority = self._certificate()
        key = serialization.load_pem_private_key(self._credential.key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 we wrote it
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] if subject.hosts else []
        if subject.peer or not subject.hosts:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        builder = _builder(_distinguished(subject), authority.subject, public, LIFETIME)
        if subject.hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(h) for h in subject.hosts]), False)
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )


def signing_key(folder: Path) -> Credential:
    """The key pair of service-account tokens; `cert` is the bare public key."""
    pair = Credential(folder / "service-account.pub", folder / "service-account.key")
    if not pair.cert.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_private(pair.key, key)
        public = key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        pair.cert.write_bytes(public)
    return pair


def service_account(account: str) -> Subject:
    """The identity that a pod of this account in our namespace would have, groups included."""
    return Subject(f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{account}", SERVICE_ACCOUNT_GROUPS)


def write_kubeconfig(
    path: Path, server: str, authority: Path, credential: Credential, *, context: str, namespace: str = "default"
) -> Path:
    """A kubeconfig that names its certificate files, so that a renewed certificate is seen without a new one."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [
            {"name": context, "user": {"client-certificate": str(credential.cert), "client-key": str(credential.key)}}
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": namespace}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return write_whole(path, yaml.safe_dump(config, sort_keys=False))


_PEM: Final = serialization.Encoding.PEM


def _make_authority(credential: Credential, common_name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _distinguished(Subject(common_name))
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_private(credential.key, key)
    credential.cert.write_bytes(certificate.public_bytes(_PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    begin = clock.now() - dt.timedelta(minutes=5)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _distinguished(subject: Subject) -> x509.Name:
    try:
        parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
        return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])
    except ValueError as error:
        raise LocalClusterError(
            f"no certificate for {subject.name!r}: {error}; use names of 1 to 64 characters"
        ) from error


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(pem)
