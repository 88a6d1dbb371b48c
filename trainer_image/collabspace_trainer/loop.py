"""The training loop of every gradient method, to be read top to bottom: batches, loss, gradients, step, look around."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from collabspace_trainer.checkpoint import Circumstances
from collabspace_trainer.errors import DivergedError
from collabspace_trainer.identity import processor
from collabspace_trainer.keeper import Keeper
from collabspace_trainer.order import batches
from collabspace_trainer.parameters import Settings
from collabspace_trainer.pulse import WAITING_STALL_SECONDS
from collabspace_trainer.runtime import Runtime
from collabspace_trainer.session import Session
from collabspace_trainer.snapshot import Training

CURVE_POINTS = 2_000


class Learner(Protocol):
    """A model with the records it learns from."""

    model: nn.Module

    @property
    def lengths(self) -> Sequence[int]:
        """Size of each training record, for batches of near-equal length."""
        ...

    def weight(self, records: Sequence[int]) -> float:
        """By how much the records count in a mean: labelled tokens or rows, times their class weights."""
        ...

    def loss(self, records: Sequence[int]) -> torch.Tensor:
        """Sum of the weighted losses of the records, with gradients."""
        ...


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training; see the parameters of the same names."""

    epochs: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    optimizer: str
    scheduler: str
    warmup_fraction: float
    weight_decay: float
    maximum_norm: float
    patience: int
    seed: int


