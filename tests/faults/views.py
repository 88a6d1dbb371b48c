"""What the operator has been shown of the world, so that it can be shown the same once more."""

from typing import Any

import orjson
from proxy_messages import Event, Reply, Request


class Views:
    """What the operator has been shown of each list: for a list as it would have been a moment ago."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, dict[str, Any]]] = {}
        self._before: tuple[str, tuple[str, dict[str, Any]]] | None = None

    def replied(self, request: Request, reply: Reply) -> None:
        if reply.stream is not None or reply.status != 200 or not request.listing or request.watch:
            return
        listing = orjson.loads(reply.body)  # or a single object, or the list of an API's kinds
        if "resourceVersion" not in listing.get("metadata", {}) or "items" not in listing:
            return
        items = {item["metadata"]["uid"]: item for item in listing.get("items") or []}
        if "continue" in request.query:
            items = self._known[request.listing][1] | items
        self._known[request.listing] = (listing["metadata"]["resourceVersion"], items)

    def came(self, event: Event) -> None:
        if event.listing not in self._known or event.kind == "ERROR":
            return
        meta = event.object["metadata"]
        items = self._known[event.listing][1]
        self._before = event.listing, (self._known[event.listing][0], dict(items))
        if event.kind == "DELETED":
            items.pop(meta["uid"], None)
        elif event.kind != "BOOKMARK":
            items[meta["uid"]] = event.object
        self._known[event.listing] = (meta["resourceVersion"], items)

    def before_newest(self) -> dict[str, bytes]:
        """Answers to each list as they were before the newest event."""
        known = self._known | dict([self._before] if self._before is not None else [])
        return {
            listing: orjson.dumps(
                {
                    "kind": "List",
                    "apiVersion": "v1",
                    "metadata": {"resourceVersion": version},
                    "items": list(items.values()),
                }
            )
            for listing, (version, items) in known.items()
        }
