"""First half of the demo: a cluster, four teams, data enters checked, consent is asked for."""

import json
import re
import shutil
from pathlib import Path

import corpus
from places import Place
from stage import Stage

HOSPITALS = {"hospital-a": "ada", "hospital-b": "ben"}
TEAMS = {**HOSPITALS, "research-lab": "lin", "outsider": "olaf"}
QUOTA = {"research-lab": 2, "outsider": 1}
HERE = Path(__file__).parent


def start_cluster(stage: Stage, place: Place) -> None:
    stage.act(place.title)
    place.open(stage)
    for team, person in TEAMS.items():
        stage.kubeconfigs[person] = place.person(stage, person, team)
        stage.run(
            "admin", f"kubectl collab teams add {team} --gpu-quota {QUOTA.get(team, 0)} --member {person}", brief=True
        )
    stage.run("admin", "kubectl collab teams list")
    stage.proves(
        "A real API server, scheduler and controllers; four teams with people of their own",
        "kubectl collab teams list",
    )


def publish(stage: Stage, notes: dict[str, Path], tables: dict[str, Path]) -> None:
    stage.act("two hospitals publish; what is broken does not get in")
    for team, person in HOSPITALS.items():
        shutil.copy(HERE / f"{team}.yaml", stage.folder)
        stage.run(person, f"kubectl apply -f {team}.yaml", brief=True)
        stage.run(person, f"kubectl collab push notes {notes[team].relative_to(stage.folder)}")
        stage.run(person, f"kubectl collab push measurements {tables[team].name}", brief=True)
    broken = corpus.broken_copy(notes["hospital-b"] / "train.conll", stage.folder)
    refusal = stage.run("ben", f"kubectl collab push notes {broken.name}", fails=True)
    stage.require("notes.conll:412" in refusal, "the broken file was refused without naming its line")
    stage.run("admin", "kubectl wait --for=condition=Ready sds --all -A --timeout=60s", brief=True)
    stage.run("admin", "kubectl get sds -A")
    versions = json.loads(stage.run("ben", "kubectl get sds notes -o json", show=False))["status"]["versions"]
    stage.require(len(versions) == 1, f"a broken push left a version behind: {versions}")
    stage.proves("Data enters checked: the broken file was named by line, and left no version", "kubectl get sds -A")


def consent(stage: Stage) -> None:
    stage.act("consent: who has no grant waits, and is told what would cure it")
    for person in HOSPITALS.values():
        for dataset in ("notes", "measurements"):
            stage.run(
                person,
                f"kubectl collab grants add {dataset} --to research-lab --use Train --use Evaluate --until 30d "
                "--purpose 'joint model'",
                brief=True,
            )
    stage.run(
        "olaf",
        "kubectl collab submit curious --task TokenClassification --method FullFineTuning --random-init "
        "--dataset hospital-a/notes",
    )
    stage.run("olaf", "kubectl wait --for=condition=DataAuthorized=False ctask/curious --timeout=30s", brief=True)
    answer = stage.run("olaf", "kubectl collab why curious")
    stage.require("GrantMissing" in answer, "the outsider's task does not say GrantMissing")
    stage.require(bool(re.search(r"grants add notes .*--to outsider", answer)), "the cure is not named")
    pods = stage.run("admin", "kubectl get pods -n outsider -o name", show=False)
    stage.require(not pods.strip(), f"a pod exists without a grant: {pods}")
    stage.proves(
        "No grant, no pod; the answer names the one command that would cure it",
        "kubectl collab why curious -n outsider",
    )
