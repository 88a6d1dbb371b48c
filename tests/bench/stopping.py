"""How long running work goes on after its grant was taken back: until its process is gone, by the node's journal.

    python tests/bench/stopping.py [--tries 20]

Each try is a task in mid-training on a whole cluster. The clock starts before `collabspace grants revoke` does, so the
command's own second is in it, and stops at the end of the process: after its checkpoint is saved and sent.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from chaos_driver import OWNER, TEAMS, Plan, Stage

PROMISED_SECONDS = 15.0
START_SECONDS = 120.0
# Far more than there is time for: the task ends by the revocation or not at all.
ENDLESS = Plan(seed=0, tasks=1, kills_each=0, deletions=0, window=0, epochs=1000)


def one_try(stage: Stage, number: int) -> float:
    """Seconds from the revocation to the end of the process."""
    namespace, name = TEAMS[0], f"stopped-{number}"
    item = stage.manifest(ENDLESS, namespace, name, number + 1)
    stage.run([*stage.kubectl, "apply", "-f", "-"], json.dumps(item))
    found = stage.observer.wait(lambda: trains(stage, namespace, name), START_SECONDS)
    assert found, f"{name} does not train"
    begun = time.time()
    stage.collab("grants", "revoke", "table", "--to", TEAMS[0], "-n", OWNER)
    uid = stage.observer.uid(namespace, name)
    assert stage.observer.wait(lambda: ended(stage, uid) is not None, START_SECONDS), f"{name} goes on for ever"
    moment = ended(stage, uid)
    assert moment is not None
    stage.collab("grants", "add", "table", "--to", TEAMS[0], "--use", "Train", "--use", "Evaluate", "-n", OWNER)
    stage.run([*stage.kubectl, "delete", "collabtask", name, f"--namespace={namespace}"])
    return moment - begun


def trains(stage: Stage, namespace: str, name: str) -> bool:
    """Whether its trainer has said that it is past the first step."""
    command = [*stage.kubectl, "logs", f"--namespace={namespace}", f"job/{name}-1", "--tail=5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return '"stage":"Train"' in done.stdout.replace(" ", "")


def ended(stage: Stage, uid: str | None) -> float | None:
    return next((one.end for one in stage.observer.processes() if one.task_uid == uid), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20)
    tries = parser.parse_args().tries
    with tempfile.TemporaryDirectory(prefix="stopping-") as folder:
        stage = Stage("stopping", Path(folder), lambda _: None)
        try:
            stage.open()
            stage.watch_anew()
            found = sorted(one_try(stage, number) for number in range(tries))
        finally:
            stage.close()
    p50, p99 = (found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.99))
    print(f"process gone: p50 {p50:.2f} s, p99 {p99:.2f} s, max {found[-1]:.2f} s over {len(found)} tries")
    return int(found[-1] > PROMISED_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
