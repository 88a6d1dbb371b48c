"""An independent witness of a cluster under faults: watches everything and says which invariants do not hold.

It shares no code with the operator and asks nobody but the API server (all objects, by watches of its own), its audit
log, the ledger's database, the store's folder and the journal of processes. docs/reliability.md says what each check
sees, and what none can.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import observer_data
import observer_ledger
import observer_quota
import observer_remains
import observer_tasks
import observer_writers
from observer_evidence import OPERATOR, Evidence, Row, as_made, condition, final, key_of, status, without_orphans
from observer_sources import AuditLog, Journal, LedgerReader, Tail
from sqlalchemy.exc import SQLAlchemyError
from watching import ApiServer, History, Watch

PATHS = {
    "tasks": "/apis/collabspace.io/v1alpha1/collabtasks",
    "datasets": "/apis/collabspace.io/v1alpha1/shareddatasets",
    "selections": "/apis/collabspace.io/v1alpha1/modelselections",
    "jobs": "/apis/batch/v1/jobs",
    "pods": "/api/v1/pods",
    "spaces": "/api/v1/namespaces",
    "events": "/apis/events.k8s.io/v1/events",
}
LIST_SECONDS = 60.0
Check = Callable[[Evidence], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    *observer_tasks.CHECKS,
    *observer_quota.CHECKS,
    *observer_data.CHECKS,
    *observer_ledger.CHECKS,
    *observer_remains.CHECKS,
    *observer_writers.CHECKS,
)


class Observer:
    """Start it before what it shall judge. `ledger` is an SQLite file or an SQLAlchemy URL; `logs` are read for
    secrets, `canaries` are secrets that were planted."""

    def __init__(
        self,
        kubeconfig: Path,
        audit_log: Path,
        ledger: Path | str,
        store: Path,
        journal: Path,
        *,
        logs: Collection[Path] = (),
    ) -> None:
        self.canaries: set[str] = set()
        self._histories = {kind: History() for kind in PATHS}
        server = ApiServer(kubeconfig)
        self._watches = [Watch(server, path, self._histories[kind]) for kind, path in PATHS.items()]
        self._audit = AuditLog(audit_log, [OPERATOR])
        self._ledger = LedgerReader(ledger)
        self._chains = observer_ledger.Chains()
        self._broken: list[str] = []
        self._unread = ""
        self._access: dict[str, list[Row]] = {}
        self._store = store
        self._journal = Journal(journal)
        self._logs = [Tail(path) for path in logs]
        self._texts: dict[str, str] = {}
        self._rest: float | None = None

    def start(self) -> None:
        """All watches have told what there is when this returns. Raises TimeoutError."""
        for watch in self._watches:
            watch.start()
        for watch in self._watches:
            if not watch.listed.wait(LIST_SECONDS):
                raise TimeoutError(f"{watch.path} could not be listed in {LIST_SECONDS:.0f} s")

    def stop(self) -> None:
        for watch in self._watches:
            watch.stop()

    def rest(self, *, begins: bool = True) -> None:
        """From now on nothing should change any more (I13 counts writes); or: something is done again."""
        self._rest = time.time() if begins else None

    def forget(self, namespaces: Iterable[str]) -> None:
        """Of these nothing will be asked any more."""
        gone = list(namespaces)
        for history in self._histories.values():
            history.forget(gone)
        for name in gone:
            self._audit.calls.pop(name, None)
            self._access.pop(name, None)

    def evidence(self, namespaces: Collection[str]) -> Evidence:
        """What is known of them now. A ledger that cannot be read is told by `violations`."""
        now, wanted = time.time(), frozenset(namespaces)
        changes = {kind: history.of(wanted) for kind, history in self._histories.items()}
        for kind in ("jobs", "pods"):
            changes[kind] = as_made(changes[kind])
        changes["pods"] = without_orphans(changes["pods"])
        self._audit.read()
        access, attempts = self._read_ledger(now, wanted)
        for log in self._logs:
            self._texts[str(log.path)] = log.new()
        uids = {change.uid for change in changes["tasks"]}
        # Who led is told by calls of no team; whoever wrote in another namespace is another's business.
        homes = ("", "collabspace-system", *wanted)
        return Evidence(
            now=now,
            store=self._store,
            namespaces=wanted,
            changes=changes,
            calls=[call for home in homes for call in self._audit.calls.get(home, ())],
            access=access,
            attempts=attempts,
            checkpoints=[row for row in self._ledger.checkpoints.values() if row["task_uid"] in uids],
            processes=[one for one in self._journal.processes() if one.namespace in wanted],
            texts=dict(self._texts),
            canaries=frozenset(self.canaries),
            rest=self._rest,
        )

    def _read_ledger(self, now: float, wanted: frozenset[str]) -> tuple[list[Row], list[Row]]:
        try:
            tables = self._ledger.tables()
        except SQLAlchemyError as error:
            self._unread = f"I6 the ledger cannot be read: {type(error).__name__}"
            return [], []
        self._unread = ""
        self._broken += self._chains.faults(tables["access"], tables["seals"], tables["chains"])
        self._ledger.remember(tables["checkpoints"], now)
        for row in tables["access"]:
            self._access.setdefault(row["namespace"], []).append(row)
        access = [row for name in wanted for row in self._access.get(name, ())]
        return sorted(access, key=lambda row: row["sequence"]), [
            row for row in tables["attempts"] if row["namespace"] in wanted
        ]

    def violations(self, namespaces: Collection[str]) -> list[str]:
        """What does not hold in these namespaces, each line beginning with the invariant's name.

        What is judged of the present holds at rest only: ask again until it does, or its time is over.
        """
        evidence = self.evidence(namespaces)
        found = [line for check in CHECKS for line in check(evidence)]
        return sorted({*found, *self._broken, *filter(None, [self._unread])})

    def quiet_seconds(self, namespaces: Collection[str]) -> float:
        """For how long no operator has written there."""
        self._audit.read()
        last = [call.at for name in namespaces for call in self._audit.calls.get(name, ()) if call.writes]
        return time.time() - max(last, default=0.0)

    def ends(self, namespaces: Collection[str]) -> dict[str, str]:
        """How each task and selection there stands, without what differs between equal runs (I18): times, uids,
        numbers of attempts."""
        evidence = self.evidence(namespaces)
        found = {}
        for kind in ("tasks", "selections"):
            for item in evidence.there(kind).values():
                verdict = final(item) if kind == "tasks" else None
                told = (status(item).get("reason", ""), condition(item, "Succeeded")["status"], verdict is not None)
                found["/".join((kind, *key_of(item)))] = " ".join(map(str, told))
        return found

    def verify_ledger(self) -> list[str]:
        """The auditors' own command on the whole ledger (I6)."""
        url = self._ledger.place
        command = [sys.executable, "-m", "collabspace.broker.verify", url]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return [] if done.returncode == 0 else [f"I6 {done.stdout.strip()}"]


def differences(reference: dict[str, str], found: dict[str, str]) -> list[str]:
    """I18: where the end with faults is another than the one without."""
    return [
        f"I18 {key} is {found.get(key, 'not there')!r}, without faults it is {reference.get(key, 'not there')!r}"
        for key in sorted(reference.keys() | found.keys())
        if reference.get(key) != found.get(key)
    ]
