"""Every change of the objects of one kind, as the API server tells it: the observer's own ears.

Plain HTTP, no code shared with what is observed. A watch outlives outages of the API server; what went unseen meanwhile
is told by the next list. All kinds live in one etcd, so revisions order the changes of different kinds too.
"""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

Object = dict[str, Any]
RETRY_SECONDS = 0.2
STREAM_SECONDS = 60
SILENCE_SECONDS = 75.0
GONE = 410
BROKEN = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True)
class Change:
    """An object as it was from `revision` on, told at `at` (seconds since 1970); `gone`: it was deleted then."""

    at: float
    revision: int
    gone: bool
    object: Object

    @property
    def uid(self) -> str:
        return str(self.object["metadata"]["uid"])

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Of a Namespace its own name."""
        return str(self.object["metadata"].get("namespace", self.object["metadata"]["name"]))


class ApiServer:
    """GET requests with the certificate that a kubeconfig names."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self._address = urlsplit(cluster["server"])
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def open(self, path: str, timeout: float) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        """The caller closes the connection. Raises BROKEN."""
        host, port = self._address.hostname or "", self._address.port
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
        try:
            connection.request("GET", path, headers={"Accept": "application/json", "User-Agent": "observer"})
            return connection, connection.getresponse()
        except BROKEN:
            connection.close()
            raise

    def get(self, path: str, timeout: float = 10.0) -> Object:
        """Raises BROKEN, also for any answer but 200."""
        connection, answer = self.open(path, timeout)
        try:
            body = answer.read()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(f"{path}: {answer.status} {body[:200]!r}")
            found: Object = json.loads(body)
            return found
        finally:
            connection.close()


@dataclass
class History:
    """What was told of one kind, by namespace, in the order of revisions within each object."""

    changes: dict[str, list[Change]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, change: Change) -> None:
        with self._lock:
            self.changes.setdefault(change.namespace, []).append(change)

    def of(self, namespaces: Iterable[str]) -> list[Change]:
        """In the order of revisions."""
        with self._lock:
            found = [change for each in namespaces for change in self.changes.get(each, ())]
        return sorted(found, key=lambda change: change.revision)

    def forget(self, namespaces: Iterable[str]) -> None:
        with self._lock:
            for each in namespaces:
                self.changes.pop(each, None)


class Watch(threading.Thread):
    """Tells `history` all changes of a kind, from `start` until `stop`."""

    def __init__(self, server: ApiServer, path: str, history: History) -> None:
        super().__init__(name=f"watch {path}", daemon=True)
        self.path = path
        self.listed = threading.Event()
        self._server = server
        self._history = history
        self._known: dict[str, Object] = {}
        self._revision = ""
        self._ending = threading.Event()
        self._stream: http.client.HTTPSConnection | None = None

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                if not self._revision:
                    self._list()
                for event in self._events():
                    self._take(event)
            except BROKEN:
                self._ending.wait(RETRY_SECONDS)

    def stop(self) -> None:
        self._ending.set()
        stream = self._stream
        if stream is not None and stream.sock is not None:
            try:
                stream.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._stream = None  # it ended by itself just now
        self.join()

    def _list(self) -> None:
        listing = self._server.get(self.path)
        revision = listing["metadata"]["resourceVersion"]
        there = {item["metadata"]["uid"]: item for item in listing["items"]}
        for uid in [uid for uid in self._known if uid not in there]:
            self._tell(self._known.pop(uid), int(revision), gone=True)
        for uid, item in there.items():
            before = self._known.get(uid)
            if before is None or before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._known[uid] = item
                self._tell(item, int(item["metadata"]["resourceVersion"]), gone=False)
        self._revision = revision
        self.listed.set()

    def _events(self) -> Iterator[Object]:
        query = {"watch": 1, "resourceVersion": self._revision, "allowWatchBookmarks": "true"}
        path = f"{self.path}?{urlencode(query | {'timeoutSeconds': STREAM_SECONDS})}"
        connection, answer = self._server.open(path, SILENCE_SECONDS)
        self._stream = connection
        try:
            if answer.status == GONE:
                self._revision = ""
            if answer.status != http.client.OK:
                raise http.client.HTTPException(f"{self.path}: {answer.status}")
            for line in answer:
                yield json.loads(line)
        finally:
            self._stream = None
            connection.close()

    def _take(self, event: Object) -> None:
        item = event["object"]
        if event["type"] == "ERROR":
            # Too old, or etcd was away: a new list tells.
            self._revision = ""
            raise http.client.HTTPException(f"{self.path}: {item}")
        self._revision = item["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return
        gone = event["type"] == "DELETED"
        if gone:
            self._known.pop(item["metadata"]["uid"], None)
        else:
            self._known[item["metadata"]["uid"]] = item
        self._tell(item, int(self._revision), gone=gone)

    def _tell(self, item: Object, revision: int, *, gone: bool) -> None:
        self._history.add(Change(time.time(), revision, gone, item))
