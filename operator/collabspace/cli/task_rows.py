"""Tasks as rows and one task as paragraphs: objects in, cells and lines out. Pure."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from collabspace.api.manifest import Split
from collabspace.api.run import Progress
from collabspace.api.task import CollabTask, TaskMetric
from collabspace.cli import attempts
from collabspace.cli.glyphs import progress_bar, sparkline
from collabspace.cli.output import Cell, age, plain, short, span
from collabspace.cli.parameters import duration_text
from collabspace.cli.task_state import (
    STYLES,
    State,
    Step,
    gpus_of,
    has_ended,
    message_of,
    reason_of,
    state_of,
    steps,
)
from collabspace.client.protocol import AttemptFeed

Key = tuple[str, str]
ROOMY = 120
"""Columns of a terminal from which on live rows are drawn in full."""
MARKS = {"done": ("✓", "green"), "now": ("●", "yellow"), "failed": ("✗", "red"), "open": ("○", "dim")}


def key_of(task: CollabTask) -> Key:
    return task.metadata.namespace, task.metadata.name


def headers(*, everywhere: bool = False, wide: bool = False) -> list[str]:
    """Headers for `row` with the same flags; ATTEMPTS is empty, unless wide, where there was no second one."""
    names = ["NAMESPACE"] if everywhere else []
    names += ["NAME", "TASK", "METHOD", "STATE", "REASON", "PROGRESS"]
    names += ["GPUS", "METRIC"] if wide else []
    names += ["ATTEMPTS"]
    names += ["AGE"]
    return [*names, "MESSAGE"] if wide else names


def row(task: CollabTask, now: dt.datetime, *, everywhere: bool = False, wide: bool = False) -> tuple[Cell, ...]:
    """One task in a list."""
    cells: list[Cell] = [task.metadata.namespace] if everywhere else []
    cells += [task.metadata.name, task.spec.task, task.spec.method, _state(task), reason_of(task)]
    done = percent(task)
    cells.append("" if done is None else f"{done} %")
    if wide:
        cells += [str(gpus_of(task)), headline(task)]
    number = attempts.count(task)
    cells.append(str(number) if wide or number > 1 else "")
    cells.append(age(task.metadata.creation_timestamp, now))
    return (*cells, message_of(task)) if wide else tuple(cells)


def unreadable_row(
    item: dict[str, Any], now: dt.datetime, *, everywhere: bool = False, wide: bool = False
) -> tuple[Cell, ...]:
    """A task whose spec or status cannot be read: its name and reason as they stand, `-` for the rest."""
    metadata, status = item["metadata"], item.get("status")
    reason = status.get("reason") if isinstance(status, dict) else None
    cells: list[Cell] = [metadata.get("namespace", "")] if everywhere else []
    cells += [metadata["name"], "-", "-", ("-", "red"), str(reason or "-"), "-"]
    cells += ["-", "-", "-"] if wide else [""]
    cells.append(age(metadata.get("creationTimestamp"), now))
    return (*cells, "cannot be read") if wide else tuple(cells)


def live_headers(*, everywhere: bool = False) -> list[str]:
    """Headers for `live_row` with the same flag."""
    return [*(["NAMESPACE"] if everywhere else []), "NAME", "STATE", "REASON", "PROGRESS", "LOSS"]


def live_row(
    task: CollabTask, feed: AttemptFeed | None, width: int = ROOMY, *, everywhere: bool = False
) -> tuple[Cell, ...]:
    """One task with its progress and losses drawn, for a terminal of that width; `feed` is the broker's live figure."""
    bar, line = (20, 32) if width >= ROOMY else (8, 12)
    done = percent(task, feed)
    cells: list[Cell] = [task.metadata.namespace] if everywhere else []
    cells += [task.metadata.name, _state(task), reason_of(task)]
    cells += ["" if done is None else progress_bar(done, bar)]
    cells.append(losses(feed, line) if state_of(task) in (State.RUNNING, State.SUCCEEDED) else "")
    return tuple(cells)


