"""Second half of the demo: fair waiting, training alone and together, an honest report, no false winner."""

import json
from dataclasses import dataclass
from pathlib import Path

import live
from rich.table import Table
from stage import Stage, StepFailedError

from collabspace.api import names
from collabspace.api.manifest import Split
from collabspace.api.report import Report
from collabspace.api.run import MetricName
from collabspace.cli.options import Where

LAB = "research-lab"
TASKS = f"/apis/{names.API_VERSION}/namespaces/{LAB}/{names.COLLAB_TASKS}"
ALONE_AND_TOGETHER = {"notes-a": ("a",), "notes-b": ("b",), "notes-both": ("a", "b")}
QUOTA = 2


@dataclass(frozen=True)
class Recipe:
    """How the notes are trained: more flags of `submit`; the longest that all three may take, in seconds; whether
    training together must clearly win (on generated notes it does; a corpus of the user's says what it says); CPUs."""

    flags: str
    timeout: float
    must_gain: bool = False
    cpu: str = "1"


SMALL = "--random-init --set epochs=6 --set hiddenSize=64 --set vocabularySize=400 --set learningRate=2e-3"
GENERATED = Recipe(SMALL, timeout=600, must_gain=True)
CORPUS_FROM_SCRATCH = Recipe("--random-init --set epochs=8", timeout=7200)
CORPUS_WITH_BASE = Recipe(
    f"--model {LAB}/base --set epochs=2 --set learningRate=1e-4 --set batchSize=16 "
    "--set scheduler=Linear --set warmupFraction=0.1",
    timeout=7200,
)


def publish_base(stage: Stage, base: Path) -> None:
    """Base weights enter as any data does: published by the lab, checked, pinned by digest."""
    stage.act("base weights are published like data")
    stage.run("lin", f"kubectl collab push base {base} --create --format Model")
    stage.run("lin", "kubectl wait --for=condition=Ready sds/base --timeout=60s", brief=True)


def train(stage: Stage, recipe: Recipe) -> None:
    stage.act("three tasks at once, a quota of two GPUs: the third waits its turn")
    # In one file, so that no task can end before the last of them is there; which is to wait is said by its priority.
    third = list(ALONE_AND_TOGETHER)[-1]
    texts = []
    for name, owners in ALONE_AND_TOGETHER.items():
        priority = -1 if name == third else 0
        command = f"{submitting(name, recipe, owners)} --priority={priority} --dry-run"
        texts.append(stage.run("lin", command, brief=True))
    (stage.folder / "tasks.yaml").write_text("---\n".join(texts))
    before = json.loads(stage.run("lin", f"kubectl get --raw {TASKS}", show=False))["metadata"]["resourceVersion"]
    stage.run("lin", "kubectl collab submit -f tasks.yaml")
    decided = "jsonpath='{.status.conditions[?(@.type==\"Admitted\")].status}'"
    stage.run("lin", f"kubectl wait --for={decided} ctask/{third} --timeout=60s", brief=True)
    stage.run("lin", f"kubectl collab why {third}")
    # A busy machine may take so long to start a command that a GPU is free again: what counts is what was said before.
    stage.say(f"While it waited, {third} said {waited(stage, third, before)}")
    tasks = live.watch(
        stage, Where(namespace=LAB, kubeconfig=stage.kubeconfigs["lin"]), [*ALONE_AND_TOGETHER], recipe.timeout
    )
    bad = [f"{name}: {task.status.reason}" for name, task in tasks.items() if task.status.reason != "Completed"]
    stage.require(not bad, f"not all tasks completed: {bad}")
    stage.run("lin", "kubectl get ctask")
    stage.proves(
        f"Never more than {QUOTA} GPUs in use; the third started by itself when one was free",
        "kubectl get ctask -n research-lab",
    )


def waited(stage: Stage, task: str, since: str) -> str:
    """What the task said of its quota while it waited, after this resourceVersion: the API server keeps minutes."""
    path = f"{TASKS}?watch=1&timeoutSeconds=3&fieldSelector=metadata.name={task}&resourceVersion={since}"
    changes = stage.run("lin", f"kubectl get --raw '{path}'", show=False).splitlines()
    objects = [json.loads(change)["object"] for change in changes]
    for status in (each.get("status", {}) for each in objects if each["kind"] == "CollabTask"):
        for condition in status.get("conditions", []):
            if condition["reason"] == "WaitingForQuota":
                return f"WaitingForQuota: {condition['message']}"
    raise StepFailedError(f"{task} never said WaitingForQuota")


def submit(stage: Stage, name: str, recipe: Recipe, owners: tuple[str, ...]) -> None:
    stage.run("lin", submitting(name, recipe, owners))


def submitting(name: str, recipe: Recipe, owners: tuple[str, ...]) -> str:
    """The command for a task that learns from these owners' notes and is tested on both owners'."""
    learned = " ".join(f"--dataset {owner}=hospital-{owner}/notes" for owner in owners)
    tested = " ".join(f"--dataset test-{owner}=hospital-{owner}/notes:Evaluate" for owner in "ab")
    return (
        f"kubectl collab submit {name} --task TokenClassification --method FullFineTuning {recipe.flags} "
        f"{learned} {tested} --gpus 1 --cpu {recipe.cpu} --memory 4Gi"
    )


def report_of(stage: Stage, task: str) -> Report:
    return Report.model_validate(json.loads(stage.run("lin", f"kubectl collab report {task} -o json", show=False)))


def compare(stage: Stage, recipe: Recipe) -> None:
    stage.act("trained on x tested on: alone or together")
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), title=None)
    for header in ("trained on", "hospital-a's test", "hospital-b's test", "both (95 % interval)"):
        drawn.add_column(header)
    pooled = {}
    for name, owners in ALONE_AND_TOGETHER.items():
        report = report_of(stage, name)
        cells = [report.metric(MetricName.ENTITY_MICRO_F1, Split.TEST, f"test-{owner}") for owner in "ab"]
        both = report.metric(MetricName.ENTITY_MICRO_F1, Split.TEST)
        stage.require(both is not None and all(cells), f"{name} lacks a figure")
        pooled[name] = both
        texts = [f"{cell.value:.3f}" for cell in cells]
        interval = f"{both.value:.3f}  [{both.low:.3f}, {both.high:.3f}]"
        drawn.add_row(
            " and ".join(f"hospital-{owner}" for owner in owners),
            *texts,
            interval,
            style="bold" if len(owners) > 1 else "",
        )
    stage.console.print("    strict entity F1")
    stage.console.print(drawn)
    best_alone = max(pooled["notes-a"].value, pooled["notes-b"].value)
    gain = pooled["notes-both"].value - best_alone
    clear = pooled["notes-both"].low > best_alone
    stage.require(clear or not recipe.must_gain, f"together is not clearly better than alone: {gain:+.3f}")
    claim = f"Together beats the better hospital alone by {100 * gain:.1f} points of F1"
    if not clear:
        claim = f"On this corpus the gain of training together, {100 * gain:+.1f} points of F1, is within the noise"
    stage.proves(claim, "kubectl collab report notes-both -n research-lab")


def show_report(stage: Stage) -> None:
    stage.act("an honest report: per entity, on entities never seen in training, and with O apart")
    stage.run("lin", "kubectl collab report notes-both", colour=True)
    stage.proves(
        "Per-entity precision, recall and F1; the flattering figure that counts O stands apart",
        "kubectl collab report notes-both -n research-lab",
    )
