"""Selections as rows and lines: the leaderboard, the comparison on the test split, and how to read both. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence

from collabspace.api.selection import (
    ComparisonEntry,
    Cost,
    LeaderboardEntry,
    ModelSelection,
    PromotionState,
    Rival,
    Verdict,
)
from collabspace.api.task import CollabTask
from collabspace.cli.glyphs import bar, progress_bar
from collabspace.cli.output import Cell, age, plain, short
from collabspace.cli.selection_state import STYLES, message_of, reason_of, state_of
from collabspace.cli.task_rows import number, percent
from collabspace.cli.task_state import STYLES as STATE_STYLES
from collabspace.client.protocol import AttemptFeed

BAR_WIDTH = 10
LIST_HEADERS = ("NAME", "TASK", "METRIC", "STATE", "REASON", "CANDIDATES", "WINNER", "VALUE", "ALIAS", "AGE")
BOARD_HEADERS = ("RANK", "CANDIDATE", "METHOD", "VALUE", "", "RUNS", "COST", "STATE", "REASON", "DONE", "MESSAGE")
BOARD_OPTIONAL = ("", "RUNS", "REASON", "DONE", "MESSAGE")
COMPARISON_HEADERS = ("RIVAL", "CANDIDATE", "TEST", "", "WINNER LESS IT", "95 % INTERVAL", "VERDICT", "RUNS", "MESSAGE")
COMPARISON_OPTIONAL = ("", "MESSAGE")
VERDICT_STYLES = {
    Verdict.BETTER: "green",
    Verdict.NON_INFERIOR: "cyan",
    Verdict.WORSE: "red",
    Verdict.UNDECIDED: "yellow",
    Verdict.NONE: "",
}
READING = {
    Verdict.BETTER: "Better: the whole interval lies above 0.",
    Verdict.NON_INFERIOR: "NonInferior: the interval does not reach below the tolerance.",
    Verdict.WORSE: "Worse: the whole interval lies below 0.",
    Verdict.UNDECIDED: "Undecided: these records and runs cannot tell the two apart.",
}
Runs = Mapping[str, CollabTask]


def list_row(selection: ModelSelection, now: dt.datetime) -> tuple[Cell, ...]:
    """One selection in a list."""
    spec, status = selection.spec, selection.status
    state = state_of(selection)
    over = sum(each.state not in ("Waiting", "Running") for each in status.leaderboard)
    return (
        selection.metadata.name,
        spec.task,
        spec.objective.metric,
        (state.value, STATE_STYLES[state]),
        reason_of(selection),
        f"{over} of {len(spec.candidates)}",
        status.winner.candidate if status.winner else "",
        status.winner.metric_value if status.winner else "",
        f"{status.promotion.alias}: {status.promotion.state}" if status.promotion else "",
        age(selection.metadata.creation_timestamp, now),
    )


def board_rows(
    selection: ModelSelection, runs: Runs | None = None, feeds: Mapping[str, AttemptFeed] | None = None
) -> list[tuple[Cell, ...]]:
    """Rows for BOARD_HEADERS: ranked ones first. `runs` and `feeds` are live tasks and figures by the task's name."""
    methods = {each.name: each.method for each in selection.spec.candidates}
    winner = selection.status.winner
    drawn = _bars([each.validation_value for each in selection.status.leaderboard])
    return [
        (
            str(each.rank or ""),
            (each.candidate, "bold" if winner and winner.candidate == each.candidate else ""),
            methods.get(each.candidate, ""),
            each.validation_value,
            (drawn[place], "green"),
            str(each.runs) if selection.spec.seeds > 1 else "",
            cost_text(each.cost),
            (each.state.value, STYLES[each.state]),
            each.reason,
            _done(each, runs or {}, feeds or {}),
            each.message,
        )
        for place, each in enumerate(selection.status.leaderboard)
    ]


def _done(entry: LeaderboardEntry, runs: Runs, feeds: Mapping[str, AttemptFeed]) -> str:
    task = runs.get(entry.task_name)
    done = percent(task, feeds.get(entry.task_name)) if task is not None and entry.state == "Running" else None
    return "" if done is None else progress_bar(done, BAR_WIDTH)


def _bars(values: Sequence[str]) -> list[str]:
    """A bar for each figure between 0 and 1; none at all when one lies outside: then they are no shares."""
    figures = [number(value) if value else None for value in values]
    if any(each is not None and not 0 <= each <= 1 for each in figures):
        return [""] * len(figures)
    return ["" if each is None else bar(each, BAR_WIDTH) for each in figures]