def recipe(session: Session, learning_rate: float, why: str) -> Recipe:
    """The recipe of the run's parameters; tells batch, accumulation and learning rate with their reasons."""
    settings: Settings = session.plan.settings
    batch = settings.integer("batchSize")
    asked = session.plan.document.execution.micro_batch_size
    micro = min(asked or batch, batch)
    events = session.events
    events.decision("batchSize", batch, "parameters.batchSize, records per optimizer step")
    events.decision(
        "microBatchSize", micro, "execution.microBatchSize" if asked else "the whole batch fits, as far as known"
    )
    events.decision("accumulation", -(-batch // micro), "micro-batches per optimizer step")
    events.decision("learningRate", learning_rate, why)
    session.course.batch_size, session.course.micro_batch_size = batch, micro
    return Recipe(
        epochs=settings.integer("epochs"),
        batch_size=batch,
        micro_batch_size=micro,
        learning_rate=learning_rate,
        optimizer=settings.choice("optimizer"),
        scheduler=settings.choice("scheduler"),
        warmup_fraction=settings.number("warmupFraction"),
        weight_decay=settings.number("weightDecay"),
        maximum_norm=settings.number("maxGradientNorm"),
        patience=settings.integer("earlyStoppingPatience"),
        seed=session.plan.document.training.seed,
    )


def train(learner: Learner, rules: Recipe, session: Session, score: Callable[[], float] | None) -> None:
    """Trains `learner.model` in place, from the newest checkpoint if there is one, and leaves it in evaluation mode.

    `score` measures it on the validation split, higher is better; with patience, training ends when it has not grown
    for that many epochs, and the best weights are put back. Raises DivergedError, Terminated.
    """
    course = session.course
    steps_per_epoch = -(-len(learner.lengths) // rules.batch_size)
    course.total_steps = rules.epochs * steps_per_epoch
    optimizer = make_optimizer(learner.model, rules)
    keeper = Keeper(rules.patience, learner.model)
    session.pulse.enter("Prepare", WAITING_STALL_SECONDS)
    session.checkpoints.begin(_training(learner.model, optimizer, keeper, session, steps_per_epoch))
    if course.stopped in ("StepLimit", "BudgetSpent"):
        course.finished, course.stopped = False, ""  # limits of another attempt
    session.pulse.enter("Train")
    while not course.finished:
        try:
            run_epochs(learner, rules, session, score, optimizer, keeper)
        except DivergedError as error:
            session.checkpoints.roll_back(error)
        else:
            course.finished = True
            session.checkpoints.save()
    keeper.restore_best()
    learner.model.eval()


def run_epochs(
    learner: Learner,
    rules: Recipe,
    session: Session,
    score: Callable[[], float] | None,
    optimizer: torch.optim.Optimizer,
    keeper: Keeper,
) -> None:
    """From where the course stands to the end of training, or to the reason in `course.stopped`."""
    course = session.course
    stride = max(1, course.total_steps // CURVE_POINTS)
    if course.step and must_end(session):
        return
    while course.epoch < rules.epochs:
        learner.model.train()
        plan = batches(learner.lengths, rules.batch_size, rules.seed, course.epoch)
        for batch in plan[course.position :]:
            # ---- one optimizer step
            started = time.monotonic()
            rate = rules.learning_rate * course.rate_scale * rate_factor(rules, course.step, course.total_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            course.recent.append(step(learner, batch, rules, optimizer, session))
            course.step += 1
            course.position += 1

            # ---- once in a while: the curve, progress, a checkpoint, and whether to go on
            if course.step % stride == 0:
                loss = sum(course.recent) / len(course.recent)
                course.curve.append({"step": course.step, "epoch": course.epoch, "loss": loss, "learningRate": rate})
                course.recent.clear()
            session.stop.latency = time.monotonic() - started
            session.pulse.step(session.stop.latency)
            session.stop.check()
            session.checkpoints.save_if_due()
            if must_end(session):
                return

        # ---- after an epoch: is it still getting better?
        if rules.patience and score is not None:
            learner.model.eval()
            with session.stop.at_once():
                value = score()
            course.curve.append({"step": course.step, "epoch": course.epoch, "validation": value})
            if keeper.enough(value):
                course.stopped = "EarlyStopping"
                return
        course.epoch, course.position = course.epoch + 1, 0


def _training(
    model: nn.Module, optimizer: torch.optim.Optimizer, keeper: Keeper, session: Session, steps_per_epoch: int
) -> Training:
    """All that a checkpoint of this training holds."""
    machine = session.runtime
    circumstances = Circumstances(
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads,
        micro_batch_size=session.course.micro_batch_size,
        processor=processor(),
    )
    identity = session.checkpoints.identity
    return Training(identity, model, optimizer, keeper, session.course, session.meter, circumstances, steps_per_epoch)


def step(
    learner: Learner, batch: Sequence[int], rules: Recipe, optimizer: torch.optim.Optimizer, session: Session
) -> float:
    """One optimizer step on a batch, in micro-batches whose gradients add up to those of the whole; its mean loss."""
    total = learner.weight(batch)
    losses = []
    for start in range(0, len(batch), rules.micro_batch_size):
        with autocast(session.runtime):
            part = learner.loss(batch[start : start + rules.micro_batch_size]) / total
        part.backward()  # type: ignore[no-untyped-call]
        losses.append(part.detach())
    norm = nn.utils.get_total_norm([p.grad for p in learner.model.parameters() if p.grad is not None])
    *parts, size = torch.stack([*losses, norm]).tolist()  # the one moment of a step that waits for a GPU
    loss: float = sum(parts)
    if not math.isfinite(loss) or not math.isfinite(size):
        raise DivergedError(
            f"step {session.course.step + 1}: the loss or a gradient is not finite; lower parameters.learningRate"
        )
    if 0 < rules.maximum_norm < size:  # scaling by 1 would cost a pass over all gradients
        nn.utils.clip_grads_with_norm_(learner.model.parameters(), rules.maximum_norm, norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


def must_end(session: Session) -> bool:
    """Notes in the course why training ends before its last step, if it does."""
    limit = session.plan.document.execution.stop_after_steps
    if limit is not None and session.course.step >= limit:
        session.course.stopped = "StepLimit"
    elif session.meter.budget_spent():
        session.course.stopped = "BudgetSpent"
    return bool(session.course.stopped)


def autocast(machine: Runtime) -> torch.autocast:
    """Computes in BFloat16 where the runtime chose it; weights and optimizer state stay in Float32."""
    enabled = machine.precision == "BFloat16"
    return torch.autocast(machine.device, dtype=torch.bfloat16, enabled=enabled)


def rate_factor(rules: Recipe, step_index: int, total: int) -> float:
    """Share of the learning rate at a step: rises linearly in warm-up, then follows the scheduler."""
    warmup = round(rules.warmup_fraction * total)
    if step_index < warmup:
        return (step_index + 1) / warmup
    passed = (step_index - warmup) / max(1, total - warmup)
    match rules.scheduler:
        case "Linear":
            return 1.0 - passed
        case "Cosine":
            return 0.5 * (1.0 + math.cos(math.pi * passed))
    return 1.0


def make_optimizer(model: nn.Module, rules: Recipe) -> torch.optim.Optimizer:
    """The optimizer of the recipe; biases and normalisation (vectors) do not decay."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": rules.weight_decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    match rules.optimizer:
        case "Adam":
            return torch.optim.Adam(groups, lr=rules.learning_rate, fused=True)
        case "Adafactor":
            return torch.optim.Adafactor(groups, lr=rules.learning_rate)
        case "SGD":
            return torch.optim.SGD(groups, lr=rules.learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=rules.learning_rate, fused=True)
