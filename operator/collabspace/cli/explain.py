"""Why a task stands where it does: its objects in, one plain answer out. Pure."""

import re
from dataclasses import dataclass

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.task import CollabTask
from collabspace.cli import attempts
from collabspace.cli.advice import ADVICE, LONG_SECONDS, grants_ran_out, next_commands, wrong_settings
from collabspace.cli.output import span
from collabspace.cli.task_facts import Facts
from collabspace.cli.task_state import (
    State,
    gpus_of,
    has_ended,
    holds_quota,
    known_reason,
    message_of,
    own_message,
    reason_of,
    state_of,
    steps,
)
from collabspace.core import retry

GENERAL_COMMAND = re.compile(r"(?::|; see) kubectl collab .*$")


@dataclass(frozen=True)
class Answer:
    """`next_commands` come without the program's name unless they begin with kubectl; `who` runs them."""

    headline: str
    message: str
    meaning: str
    attempts: tuple[str, ...]
    numbers: tuple[str, ...]
    blockers: tuple[str, ...]
    who: str
    next_commands: tuple[str, ...]
    warnings: tuple[str, ...]


def answer(facts: Facts) -> Answer:
    """The dominant reason with its numbers, what blocks, and the next commands with this task's names in them."""
    task = facts.task
    word = reason_of(task)
    reason = known_reason(word)
    who, commands = next_commands(reason, facts) if reason else ("", ())
    return Answer(
        headline=f"{task.metadata.namespace}/{task.metadata.name}: {state_of(task)}, {word}",
        message=own_message(task),
        meaning=_meaning(reason, facts),
        attempts=tuple(_attempts(task)),
        numbers=tuple(_numbers(facts)),
        blockers=tuple(_blockers(task)),
        who=who,
        next_commands=commands,
        warnings=tuple(facts.warnings),
    )


def _meaning(reason: Reason | None, facts: Facts) -> str:
    if reason is None:
        return "A newer release of the platform gave this reason; update this command to see more."
    if reason is Reason.PENDING and facts.age > LONG_SECONDS:
        return f"The operator has not looked at it for {facts.age} s: it may not be running."
    if reason is Reason.TEAM_NOT_READY and wrong_settings(facts):
        return "A setting of the team cannot be read, so none of its tasks can start. An admin sets it again."
    if reason is Reason.ACCESS_REVOKED and grants_ran_out(facts.task):
        return "The grant ended while the task needed it; its owner did not take it back."
    if reason is Reason.RETRY_BACKOFF:
        return _next_attempt(facts)
    # The command with its names filled in follows: the general one, with placeholders, would only repeat it.
    return GENERAL_COMMAND.sub(".", reason.help) if reason in ADVICE else reason.help


def _next_attempt(facts: Facts) -> str:
    begins = retry.ready_at(facts.task.status, facts.task.metadata.uid)
    seconds = int((begins - facts.now).total_seconds()) if begins else 0
    when = f"in {span(seconds)} (at {begins:%H:%M:%S} UTC)" if begins and seconds > 0 else "now"
    number = attempts.count(facts.task) + 1
    last = attempts.newest(facts.task)
    how = (
        "was stopped from outside" if last and last.outcome == "Interrupted" else "failed in a way that another may not"
    )
    return f"The newest attempt {how}. Attempt {number} starts by itself {when}."


def _attempts(task: CollabTask) -> list[str]:
    """How each began and ended, oldest first, and how many may fail."""
    if not attempts.worth_telling(task):
        return []
    lines = []
    for each in task.status.attempts:
        if each.number > 1:
            lines.append(attempts.begun_line(task, each))
        if each.end_time or each.outcome != "Running":
            lines.append(attempts.ended_line(each))
    if not has_ended(task) or reason_of(task) == Reason.ATTEMPTS_EXHAUSTED:
        lines.append(f"counted as failed: {task.status.failed_attempts} of at most {task.spec.max_attempts}")
    return lines


def _numbers(facts: Facts) -> list[str]:
    task, asked = facts.task, facts.task.spec.resources_per_node
    lines = [f"asked: GPUs {asked.gpu}, CPUs {asked.cpu}, memory {asked.memory}"]
    if facts.team is None or (has_ended(task) and reason_of(task) != Reason.EXCEEDS_QUOTA):
        return lines
    holders = [each for each in (task, *facts.neighbours) if holds_quota(each) and gpus_of(each)]
    used = sum(gpus_of(each) for each in holders)
    by = ", ".join(f"{each.metadata.name} ({gpus_of(each)})" for each in holders[:8])
    more = f" and {len(holders) - 8} more" if len(holders) > 8 else ""
    unread = any(names.GPU_QUOTA in problem for problem in facts.team.problems)
    quota = "?" if unread else str(facts.team.gpu_quota)
    lines.append(f"team {facts.team.namespace}: GPU quota {quota}, in use {used}" + (f" by {by}{more}" if by else ""))
    if facts.team.cpu_quota is not None:
        lines.append(f"team {facts.team.namespace}: CPU quota {facts.team.cpu_quota}")
    return [*lines, *(problem for problem in facts.team.problems if problem not in message_of(task))]


def _blockers(task: CollabTask) -> list[str]:
    """The steps that are not done and say something else than the answer itself."""
    if state_of(task) is State.SUCCEEDED:
        return []
    found = []
    for step in steps(task):
        if step.mark in ("now", "failed") and step.message not in ("", message_of(task)):
            found.append(f"{step.type}: {step.message}")
    return list(dict.fromkeys(found))