def cost_text(cost: Cost) -> str:
    """`120 CPU-s`, and the GPU's seconds before them where there are any."""
    parts = [f"{cost.gpu_seconds} GPU-s"] if cost.gpu_seconds else []
    return ", ".join([*parts, f"{cost.cpu_seconds} CPU-s"])


def comparison_rows(entries: Sequence[ComparisonEntry]) -> list[tuple[Cell, ...]]:
    """Rows for COMPARISON_HEADERS; of the winner itself there is no difference."""
    drawn = _bars([each.test_value for each in entries])
    return [
        (
            each.rival.value,
            (each.candidate, "bold" if each.rival is Rival.WINNER else ""),
            each.test_value,
            (drawn[place], "green"),
            each.difference,
            f"{each.low} to {each.high}" if each.low and each.high else "",
            (each.verdict.value, VERDICT_STYLES[each.verdict]),
            str(each.runs),
            each.message,
        )
        for place, each in enumerate(entries)
    ]


def reading(selection: ModelSelection) -> list[str]:
    """What a reader must know to take the figures for what they are."""
    spec, status = selection.spec, selection.status
    lines = [
        f"Ranked by {spec.objective.metric} ({spec.objective.goal}) on the validation split; "
        f"a difference below {spec.objective.tolerance} does not matter, then the cheapest wins."
    ]
    if status.comparison:
        lines.append("The test split was scored once, for these rows alone, on the same records for all.")
        lines += [
            READING[each] for each in Verdict if each in READING and any(e.verdict is each for e in status.comparison)
        ]
    if spec.seeds == 1 and status.leaderboard:
        lines.append("1 run each: training noise is not included. seeds: 3 tells more, at three times the cost.")
    return lines


def outcome(selection: ModelSelection) -> list[str]:
    """Winner and alias, in a line each."""
    status = selection.status
    lines = []
    if status.winner:
        why = f": {plain(status.winner.message)}" if status.winner.message else ""
        lines.append(f"Winner: {status.winner.candidate}, {status.winner.metric_value}{why}")
    if status.promotion:
        record = status.promotion
        stands = f" (stands for {short(record.result_digest)})" if record.result_digest else ""
        why = f": {plain(record.message)}" if record.message else ""
        lines.append(f"Alias {record.alias}: {record.state}{stands}{why}")
    return lines


def awaits_a_person(selection: ModelSelection) -> bool:
    promotion = selection.status.promotion
    return promotion is not None and promotion.state is PromotionState.AWAITING


def heading(selection: ModelSelection) -> str:
    """`lab/sentiment: Running, Training. <message>`."""
    meta, message = selection.metadata, message_of(selection)
    said = f"{meta.namespace}/{meta.name}: {state_of(selection)}, {reason_of(selection)}"
    return said + (f". {plain(message)}" if message else "")


def facts(selection: ModelSelection, now: dt.datetime) -> list[tuple[str, str]]:
    """(name, value) of what was asked for and what it cost."""
    spec, status = selection.spec, selection.status
    pinned = {each.name: each.digest for each in status.datasets}
    lines = [("task", f"{spec.task}, {len(spec.candidates)} candidates, {spec.parallelism} at a time")]
    for each in spec.datasets:
        version = short(pinned.get(each.name) or each.version)
        reference = f"{each.name}: {each.dataset_ref.namespace}/{each.dataset_ref.name}, {each.role}"
        lines.append(("dataset", reference + (f", version {version}" if version else "")))
    if spec.budget:
        bounds = {"GPU-s": spec.budget.gpu_seconds, "CPU-s": spec.budget.cpu_seconds}
        lines.append(("budget", ", ".join(f"{limit} {unit}" for unit, limit in bounds.items() if limit is not None)))
    lines += [("used", cost_text(status.cost)), ("age", age(selection.metadata.creation_timestamp, now))]
    return lines


def candidate_lines(selection: ModelSelection) -> dict[str, str]:
    """One line for each candidate, for output that is no terminal: printed again when it differs."""
    found = {}
    for each in selection.status.leaderboard:
        parts = [f"{selection.metadata.name}/{each.candidate}", each.state.value]
        parts += [word for word in (each.reason, each.validation_value) if word]
        if each.state not in ("Waiting", "Running"):
            parts.append(cost_text(each.cost))
        if each.message and each.state not in ("Ranked", "Running"):
            parts.append(plain(each.message))
        found[each.candidate] = "  ".join(parts)
    return found
