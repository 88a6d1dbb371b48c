"""Whether a selection, its alias, the ledger and the bytes of the model agree on one promotion."""

import hashlib
import json
from pathlib import Path

from collabspace.client.client import BrokerClient
from collabspace.client.protocol import AliasState, LedgerRecord
from collabspace.kube.client import Object

PAGE = 500


def promotions(client: BrokerClient, alias: str | None = None) -> list[LedgerRecord]:
    """The records of promotions, of one alias or of all; `reason` of each is the alias."""
    found: list[LedgerRecord] = []
    before: int | None = None
    while True:
        page = client.ledger(before, PAGE)
        found += [one for one in page.records if one.event == "Promoted" and alias in (None, one.reason)]
        before = page.next
        if before is None:
            return found


def told_wrong(item: Object, state: AliasState | None, records: list[LedgerRecord]) -> list[str]:
    """Where selection, alias and ledger do not say the same one promotion."""
    status = item["status"]
    record, winner = status.get("promotion", {}), status.get("winner", {})
    key = f"{item['metadata']['uid']}/promotion"
    faults = []
    if (status["reason"], record.get("state")) != ("Completed", "Promoted"):
        faults.append(f"the selection ended with {status['reason']}, {record.get('state')}")
    if state is None:
        return [*faults, "the alias stands for nothing"]
    if (state.keys, state.previous) != ([key], []):
        faults.append(f"the alias was set by {state.keys}, and stood for {state.previous}")
    if not state.digest == winner.get("resultDigest") == record.get("resultDigest"):
        faults.append(f"alias {state.digest}, winner {winner.get('resultDigest')}, said {record.get('resultDigest')}")
    if [(one.purpose, one.version) for one in records] != [(key, state.digest)]:
        faults.append(f"{len(records)} promotions on record")
    return faults


def broken(folder: Path) -> list[str]:
    """What is wrong with the files of a result, by the hashes that its trainer wrote last."""
    done = folder / "DONE"
    if not done.is_file():
        return ["the model has no DONE"]
    listed = {entry["path"]: entry["sha256"] for entry in json.loads(done.read_bytes())["files"]}
    wrong = [
        path
        for path, sha256 in listed.items()
        # What is per record is served to nobody.
        if not path.startswith(("counts/", "predictions/"))
        and (not (folder / path).is_file() or hashlib.sha256((folder / path).read_bytes()).hexdigest() != sha256)
    ]
    held = any(path.startswith("model/") for path in listed)
    return [f"broken: {', '.join(wrong)}"] * bool(wrong) + ["there is no model in it"] * (not held)
