"""Tokens that are none for the broker: refused by its own check, without asking the API server, and kept nowhere."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from broker_harness import BrokerProcess, World
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collabspace.api import names
from collabspace.local.certificates import signing_key
from collabspace.local.cluster import LocalCluster

OUTCOME = re.compile(r'collabspace_token_reviews_total\{outcome="([a-z-]+)"\} ([0-9.]+)')


@dataclass(frozen=True)
class Forge:
    """A real token of a reader, what it says, and the very key that the cluster signs with."""

    real: str
    claims: dict[str, Any]
    headers: dict[str, str]
    key: str
    public: bytes

    def signed(self, drop: str | None = None, **changes: Any) -> str:
        claims = {name: value for name, value in (self.claims | changes).items() if name != drop}
        return jwt.encode(claims, self.key, algorithm="ES256", headers=self.headers)

    def by_hand(self, header: str, body: str | None = None) -> str:
        """Any header at all, signed as HS256 with the cluster's public key for a secret."""
        text = f"{encoded(header)}.{encoded(body or json.dumps(self.claims))}"
        return f"{text}.{encoded(hmac.new(self.public, text.encode(), hashlib.sha256).digest())}"


def encoded(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).rstrip(b"=").decode()


def stranger() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def with_a_key_of_its_own(forge: Forge) -> str:
    key = stranger()
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return jwt.encode(forge.claims, key, algorithm="ES256", headers={"kid": "mine", "jwk": jwk})


FORGERIES: dict[str, Callable[[Forge], str | bytes]] = {
    "cut in the signature": lambda forge: forge.real[:-10],
    "cut before the signature": lambda forge: forge.real.rpartition(".")[0] + ".",
    "the first part alone": lambda forge: forge.real.partition(".")[0],
    "two tokens in one": lambda forge: f"{forge.real}.{forge.real}",
    "changed in a claim": lambda forge: ".".join(
        (forge.real.split(".")[0], encoded(json.dumps(forge.claims | {"sub": "x"})), forge.real.split(".")[2])
    ),
    "unsigned": lambda forge: jwt.encode(forge.claims, None, algorithm="none", headers=forge.headers),
    "unsigned, and says None": lambda forge: forge.by_hand(json.dumps(forge.headers | {"alg": "None"})),
    "signed with the public key as a secret": lambda forge: forge.by_hand(json.dumps(forge.headers | {"alg": "HS256"})),
    "signed by another issuer with our key's id": lambda forge: jwt.encode(
        forge.claims, stranger(), algorithm="ES256", headers=forge.headers
    ),
    "signed by a key that it brings along": with_a_key_of_its_own,
    "of another issuer": lambda forge: forge.signed(iss="https://elsewhere.example"),
    "for another audience": lambda forge: forge.signed(aud=["https://kubernetes.default.svc"]),
    "for no audience": lambda forge: forge.signed(drop="aud"),
    "expired": lambda forge: forge.signed(exp=int(time.time()) - 60),
    "without an end": lambda forge: forge.signed(drop="exp"),
    "not yet valid": lambda forge: forge.signed(nbf=int(time.time()) + 3600),
    "with an end that is no number": lambda forge: forge.signed(exp="tomorrow"),
    "without a subject": lambda forge: forge.signed(drop="sub"),
    "huge": lambda forge: forge.real + "A" * 30_000,
    "with a huge claim": lambda forge: forge.signed(note="n" * 20_000),
    "not UTF-8": lambda forge: b"\xff\xfe" + forge.real.encode()[2:],
    "in another alphabet": lambda forge: forge.real.replace(".", "\u3002").encode(),
    "with a nested header": lambda forge: forge.by_hand("[" * 300 + "]" * 300),
    "with a deeply nested header": lambda forge: forge.by_hand("[" * 3_000 + "]" * 3_000),
    "with a token in a token": lambda forge: forge.by_hand(json.dumps({"alg": "ES256", "kid": forge.real}), forge.real),
    "with a list for a key id": lambda forge: forge.by_hand('{"alg": "ES256", "kid": [1]}'),
    "with a path for a key id": lambda forge: forge.by_hand('{"alg": "ES256", "kid": "../../../dev/null"}'),
    "with an extension that must be understood": lambda forge: forge.by_hand('{"alg": "ES256", "crit": ["x"]}'),
}


@pytest.fixture
async def forge(world: World, cluster: LocalCluster) -> Forge:
    real = await world.token(await world.team(), names.READER_ACCOUNT)
    key = signing_key(cluster.state / "keys").key.read_text()
    public = serialization.load_pem_private_key(key.encode(), None).public_key()
    kid = jwt.get_unverified_header(real)["kid"]
    return Forge(
        real,
        jwt.decode(real, options={"verify_signature": False}),
        {"kid": kid},
        key,
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


async def shown(broker: BrokerProcess, token: str | bytes) -> httpx.Response:
    def send() -> httpx.Response:
        value = token if isinstance(token, bytes) else token.encode()
        with broker.http() as http:
            return http.get("/v1/ledger", headers={b"Authorization": b"Bearer " + value})

    return await asyncio.to_thread(send)


async def judged(broker: BrokerProcess) -> dict[str, int]:
    """How many tokens were judged so far, by who judged them."""
    text = await asyncio.to_thread(broker.metrics)
    return {outcome: int(float(count)) for outcome, count in OUTCOME.findall(text)}


def kept(broker: BrokerProcess) -> bytes:
    """Everything that the broker has written about its callers."""
    files = [broker.log, *broker.ledger.parent.glob("ledger.db*")]
    return b"".join(file.read_bytes() for file in files)


@pytest.mark.parametrize("kind", FORGERIES)
async def test_refused_without_asking_the_api_server_is_a_token(broker: BrokerProcess, forge: Forge, kind: str) -> None:
    token = FORGERIES[kind](forge)
    before = await judged(broker)
    response = await shown(broker, token)
    after = await judged(broker)
    assert (response.status_code, response.json()["reason"]) == (403, "AccessRefused")
    assert {name: after.get(name, 0) - before.get(name, 0) for name in after | before} == {
        name: int(name == "refused-locally") for name in after | before
    }
    written = kept(broker)
    parts = re.split(rb"[.\xe3]", token if isinstance(token, bytes) else token.encode())
    for part in parts:
        assert len(part) < 16 or part[-40:] not in written, "a part of the token is in the log or in the ledger"


async def test_the_same_claims_signed_anew_by_the_cluster_are_accepted(broker: BrokerProcess, forge: Forge) -> None:
    """Or the forgeries above would be refused for the way they are made."""
    assert (await shown(broker, forge.signed())).status_code == 200
    assert (await shown(broker, forge.real)).status_code == 200
    written = kept(broker)
    assert not any(part[-40:].encode() in written for part in forge.real.split("."))


async def test_a_good_token_of_an_account_that_is_gone_is_refused_by_the_api_server(
    world: World, broker: BrokerProcess
) -> None:
    team = await world.team()
    token = await world.token(team, names.READER_ACCOUNT)
    await world.deleted(f"/api/v1/namespaces/{team}/serviceaccounts/{names.READER_ACCOUNT}")
    before = await judged(broker)
    responses = [await shown(broker, token) for _ in range(3)]
    assert {response.status_code for response in responses} == {403}
    after = await judged(broker)
    assert after["refused"] - before.get("refused", 0) == 1, "the no is remembered"
