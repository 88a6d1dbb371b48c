"""Last acts of the demo: consent taken back, and a record that cannot be bent."""

import shutil
import sqlite3
import time

from stage import Stage

from collabspace.local.cluster import LocalCluster


def revoke(stage: Stage) -> None:
    stage.act("a grant is revoked: the next read is refused")
    stage.run(
        "ada", "kubectl collab grants add notes --name sample --to research-lab --use Download --until 1d", brief=True
    )
    stage.run("lin", "kubectl collab pull hospital-a/notes sample")
    stage.run("ada", "kubectl collab grants revoke notes sample")
    begun = time.monotonic()
    stage.run("lin", "kubectl collab pull hospital-a/notes again", fails=True)
    stage.proves(
        f"Refused {time.monotonic() - begun:.1f} s after the owner's command returned, command start included: "
        "the broker looks at the grant at every access",
        "kubectl collab ledger list notes -n hospital-a --denied",
    )


def ledger(stage: Stage, cluster: LocalCluster) -> None:
    stage.act("the ledger: every use and every refusal, and nobody can edit it unseen")
    stage.run("ada", "kubectl collab ledger list notes --limit 12")
    stage.run("ada", "kubectl collab ledger verify")
    copy = stage.folder / "ledger-copy.db"
    for suffix in ("", "-wal", "-shm"):
        source = cluster.state / "broker" / f"ledger.db{suffix}"
        if source.exists():
            shutil.copyfile(source, f"{copy}{suffix}")
    with sqlite3.connect(copy) as database:
        database.execute("UPDATE access SET namespace = 'nobody' WHERE rowid = (SELECT max(rowid) - 2 FROM access)")
    database.close()
    stage.say("one field changed in a copy of the database:")
    verdict = stage.run("admin", f"python -m collabspace.broker.verify sqlite:///{copy.name}", fails=True)
    stage.require("edited" in verdict, "the edited record was not named")
    stage.proves("An edited record is found and named", "kubectl collab ledger verify -n hospital-a")
