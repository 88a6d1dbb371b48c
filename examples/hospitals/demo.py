"""Two hospitals share data, a lab trains on both: the whole product in a few minutes, on a real control plane.

    make demo                                  generated notes and the breast-cancer measurements of scikit-learn
    make demo DATA=folder [BASE=folder]        a CoNLL-like corpus (train, devel, test) and base weights of your own

Every figure and every answer on the screen comes from the cluster. A step that does not do what it claims ends the demo
with exit code 1. The cluster stays up afterwards; `make down` removes it.
"""

import argparse
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import acts_control
import acts_data
import acts_resilience
import acts_selection
import acts_training
import corpus
from places import GPUS, Embedded, Given, Place
from rich.text import Text
from stage import Stage, StepFailedError, plain_when_piped

from collabspace.local.cluster import LocalCluster
from collabspace.local.errors import LocalClusterError
from collabspace.local.state import Options


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train, devel and test in CoNLL form")
    parser.add_argument(
        "--base", type=Path, help="folder with base weights: config.json, model.safetensors, tokenizer.json"
    )
    parser.add_argument("--name", default="demo", help="name of the embedded cluster (default: demo)")
    parser.add_argument("--state", type=Path, help="where its state is kept")
    parser.add_argument("--audit", action="store_true", help="the API server writes down every request")
    parser.add_argument(
        "--kubeconfig", type=Path, help="play on this cluster, where the chart is installed, as its admin"
    )
    parser.add_argument("--cpu", default="1", help="CPUs of one training on that cluster; its node has to fit two")
    parser.add_argument("--stop", action="store_true", help="stop and remove the cluster at the end")
    return parser.parse_args()


def play(stage: Stage, place: Place, given: argparse.Namespace) -> None:
    """All acts in order. Raises StepFailedError at the first that does not hold."""
    work = stage.folder
    stage.begin()
    acts_data.start_cluster(stage, place)
    if given.data:
        notes, recipe = corpus.halved(given.data, work / "notes"), acts_training.CORPUS_FROM_SCRATCH
    else:
        notes, recipe = corpus.generated(work / "notes"), acts_training.GENERATED
        stage.say(
            "The notes are generated: no patient, no hospital. The measurements are real (scikit-learn's own copy)."
        )
    acts_data.publish(stage, notes, corpus.measurements(work))
    acts_data.consent(stage)
    if given.base:
        acts_training.publish_base(stage, given.base.absolute())
        recipe = acts_training.CORPUS_WITH_BASE
    recipe = replace(recipe, cpu=place.cpu)
    acts_training.train(stage, recipe)
    acts_training.compare(stage, recipe)
    acts_training.show_report(stage)
    acts_selection.tables(stage)
    acts_resilience.survive(stage, place, recipe)
    acts_control.revoke(stage)
    acts_control.ledger(stage, place)


def main() -> int:
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="collabspace-demo-") as work:
        stage = Stage([Path(sys.executable).parent], Path(work), console=plain_when_piped())
        if given.kubeconfig:
            return perform(stage, Given(given.kubeconfig, given.cpu), given)
        cluster = LocalCluster(given.name, given.state, progress=stage.step)
        cluster.down(wipe=True)  # what an earlier demo left
        try:
            return perform(stage, Embedded(cluster, Options(gpus=GPUS, audit=given.audit)), given)
        finally:
            if given.stop:
                cluster.down(wipe=True)


def perform(stage: Stage, place: Place, given: argparse.Namespace) -> int:
    """The demo and its curtain; returns the exit code."""
    try:
        play(stage, place, given)
    except (StepFailedError, LocalClusterError, FileNotFoundError) as error:
        stage.console.print(Text(f"✗ {error}", style="red"))
        stage.console.print(place.logs())
        return 1
    stage.closing([] if given.stop else _hints(stage, place))
    return 0


def _hints(stage: Stage, place: Place) -> list[str]:
    """Where to look next, while the cluster stays up: the programs, who one can be, what to ask."""
    programs = ":".join(shlex.quote(str(folder)) for folder in reversed(stage.path))
    people = {person: f"{person} of {team}" for team, person in acts_data.TEAMS.items()} | {"admin": "the admin"}
    return [
        f"export PATH={programs}:$PATH",
        *(
            f"export KUBECONFIG={shlex.quote(str(stage.kubeconfigs[person]))}   # be {words}"
            for person, words in people.items()
        ),
        "kubectl get sds,ctask,msel -A     kubectl explain collabtask.spec     kubectl collab --help",
        place.undo(),
    ]


if __name__ == "__main__":
    sys.exit(main())