def _state(task: CollabTask) -> Cell:
    state = state_of(task)
    return (state.value, STYLES[state])


def percent(task: CollabTask, feed: AttemptFeed | None = None) -> int | None:
    """How much is done: all of a succeeded task, the broker's figure of a running one; None when nobody knows."""
    if state_of(task) is State.SUCCEEDED:
        return 100
    live = counted(feed)
    if live is not None and state_of(task) is State.RUNNING:
        return live.percent
    return task.status.progress.percent if task.status.progress else None


def counted(feed: AttemptFeed | None) -> Progress | None:
    """The live figure, once steps are counted: an attempt that still reads its checkpoint is not at step 0."""
    live = feed.progress if feed is not None else None
    return live if live is not None and live.total_steps and (live.step or live.stage == "Train") else None


def losses(feed: AttemptFeed | None, width: int = 32) -> str:
    """The newest loss behind a line of those before it, at most `width` of them."""
    if feed is None or feed.progress is None:
        return ""
    line = sparkline([number(text) for text in feed.progress.curve], width)
    return f"{line} {feed.progress.loss or ''}".strip()


def number(text: str) -> float:
    """A decimal of the API; what is none is not a number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def headline(task: CollabTask) -> str:
    """The first pooled figure of a finished task, on the test split if there is one: `entity_micro_f1 0.819`."""
    first = next((metric for metric in _tests_first(task.status.metrics) if not metric.dataset), None)
    return f"{first.name} {first.value}" if first else ""


def live_line(task: CollabTask, feed: AttemptFeed | None) -> str:
    """The same in one line of text, for output that is not a terminal: printed again when it differs."""
    parts = [task.metadata.name, state_of(task).value, reason_of(task)]
    done = percent(task, feed)
    if done is not None and state_of(task) in (State.RUNNING, State.SUCCEEDED):
        parts.append(f"{done} %")
    running = state_of(task) is State.RUNNING
    if running and feed is not None and feed.progress is not None and feed.progress.loss:
        parts.append(f"loss {feed.progress.loss}")
    if has_ended(task) and headline(task):
        parts.append(headline(task))
    elif state_of(task) in (State.WAITING, State.FAILED) and message_of(task):
        parts.append(plain(message_of(task)))
    return "  ".join(parts)


def facts(task: CollabTask, now: dt.datetime) -> list[tuple[str, str]]:
    """(name, value) of what was asked for and what came of it."""
    spec, status = task.spec, task.status
    pinned = {each.name: each.digest for each in status.datasets}
    lines = [("name", f"{task.metadata.namespace}/{task.metadata.name}"), ("task", f"{spec.task}, {spec.method}")]
    for each in spec.datasets:
        reference = f"{each.dataset_ref.namespace}/{each.dataset_ref.name}"
        version = short(pinned.get(each.name) or each.version)
        lines.append(
            ("dataset", f"{each.name}: {reference}, {each.role}" + (f", version {version}" if version else ""))
        )
    if spec.model_from:
        lines.append(("model", f"{spec.model_from.namespace}/{spec.model_from.name}, {spec.model_from.kind}"))
    if spec.parameters:
        lines.append(("parameters", ", ".join(f"{key}={value}" for key, value in spec.parameters.items())))
    asked = spec.resources_per_node
    lines.append(("resources", f"cpu {asked.cpu}, memory {asked.memory}, GPUs {asked.gpu}"))
    lines.append(("age", age(task.metadata.creation_timestamp, now) + _duration(task)))
    lines += _limits(task)
    last = attempts.newest(task)
    if last and last.node and not attempts.worth_telling(task):
        lines.append(("node", last.node))
    if status.usage:
        lines.append(("used", f"{status.usage.cpu_seconds} CPU-seconds, {status.usage.gpu_seconds} GPU-seconds"))
    if status.result:
        lines.append(("result", status.result.digest))
    return lines


def _limits(task: CollabTask) -> list[tuple[str, str]]:
    """What bounds the task, where it was said; attempts also when one has failed."""
    spec, status = task.spec, task.status
    spent = status.usage.active_seconds if status.usage else 0
    found = [("priority", str(spec.priority))] if spec.priority else []
    if status.failed_attempts:
        found.append(("failures", f"{status.failed_attempts} of at most {spec.max_attempts} that count"))
    if spec.active_deadline_seconds:
        found.append(
            (
                "deadline",
                f"{duration_text(spec.active_deadline_seconds)} of running, {span(spent)} used by ended attempts",
            )
        )
    if spec.pending_deadline_seconds and not status.start_time:
        found.append(("must start", f"within {duration_text(spec.pending_deadline_seconds)}"))
    if spec.budget:
        limits = {"cpu": spec.budget.cpu_seconds, "gpu": spec.budget.gpu_seconds}
        found.append(("budget", ", ".join(f"{what} {duration_text(limit)}" for what, limit in limits.items() if limit)))
    if spec.gates:
        found.append(("gates", ", ".join(f"{gate.metric} >= {gate.minimum}" for gate in spec.gates)))
    if spec.ttl_seconds_after_finished is not None:
        found.append(("deleted", f"{duration_text(spec.ttl_seconds_after_finished)} after its end"))
    return found


def _duration(task: CollabTask) -> str:
    start, end = task.status.start_time, task.status.completion_time
    if not (start and end):
        return ""
    seconds = (dt.datetime.fromisoformat(end) - dt.datetime.fromisoformat(start)).total_seconds()
    return f" (took {span(max(0, int(seconds)))})"


def step_rows(task: CollabTask, now: dt.datetime) -> list[tuple[Cell, ...]]:
    """Rows for STEP, REASON, SINCE, MESSAGE."""
    return [_step_row(step, now) for step in steps(task)]


def _step_row(step: Step, now: dt.datetime) -> tuple[Cell, ...]:
    mark, style = MARKS[step.mark]
    return ((f"{mark} {step.type}", style), step.reason, age(step.since, now), step.message)


METRIC_HEADERS = ("METRIC", "VALUE", "95 % INTERVAL", "SPLIT", "DATASET", "LABEL")
METRIC_OPTIONAL = ("LABEL",)
"""Those of METRIC_HEADERS to leave out where they are empty."""


def metric_rows(metrics: Iterable[TaskMetric]) -> list[tuple[Cell, ...]]:
    """Rows for METRIC_HEADERS: figures of the test split first, each split in the order given."""
    return [
        (
            each.name,
            each.value,
            f"{each.low} to {each.high}" if each.low else "",
            each.split,
            each.dataset or "all",
            each.label,
        )
        for each in _tests_first(metrics)
    ]


def _tests_first(metrics: Iterable[TaskMetric]) -> list[TaskMetric]:
    return sorted(metrics, key=lambda each: each.split != Split.TEST)


def resumed_from(task: CollabTask, feed: AttemptFeed | None) -> int | None:
    """Where the running attempt took up; None when it began anew, also because a checkpoint was found broken."""
    step = attempts.resumed_from(task, attempts.count(task)) if state_of(task) is State.RUNNING else None
    live = counted(feed)
    return None if step is None or (live is not None and live.step < step) else step


def progress_line(task: CollabTask, feed: AttemptFeed | None, done: int) -> str:
    """`█████░░░░░  50 %  step 20 of 40  loss ▇▅▃ 0.31  (Train)`; the numbers of steps come with the live figure."""
    parts = [progress_bar(done)]
    if feed is not None and feed.progress is not None:
        live = counted(feed)
        parts += [f"step {live.step} of {live.total_steps}"] if live is not None else []
        parts.append(f"({feed.progress.stage})")
        if losses(feed):
            parts.append(f"loss {losses(feed)}")
    elif task.status.progress:
        parts.append(f"step {task.status.progress.step} of {task.status.progress.total_steps}")
    step = resumed_from(task, feed)
    if step is not None:
        parts.append(f"resumed from step {step}")
    return "  ".join(parts)
