"""Last acts of the demo: consent taken back, and a record that cannot be bent."""

import time

from places import Place
from stage import Stage


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


def ledger(stage: Stage, place: Place) -> None:
    stage.act("the ledger: every use and every refusal, and nobody can edit it unseen")
    stage.run("ada", "kubectl collab ledger list notes --limit 12")
    stage.run("ada", "kubectl collab ledger verify")
    stage.say("one field changed in a copy of the database:")
    edit = "UPDATE access SET namespace = 'nobody' WHERE rowid = (SELECT max(rowid) - 2 FROM access)"
    verdict = place.bend_ledger(stage, edit)
    stage.require("edited" in verdict, f"the edited record was not named: {verdict}")
    stage.proves("An edited record is found and named", "kubectl collab ledger verify -n hospital-a")
