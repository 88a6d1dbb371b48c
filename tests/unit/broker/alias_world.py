"""A broker's aliases over a real store and ledger, an API server that knows a team, and deaths at chosen writes."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.api import names
from collabspace.api.manifest import FileEntry, Manifest
from collabspace.broker.aliases import Aliases, Author
from collabspace.broker.custody import Custody, Owner, OwnerKind, all_checkpoints, all_owners
from collabspace.broker.feed import Knowledge
from collabspace.broker.filesystem_store import FilesystemStore
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import Ledger
from collabspace.broker.live import Cluster
from collabspace.client.protocol import AliasChange, AliasState
from collabspace.kube.client import KubeClient
from collabspace.kube.config import Access

TEAM, TEAM_UID = "lab", "0a1b2c3d-0000-4000-8000-0000000000aa"
PERSON = Author(account=names.PUBLISHER_ACCOUNT, claimed_by="lin")
WRITES = {"swap_pointer", "keep_promotion"}


class Killed(Exception):
    """What a SIGKILL is to the code under test: nothing after it happens."""


@dataclass
class Fate:
    """Counts the moments before and after each write; the one of number `deadly` is the last."""

    deadly: int | None = None
    moments: int = 0

    def pass_by(self) -> None:
        self.moments += 1
        if self.moments - 1 == self.deadly:
            raise Killed

    def over(self, thing: Any) -> Any:
        """The thing itself, but whoever writes with it may die just before and just after."""
        return _Mortal(thing, self)


@dataclass
class _Mortal:
    thing: Any
    fate: Fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.thing, name)
        if name not in WRITES:
            return found

        def write(*given: Any) -> Any:
            self.fate.pass_by()
            answer = found(*given)
            self.fate.pass_by()
            return answer

        return write


@dataclass
class Team:
    """What is durable: the store's folder, the ledger's database, and the tasks that the API server knows."""

    folder: Path
    server: str
    tasks: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> FilesystemStore:
        return FilesystemStore(self.folder / "store")

    def result(self, task: str, *, files: dict[str, bytes] | None = None) -> tuple[str, str]:
        """The stored result of a task of the team: uid and digest."""
        uid = f"uid-{task}"
        self.tasks[task] = uid
        held = files or {"DONE": b"", "metrics.json": b"{}", "model/model.safetensors": f"weights of {task}".encode()}
        entries = []
        for path, content in held.items():
            sha256 = hashlib.sha256(content).hexdigest()
            source = self.folder / "incoming"
            source.write_bytes(content)
            self.store.put_blob(uid, sha256, source)
            entries.append(FileEntry(path=path, sha256=sha256, bytes=len(content)))
        manifest = Manifest(owner_uid=uid, format="Result", files=entries)
        self.store.put_manifest(uid, manifest.digest, manifest.canonical())
        return uid, manifest.digest

    @asynccontextmanager
    async def broker(self, fate: Fate | None = None) -> AsyncIterator["Broker"]:
        """One life of a broker's aliases."""
        fate = fate or Fate()
        ledger = Ledger(f"sqlite:///{self.folder / 'ledger.db'}")
        journal = Journal(fate.over(ledger), lambda *_: None)
        journal.start()
        custody = Custody(journal)
        custody.restore(all_owners(ledger), all_checkpoints(ledger))
        for task, uid in self.tasks.items():
            await custody.remember(Owner(uid, uid, OwnerKind.TASK, TEAM, task))
        access = Access(self.server, None, lambda: None, "default", None, None, None)
        async with KubeClient(access) as kube:
            knowledge = Knowledge()
            aliases = Aliases(fate.over(self.store), custody, knowledge, journal, Cluster(kube))
            try:
                yield Broker(aliases, knowledge, ledger)
            finally:
                await journal.close()
                ledger.close()


@dataclass(frozen=True)
class Broker:
    aliases: Aliases
    knowledge: Knowledge
    ledger: Ledger

    async def promote(
        self, result: tuple[str, str], key: str, replaces: str | None = None, alias: str = "production"
    ) -> AliasState:
        wish = AliasChange(key=key, task_uid=result[0], digest=result[1], replaces=replaces)
        return await self.aliases.change(TEAM, alias, wish, PERSON)

    def promotions(self) -> list[tuple[str | None, str]]:
        """Version and alias of each record, oldest first."""
        records = self.ledger.onward(TEAM, 0, 1_000, "").records
        return [(record.version, record.reason) for record in records if record.event == "Promoted"]


@asynccontextmanager
async def team(folder: Path) -> AsyncIterator[Team]:
    """A team that an API server knows, with nothing stored yet."""
    made = Team(folder, "")

    async def namespace(request: web.Request) -> web.Response:
        return _found(request.match_info["name"] == TEAM, lambda: {"metadata": {"name": TEAM, "uid": TEAM_UID}})

    async def task(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _found(request.match_info["team"] == TEAM and name in made.tasks, lambda: _task(name, made.tasks[name]))

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/{name}", namespace)
    app.router.add_get(f"/apis/{names.API_VERSION}/namespaces/{{team}}/{names.COLLAB_TASKS}/{{name}}", task)
    async with TestServer(app) as server:
        made.server = str(server.make_url("/")).rstrip("/")
        yield made


def _found(there: bool, body: Callable[[], dict[str, Any]]) -> web.Response:
    missing = {"kind": "Status", "reason": "NotFound", "message": "", "code": 404}
    return web.json_response(body() if there else missing, status=200 if there else 404)


def _task(name: str, uid: str) -> dict[str, Any]:
    reference = {"name": "a", "datasetRef": {"namespace": TEAM, "name": "notes"}}
    spec = {"task": "TokenClassification", "method": "FullFineTuning", "datasets": [reference]}
    return {"metadata": {"name": name, "namespace": TEAM, "uid": uid}, "spec": spec}
