"""A list from before what is known already is not taken: whoever shows it lags behind."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.kube import config, watch
from collabspace.kube.cache import Cache
from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.watch import Watch

PATH = "/apis/batch/v1/jobs"


def listing(version: str, *names: str) -> dict[str, object]:
    items = [{"metadata": {"name": each, "uid": each, "resourceVersion": "3"}} for each in names]
    return {"metadata": {"resourceVersion": version}, "items": items}


async def seen(known: str, *listings: dict[str, object]) -> list[list[str] | str]:
    """What the cache holds after each of these lists, or why it was not taken."""
    rest = iter(listings)

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(next(rest))

    application = web.Application()
    application.router.add_get(PATH, answer)
    found: list[list[str] | str] = []
    async with TestServer(application) as server:
        access = config.Access(str(server.make_url("")).rstrip("/"), None, lambda: None, "default", None, None, None)
        async with KubeClient(access) as client:
            cache = Cache[str]("Job", lambda raw: str(raw["metadata"]["name"]))
            watched = Watch(client, "jobs", PATH, cache, since=lambda: known)
            for _ in listings:
                try:
                    await watched.list()
                    found.append(sorted(cache.values()))
                except KubeError as error:
                    found.append(error.reason)
    return found


async def test_a_list_from_before_what_is_known_is_asked_for_again() -> None:
    assert await seen("10", listing("9"), listing("10", "a"), listing("11", "a", "b")) == ["TooOld", ["a"], ["a", "b"]]


async def test_where_nothing_is_known_or_versions_are_no_numbers_any_list_is_taken() -> None:
    assert await seen("", listing("1", "a")) == [["a"]]
    assert await seen("10", listing("one", "a")) == [["a"]]


async def test_a_list_that_stays_behind_is_taken_in_the_end_as_its_kind_may_be_counted_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "LAG_SECONDS", 0.0)
    assert await seen("10", listing("9", "a")) == [["a"]]
