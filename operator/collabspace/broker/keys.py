"""The cluster's public keys: with them a token's signature is judged here, and junk never reaches the API server."""

import asyncio
import logging
import time
from typing import Any

import aiohttp
import jwt
import orjson

from collabspace.api import names
from collabspace.broker.refusal import Undecided
from collabspace.kube.client import REQUEST_SECONDS
from collabspace.kube.config import Access
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256"]
REFRESH_SECONDS = 5.0
LIFE_SECONDS = 3600.0
LEEWAY_SECONDS = 5
# The key set has a media type of its own, which the API server insists on.
MEDIA_TYPES = "application/jwk-set+json, application/json"


class SigningKeys:
    """The cluster's public keys and issuer, fetched with our own credential and again when a key is unknown."""

    def __init__(self, access: Access, user_agent: str) -> None:
        self._access = access
        self._user_agent = user_agent
        self._keys: dict[str, jwt.PyJWK] = {}
        self._issuer = ""
        self._asked = float("-inf")
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    async def claims(self, token: str) -> dict[str, Any] | None:
        """The token's claims when signature, issuer, audience and times are right; else None. Raises Undecided."""
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.PyJWTError:
            return None
        key = await self._key(kid)
        if key is None:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=names.BROKER_AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "iss", "sub"]},
            )
        except jwt.PyJWTError:
            return None
        return claims

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        if kid not in self._keys or time.monotonic() - self._fetched > LIFE_SECONDS:
            async with self._lock:
                # A flood of unknown key ids, or of callers during an outage, costs one request per period.
                if time.monotonic() - self._asked > REFRESH_SECONDS:
                    self._asked = time.monotonic()
                    await self._refresh()
        if not self._keys:
            raise Undecided("ClusterUnavailable", "the cluster's signing keys are not known yet; try again soon")
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        """New keys; while the API server is away the old ones go on."""
        try:
            discovery = await self._get("/.well-known/openid-configuration")
            found = jwt.PyJWKSet.from_dict(await self._get("/openid/v1/jwks"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, jwt.PyJWTError) as error:
            say(logger, "keys-not-read", logging.WARNING, cause=type(error).__name__)
            return
        self._issuer = str(discovery["issuer"])
        self._keys = {str(key.key_id): key for key in found.keys}
        self._fetched = time.monotonic()

    async def _get(self, path: str) -> dict[str, Any]:
        headers = {"Accept": MEDIA_TYPES, "User-Agent": self._user_agent}
        authorization = self._access.authorization()
        if authorization:
            headers["Authorization"] = authorization
        async with (
            asyncio.timeout(REQUEST_SECONDS),
            self._access.session(1) as session,
            session.get(self._access.server + path, headers=headers) as response,
        ):
            response.raise_for_status()
            body: dict[str, Any] = orjson.loads(await response.read())
            return body
