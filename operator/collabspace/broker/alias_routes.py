"""The calls by which the operator and a team's publishers promote a stored model, and its people see what stands."""

import re
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from collabspace.api import names
from collabspace.broker.access import Why
from collabspace.broker.aliases import Author
from collabspace.broker.gate import invalid, read_body
from collabspace.broker.identity import AccessDenied, entry_of
from collabspace.broker.parts import Parts
from collabspace.broker.refusal import Refused
from collabspace.client.protocol import AliasChange, Aliases, AliasState

ALIAS = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class AliasRoutes:
    """PUT /v1/aliases/{namespace}/{alias} and GET /v1/aliases/{namespace}."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def put(self, request: Request) -> Response:
        """By the operator for every namespace, by publishers for their own."""
        namespace, alias = request.path_params["namespace"], request.path_params["alias"]
        caller = await self._parts.gate.caller(request, names.OPERATOR_ACCOUNT, names.PUBLISHER_ACCOUNT)
        home = names.SYSTEM_NAMESPACE if caller.account == names.OPERATOR_ACCOUNT else namespace
        if caller.namespace != home:
            raise AccessDenied(Why.NOT_OWN_NAMESPACE, entry_of(caller))
        if not ALIAS.fullmatch(alias):
            raise invalid("alias: at most 63 lower-case letters, digits and hyphens, none of these at an end")
        wish = await read_body(request, AliasChange)
        if wish.digest == wish.replaces:
            raise invalid("AliasChange.replaces: is the digest itself; there is nothing to change")
        author = Author(account=caller.account, claimed_by=wish.claimed_by)
        return _json(await self._parts.aliases.change(namespace, alias, wish, author))

    async def list(self, request: Request) -> Response:
        caller = await self._parts.gate.caller(request, names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT)
        namespace = request.path_params["namespace"]
        if caller.namespace != namespace:
            raise AccessDenied(Why.NOT_OWN_NAMESPACE, entry_of(caller))
        namespace_uid = await self._parts.cluster.namespace_uid(namespace)
        if namespace_uid is None:
            raise Refused(HTTPStatus.NOT_FOUND, "NamespaceMissing", "there is no such namespace (any more)")
        return _json(Aliases(aliases=await self._parts.aliases.of(namespace_uid)))


def _json(answer: AliasState | Aliases) -> Response:
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")
