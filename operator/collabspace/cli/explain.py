"""Why a task stands where it does: its objects in, one plain answer out. Pure."""

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.dataset import Use
from collabspace.api.task import CollabTask
from collabspace.api.team import Team
from collabspace.cli import asking_less
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
from collabspace.core.grants import USE

QUANTITY = re.compile(r"^([0-9]+)([A-Za-z]*)$")
GENERAL_COMMAND = re.compile(r"(?::|; see) kubectl collab .*$")
LONG_SECONDS = 60


@dataclass(frozen=True)
class Source:
    """A dataset or model that the task reads, and the use that its grant must hold."""

    namespace: str
    name: str
    use: Use

    @property
    def reference(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Facts:
    """The task and what surrounds it. `team`: None when unreadable; `neighbours` share its quota.

    `taken`: names of all other tasks of the namespace, those that cannot be read included.
    """

    task: CollabTask
    team: Team | None
    neighbours: Sequence[CollabTask]
    warnings: Sequence[str]
    now: dt.datetime
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """`next_commands` come without the program's name unless they begin with kubectl; `who` runs them."""

    headline: str
    message: str
    meaning: str
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
    who, commands = _next(reason, facts) if reason else ("", ())
    return Answer(
        headline=f"{task.metadata.namespace}/{task.metadata.name}: {state_of(task)}, {word}",
        message=own_message(task),
        meaning=_meaning(reason, facts),
        numbers=tuple(_numbers(facts)),
        blockers=tuple(_blockers(task)),
        who=who,
        next_commands=commands,
        warnings=tuple(facts.warnings),
    )


def sources(task: CollabTask) -> list[Source]:
    """All that the task reads, weights included, without repetition."""
    refs = [(each.dataset_ref.namespace, each.dataset_ref.name, USE[each.role]) for each in task.spec.datasets]
    if task.spec.model_from:
        refs.append((task.spec.model_from.namespace, task.spec.model_from.name, Use.TRAIN))
    return [Source(*each) for each in dict.fromkeys(refs)]


def blocked(task: CollabTask) -> list[Source]:
    """The sources that the message names; all of other teams when it names none."""
    every = sources(task)
    named = [source for source in every if re.search(rf"{re.escape(source.reference)}(?![-a-z0-9])", message_of(task))]
    return named or [source for source in every if source.namespace != task.metadata.namespace] or every


def _meaning(reason: Reason | None, facts: Facts) -> str:
    if reason is None:
        return "A newer release of the platform gave this reason; update this command to see more."
    if reason is Reason.PENDING and _age(facts) > LONG_SECONDS:
        return f"The operator has not looked at it for {_age(facts)} s: it may not be running."
    if reason is Reason.TEAM_NOT_READY and _wrong_settings(facts):
        return "A setting of the team cannot be read, so none of its tasks can start. An admin sets it again."
    # The command with its names filled in follows: the general one, with placeholders, would only repeat it.
    return GENERAL_COMMAND.sub(".", reason.help) if reason in ADVICE else reason.help


def _age(facts: Facts) -> int:
    created = facts.task.metadata.creation_timestamp
    return int((facts.now - dt.datetime.fromisoformat(created)).total_seconds()) if created else 0


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


Advice = tuple[str, tuple[str, ...]]


def _next(reason: Reason, facts: Facts) -> Advice:
    advise = ADVICE.get(reason)
    return advise(facts) if advise else ("", ())


def _place(task: CollabTask) -> str:
    return f"{task.metadata.name} -n {task.metadata.namespace}"


def _grant(facts: Facts) -> Advice:
    task = facts.task
    uses: dict[tuple[str, str], list[str]] = {}
    for source in blocked(task):
        uses.setdefault((source.namespace, source.name), []).append(f"--use {source.use}")
    until = " --until 30d" if reason_of(task) == Reason.GRANT_EXPIRED else ""
    commands = tuple(
        f"grants add {name} -n {owner} --to {task.metadata.namespace} {' '.join(flags)}{until}"
        for (owner, name), flags in uses.items()
    )
    return _owners(task), commands


def _push(facts: Facts) -> Advice:
    places = {(source.namespace, source.name) for source in blocked(facts.task)}
    return _owners(facts.task), tuple(f"push {name} PATH -n {owner}" for owner, name in sorted(places))


def _owners(task: CollabTask) -> str:
    owners = sorted({source.namespace for source in blocked(task)})
    return "" if owners == [task.metadata.namespace] else f"the data's owner ({', '.join(owners)})"


def _set_up_team(facts: Facts) -> Advice:
    wrong = _wrong_settings(facts)
    if wrong:
        return "an admin", tuple(f"teams add {facts.task.metadata.namespace} {flag} N" for flag in wrong)
    return "an admin", (f"teams add {facts.task.metadata.namespace} --gpu-quota {max(1, gpus_of(facts.task))}",)


def _wrong_settings(facts: Facts) -> list[str]:
    """Flags of `teams add` for the quotas whose annotation cannot be read."""
    text = " ".join([*(facts.team.problems if facts.team else ()), message_of(facts.task)])
    return [f"--{key.rsplit('/', 1)[-1]}" for key in (names.GPU_QUOTA, names.CPU_QUOTA) if f"annotation {key} " in text]


def _wait_for_quota(facts: Facts) -> Advice:
    return "", (f"list -n {facts.task.metadata.namespace}", f"wait {_place(facts.task)} --for Admitted")


def _look_at_pod(facts: Facts) -> Advice:
    task = facts.task.metadata
    return "", (f"kubectl describe pod -l collabspace.io/task={task.name} -n {task.namespace}",)


def _correct(facts: Facts) -> Advice:
    task = facts.task.metadata
    return "", ("submit --help", f"kubectl edit collabtask {task.name} -n {task.namespace}")


def _ask_for_less_or_more_quota(facts: Facts) -> Advice:
    asked, message = facts.task.spec.resources_per_node, message_of(facts.task)
    quota, less = asking_less.beyond_quota(asked, message, facts.team.gpu_quota if facts.team else None)
    raised = f"teams add {facts.task.metadata.namespace} {quota}"
    if not less:
        return "an admin, then you", (raised, _again(facts, ""))
    return "you with less, or else an admin", (_again(facts, less), raised)


def _ask_for_less(facts: Facts) -> Advice:
    return "", (_again(facts, asking_less.beyond_node(facts.task.spec.resources_per_node, message_of(facts.task))),)


def _more_memory(facts: Facts) -> Advice:
    found = QUANTITY.match(facts.task.spec.resources_per_node.memory)
    memory = f"{2 * int(found[1])}{found[2]}" if found else "MORE"
    return "", (_again(facts, f"--memory {memory}"),)


def _lower_learning_rate(facts: Facts) -> Advice:
    rate = str(facts.task.spec.parameters.get("learningRate", "1e-4"))
    try:
        lower = f"{float(rate) / 10:.3g}"
    except ValueError:
        lower = "1e-5"
    return "", (_again(facts, f"--set learningRate={lower}"),)


def _submit_again(facts: Facts) -> Advice:
    return "", (_again(facts, ""),)


def _again(facts: Facts, change: str) -> str:
    """The same task under the next free name, with something changed."""
    name = facts.task.metadata.name
    taken = {each.metadata.name for each in facts.neighbours} | facts.taken | {name}
    stem = re.sub(r"-[0-9]+$", "", name)
    free = next(f"{stem}-{number}" for number in range(2, len(taken) + 3) if f"{stem}-{number}" not in taken)
    return f"submit {free} -n {facts.task.metadata.namespace} --like {name} {change}".rstrip()


def _read_logs(facts: Facts) -> Advice:
    return "", (f"logs {_place(facts.task)}",)


def _read_report(facts: Facts) -> Advice:
    return "", (f"report {_place(facts.task)}",)


def _watch(facts: Facts) -> Advice:
    return "", (f"get {_place(facts.task)} -w",)


def _other_name(facts: Facts) -> Advice:
    return "", (f"kubectl get jobs -n {facts.task.metadata.namespace}", _again(facts, ""))


def _look_at_rules(facts: Facts) -> Advice:
    return "an admin", (f"kubectl describe namespace {facts.task.metadata.namespace}",)


def _is_operator_there(facts: Facts) -> Advice:
    if _age(facts) <= LONG_SECONDS:
        return "", (f"get {_place(facts.task)} -w",)
    return "an admin", ("kubectl get pods -n collabspace-system", "collabspace local status")


ADVICE: dict[Reason, Callable[[Facts], Advice]] = {
    Reason.PENDING: _is_operator_there,
    Reason.GRANT_MISSING: _grant,
    Reason.GRANT_EXPIRED: _grant,
    Reason.USE_NOT_GRANTED: _grant,
    Reason.ACCESS_REVOKED: _grant,
    Reason.DATASET_NOT_READY: _push,
    Reason.DATA_ERROR: _push,
    Reason.TEAM_NOT_READY: _set_up_team,
    Reason.WAITING_FOR_QUOTA: _wait_for_quota,
    Reason.NAME_CONFLICT: _other_name,
    Reason.NOT_ALLOWED: _look_at_rules,
    Reason.PODS_PENDING: _look_at_pod,
    Reason.IMAGE_PULL_FAILED: _look_at_pod,
    Reason.UNKNOWN_METHOD: _correct,
    Reason.INVALID_PARAMETER: _correct,
    Reason.INVALID_SPEC: _correct,
    Reason.EXCEEDS_QUOTA: _ask_for_less_or_more_quota,
    Reason.EXCEEDS_CAPACITY: _ask_for_less,
    Reason.OUT_OF_MEMORY: _more_memory,
    Reason.USER_ERROR: _read_logs,
    Reason.GATE_NOT_MET: _read_report,
    Reason.BUDGET_SPENT: _read_report,
    Reason.DIVERGED: _lower_learning_rate,
    Reason.NODE_LOST: _submit_again,
    Reason.INTERRUPTED: _submit_again,
    Reason.BROKER_UNAVAILABLE: _submit_again,
    Reason.TRAINING: _watch,
    Reason.STARTING: _watch,
    Reason.CONFIRMING: _watch,
    Reason.QUOTA_RESERVED: _watch,
    Reason.COMPLETED: _read_report,
}
