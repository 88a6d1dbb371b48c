"""What becomes of a status when the object is another by now, or none: the server is asked, for a watch may lag."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.api.resource import ObjectMeta
from collabspace.api.task import TaskStatus
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.status import StatusWriter, Write, Written

META = ObjectMeta(name="t", namespace="a", uid="u", resource_version="1")
OBJECT = "/apis/collabspace.io/v1alpha1/namespaces/a/collabtasks/t"
NOW = {"metadata": {"name": "t", "uid": "u", "resourceVersion": "2"}}


async def written(refusal: web.Response, now: web.Response) -> Written:
    async def patch(_: web.Request) -> web.Response:
        return refusal

    async def get(_: web.Request) -> web.Response:
        return now

    application = web.Application()
    application.router.add_patch(f"{OBJECT}/status", patch)
    application.router.add_get(OBJECT, get)
    async with TestServer(application) as server:
        access = config.Access(str(server.make_url("")).rstrip("/"), None, lambda: None, "default", None, None, None)
        async with KubeClient(access) as client:
            return await StatusWriter(client, "collabtasks", lambda _plural, _code: None).write(META, TaskStatus())


def says(code: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": f"code {code}"}, status=code)


async def test_a_conflict_brings_the_object_as_it_is_now() -> None:
    assert await written(says(409, "Conflict"), web.json_response(NOW)) == Written(Write.CONFLICT, NOW)


async def test_an_object_that_is_gone_is_told_from_a_conflict_and_at_once() -> None:
    assert await written(says(409, "Conflict"), says(404, "NotFound")) == Written(Write.GONE)
    assert await written(says(404, "NotFound"), says(404, "NotFound")) == Written(Write.GONE)


async def test_a_server_that_does_not_serve_the_kind_says_nothing_of_the_object() -> None:
    with pytest.raises(KubeError, match="page not found"):
        await written(web.Response(status=404, text="404 page not found"), web.json_response(NOW))


@pytest.mark.parametrize(("code", "reason"), [(401, "Unauthorized"), (403, "Forbidden")])
async def test_who_may_not_write_now_tries_again_soon_while_what_is_refused_for_itself_waits(
    code: int, reason: str
) -> None:
    with pytest.raises(KubeError, match=f"code {code}"):
        await written(says(code, reason), web.json_response(NOW))
    assert await written(says(422, "Invalid"), web.json_response(NOW)) == Written(Write.REFUSED)
