"""The first step of every request: whose token it is, whether its namespace is within its share, what its body says."""

import asyncio
import time
from http import HTTPStatus
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from collabspace.api import names
from collabspace.broker.access import Why
from collabspace.broker.identity import AccessDenied, entry_of
from collabspace.broker.limits import RateLimiter
from collabspace.broker.refusal import Refused, too_many
from collabspace.broker.tokens import Caller, Tokens

M = TypeVar("M", bound=BaseModel)
SMALL_BODY_BYTES = 64 << 10
BODY_SECONDS = 60.0


class Gate:
    """Lets callers in by their token; what they may do is decided behind it."""

    def __init__(self, tokens: Tokens, limiter: RateLimiter) -> None:
        self._tokens = tokens
        self._limiter = limiter

    async def caller(self, request: Request, *accounts: str) -> Caller:
        """The caller, when it is one of `accounts` (none given: any). Raises AccessDenied, Refused, Undecided."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        caller = await self._tokens.caller(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise AccessDenied(Why.TOKEN_REFUSED, entry_of(None))
        request.state.namespace, request.state.account = caller.namespace, caller.account
        if not self._limiter.take(caller.namespace, time.monotonic()):
            raise too_many("this namespace asks too often; slow down")
        if accounts and caller.account not in accounts:
            raise AccessDenied(Why.ACCOUNT_NOT_KNOWN, entry_of(caller))
        return caller

    async def operator(self, request: Request) -> Caller:
        """The platform's operator and nobody else."""
        return await self._platform(request, names.OPERATOR_ACCOUNT)

    async def admin(self, request: Request) -> Caller:
        """Whoever may mint tokens in the platform's own namespace."""
        return await self._platform(request, names.ADMIN_ACCOUNT)

    async def _platform(self, request: Request, account: str) -> Caller:
        """Accounts of the same name in other namespaces are nobody."""
        caller = await self.caller(request, account)
        if caller.namespace != names.SYSTEM_NAMESPACE:
            raise AccessDenied(Why.ACCOUNT_NOT_KNOWN, entry_of(caller))
        return caller


async def read_body(request: Request, kind: type[M], limit: int = SMALL_BODY_BYTES) -> M:
    """The body as `kind`. Raises Refused that names the field, never its value."""
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", f"the body exceeds {limit} bytes")
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "TooSlow", f"no whole body within {BODY_SECONDS:.0f} s") from None
    try:
        return kind.model_validate_json(bytes(content))
    except ValidationError as error:
        raise invalid(_problem(error, kind)) from None


def invalid(message: str) -> Refused:
    """The request contradicts itself or the contract; nothing is wrong with who asks."""
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "InvalidRequest", message)


def whole_number(request: Request, name: str, default: int | None, top: int) -> int | None:
    """A query parameter between 0 and `top`. Raises Refused."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= top):
        raise invalid(f"{name}: must be a whole number from 0 to {top}")
    return int(text)


def _problem(error: ValidationError, kind: type[BaseModel]) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    # Keys of maps are the sender's words: only our own field names are repeated.
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier())[:200]
    return f"{kind.__name__}.{where}: {first['type']}; see the protocol for what is allowed"
