"""Following objects as they change, over broken connections and expired watches.

Whoever stops reading early closes what he reads (`contextlib.aclosing`), so that no connection is left behind.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar, cast

from collabspace.kube.client import KubeClient, KubeError, Object

T = TypeVar("T")
PAUSE_SECONDS = 1.0
TRIES = 60
REFUSALS = 5


@dataclass(frozen=True)
class Change:
    """`object` as it is now; `deleted`: it is gone, and `object` is how it was last."""

    object: Object
    deleted: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return key_of(self.object)


def key_of(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


async def changes(
    client: KubeClient, path: str, params: Mapping[str, str] | None = None
) -> AsyncGenerator[Change | None, None]:
    """Every object first, then None once, then each change without end. Raises KubeError when the first list fails,
    when something is refused, and when the API server stays away for about a minute."""
    known: dict[tuple[str, str], Object] = {}
    first = True
    failures = 0
    while True:
        try:
            page = await client.list(path, params)
            for change in _difference(known, page["items"]):
                yield change
            if first:
                yield None
            first, failures = False, 0
            async with aclosing(_events(client, path, page["metadata"]["resourceVersion"], params, known)) as events:
                async for change in events:
                    yield change
        except KubeError as error:
            failures += 1
            if first or failures > _patience(error):
                raise
            await asyncio.sleep(0 if error.status == 410 else PAUSE_SECONDS)


def _patience(error: KubeError) -> int:
    """How many times in a row it is met before it is believed. A server that starts refuses what it will allow soon."""
    return TRIES if error.transient or error.status == 410 else REFUSALS


def _difference(known: dict[tuple[str, str], Object], items: Sequence[Object]) -> list[Change]:
    """What changed since the objects in `known`, which is brought up to date."""
    now = {key_of(item): item for item in items}
    gone = [Change(item, deleted=True) for key, item in known.items() if key not in now]
    new = [Change(item) for key, item in now.items() if key not in known or _version(known[key]) != _version(item)]
    known.clear()
    known.update(now)
    return [*gone, *new]


async def _events(
    client: KubeClient, path: str, version: str, params: Mapping[str, str] | None, known: dict[tuple[str, str], Object]
) -> AsyncGenerator[Change, None]:
    """Watches for as long as the server keeps it up, one watch after the other."""
    while True:
        stream = cast("AsyncGenerator[Object, None]", client.watch(path, version, params))
        async with aclosing(stream):
            async for event in stream:
                version = _version(event["object"])
                if event["type"] == "BOOKMARK":
                    continue
                change = Change(event["object"], deleted=event["type"] == "DELETED")
                if change.deleted:
                    known.pop(change.key, None)
                else:
                    known[change.key] = event["object"]
                yield change


def _version(item: Object) -> str:
    return str(item["metadata"]["resourceVersion"])


@dataclass(frozen=True)
class _Failed:
    error: Exception


async def merged(*sources: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items of several endless iterators as they come; the first failure of one ends all."""
    queue: asyncio.Queue[T | _Failed] = asyncio.Queue()

    async def pump(source: AsyncGenerator[T, None]) -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await queue.put(item)
        except Exception as error:  # handed to the reader, who raises it
            await queue.put(_Failed(error))

    pumps = [asyncio.create_task(pump(source)) for source in sources]
    try:
        while True:
            item = await queue.get()
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
