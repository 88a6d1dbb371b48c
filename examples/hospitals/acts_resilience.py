"""The act in which things break: a pod is taken away, here with its node's agent dead, and the model is the same to
the bit."""

import acts_training
import live
from places import Place
from stage import Stage

from collabspace.api import names
from collabspace.cli import broker
from collabspace.cli.options import Where

UNDISTURBED, DISTURBED = "notes-both", "notes-again"


def survive(stage: Stage, place: Place, recipe: acts_training.Recipe) -> None:
    stage.act("a pod is taken away in mid-training: the same model comes out")
    where = Where(namespace=acts_training.LAB, kubeconfig=stage.kubeconfigs["lin"])
    acts_training.submit(stage, DISTURBED, recipe, acts_training.ALONE_AND_TOGETHER[UNDISTURBED])
    live.wait_for_stage(where, DISTURBED, "Train", recipe.timeout)
    place.disturb(stage, f"kubectl delete pod -l {names.TASK_LABEL}={DISTURBED} --wait=false")
    task = live.watch(stage, where, [DISTURBED], recipe.timeout)[DISTURBED]
    stage.require(task.status.reason == "Completed", f"{DISTURBED}: {task.status.reason}")
    stage.run("lin", f"kubectl collab get {DISTURBED}")
    outcomes = [attempt.outcome for attempt in task.status.attempts]
    stage.require(outcomes == ["Interrupted", "Completed"], f"the attempts ended as {outcomes}")
    stage.require(task.status.failed_attempts == 0, "the interruption counted as a failure")
    weights = [_weights(where, name) for name in (UNDISTURBED, DISTURBED)]
    stage.require(weights[0] == weights[1], f"the weights differ: {weights}")
    stage.proves(
        f"Resumed from its checkpoint; the weights have the same sha256 as undisturbed ones ({weights[0][:12]}…)",
        f"kubectl collab get {DISTURBED} -n {acts_training.LAB}",
    )


def _weights(where: Where, task: str) -> str:
    """sha256 of the model's weights in the stored result of a task."""
    with broker.connect(where, names.READER_ACCOUNT) as client:
        files = client.result(acts_training.LAB, task).files
    return next(file.sha256 for file in files if file.path == "model/model.safetensors")
