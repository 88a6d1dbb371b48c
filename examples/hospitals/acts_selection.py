"""The act in which methods are compared on the same data and one is promoted, without a false winner."""

import json
from pathlib import Path

from stage import Stage

SELECTION = Path(__file__).parent / "selection.yaml"


def tables(stage: Stage) -> None:
    """A ModelSelection over the table of measurements; fails unless its winner stands behind the alias."""
    stage.act("a table of measurements: which method? no false winner, and the alias `risk` for what was chosen")
    stage.run("lin", f"kubectl collab select -f {SELECTION} --wait", brief=True)
    stage.run("lin", "kubectl collab compare risk", colour=True)
    found = json.loads(stage.run("lin", "kubectl get modelselection risk -o json", show=False))["status"]
    winner, promotion = found["winner"], found["promotion"]
    stage.require(promotion["state"] == "Promoted", f"not promoted: {promotion}")
    stage.require(promotion["resultDigest"] == winner["resultDigest"], "the alias stands for another model")
    verdicts = [row["verdict"] for row in found.get("comparison", []) if row["rival"] != "Winner"]
    claim = f"Two methods on the same splits: {winner['candidate']} is chosen, and `risk` stands for its model"
    if "Better" not in verdicts:
        claim += "; nobody is called better"
    stage.proves(claim, "kubectl collab compare risk -n research-lab")
