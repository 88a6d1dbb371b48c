"""The next command for each reason, with the names of the task in it. Pure."""

import re
from collections.abc import Callable

from collabspace.api import names
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.task import CollabTask, ModelKind
from collabspace.cli import asking_less, attempts
from collabspace.cli.parameters import duration_text
from collabspace.cli.task_facts import Facts, Source, blocked, lacking_model
from collabspace.cli.task_state import gpus_of, message_of, reason_of, status_of

QUANTITY = re.compile(r"^([0-9]+)([A-Za-z]*)$")
LONG_SECONDS = 60
CORRECTABLE = frozenset({Reason.UNKNOWN_METHOD, Reason.INVALID_PARAMETER, Reason.INVALID_SPEC})

Advice = tuple[str, tuple[str, ...]]


def next_commands(reason: Reason, facts: Facts) -> Advice:
    """(who runs them, the commands); they come without the program's name unless they begin with kubectl."""
    advise = ADVICE.get(reason)
    return advise(facts) if advise else ("", ())


def _place(task: CollabTask) -> str:
    return f"{task.metadata.name} -n {task.metadata.namespace}"


def _grant(facts: Facts) -> Advice:
    task = facts.task
    uses: dict[tuple[str, str], list[str]] = {}
    for source in blocked(task):
        uses.setdefault((source.namespace, source.name), []).append(f"--use {source.use}")
    for source in blocked(task):
        flags = uses[source.namespace, source.name]
        if "--until 30d" not in flags and (reason_of(task) == Reason.GRANT_EXPIRED or _ran_out(task, source)):
            flags.append("--until 30d")
    commands = tuple(
        f"grants add {name} -n {owner} --to {task.metadata.namespace} {' '.join(flags)}"
        for (owner, name), flags in uses.items()
    )
    return _owners(task), commands


def _ran_out(task: CollabTask, source: Source) -> bool:
    """Whether the message says that the grant on it came to its end: the owner took nothing back."""
    ended = rf"(?<![-a-z0-9]){re.escape(source.reference)}: grant \S+ to namespace \S+ ended at "
    return re.search(ended, message_of(task)) is not None


def grants_ran_out(task: CollabTask) -> bool:
    """Whether that is so of all that the task lacks."""
    return all(_ran_out(task, source) for source in blocked(task))


def _push(facts: Facts) -> Advice:
    model = lacking_model(facts.task)
    if model is not None:
        place = f"-n {model.namespace}"
        is_task = model.kind is ModelKind.COLLAB_TASK
        if not is_task:
            return "", (f"promote TASK --alias {model.name} {place}",)
        return "", (f"why {model.name} {place}" if model.name in facts.taken else f"list {place}",)
    places = {(source.namespace, source.name) for source in blocked(facts.task)}
    return _owners(facts.task), tuple(f"push {name} PATH -n {owner}" for owner, name in sorted(places))


def _owners(task: CollabTask) -> str:
    owners = sorted({source.namespace for source in blocked(task)})
    return "" if owners == [task.metadata.namespace] else f"the data's owner ({', '.join(owners)})"


def _set_up_team(facts: Facts) -> Advice:
    wrong = wrong_settings(facts)
    if wrong:
        return "an admin", tuple(f"teams add {facts.task.metadata.namespace} {flag} N" for flag in wrong)
    return "an admin", (f"teams add {facts.task.metadata.namespace} --gpu-quota {max(1, gpus_of(facts.task))}",)


def wrong_settings(facts: Facts) -> list[str]:
    """Flags of `teams add` for the quotas whose annotation cannot be read."""
    text = " ".join([*(facts.team.problems if facts.team else ()), message_of(facts.task)])
    return [f"--{key.rsplit('/', 1)[-1]}" for key in (names.GPU_QUOTA, names.CPU_QUOTA) if f"annotation {key} " in text]


def _wait_for_quota(facts: Facts) -> Advice:
    return "", (f"list -n {facts.task.metadata.namespace}", f"wait {_place(facts.task)} --for Admitted")


def _look_at_pod(facts: Facts) -> Advice:
    task = facts.task.metadata
    return "", (f"kubectl describe pod -l collabspace.io/task={task.name} -n {task.namespace}",)


def correction(task: CollabTask) -> str:
    """The command that corrects the spec in place; empty where that is not the trouble, or the spec is frozen."""
    frozen = status_of(task, ConditionType.ACCEPTED) == "True"
    return "" if frozen or reason_of(task) not in CORRECTABLE else f"kubectl edit collabtask {_place(task)}"


def _correct(facts: Facts) -> Advice:
    """A spec that an attempt has begun with is frozen: what it refused takes another task."""
    spec = facts.task.spec
    known = reason_of(facts.task) == Reason.INVALID_PARAMETER
    look = f"submit --task {spec.task} --method {spec.method} --parameters" if known else "submit --help"
    return "", (look, correction(facts.task) or _again(facts, ""))


def _submit_anew(_facts: Facts) -> Advice:
    return "", ("submit --help",)


def _ask_for_less_or_more_quota(facts: Facts) -> Advice:
    quota, less = asking_less.beyond_quota(facts.task.spec.resources_per_node, facts.team)
    if not quota:
        return "", (_again(facts, ""),)
    raised = f"teams add {facts.task.metadata.namespace} {quota}"
    if not less:
        return "an admin, then you", (raised, _again(facts, ""))
    return "you with less, or else an admin", (_again(facts, less), raised)


def _ask_for_less(facts: Facts) -> Advice:
    return "", (_again(facts, asking_less.beyond_node(facts.task.spec.resources_per_node, message_of(facts.task))),)


def _more_memory(facts: Facts) -> Advice:
    last = attempts.newest(facts.task)
    found = QUANTITY.match((last.memory if last else "") or facts.task.spec.resources_per_node.memory)
    memory = f"{2 * int(found[1])}{found[2]}" if found else "MORE"
    return "", (_again(facts, f"--memory {memory}"),)


def _lower_learning_rate(facts: Facts) -> Advice:
    rate = str(facts.task.spec.parameters.get("learningRate", "1e-4"))
    try:
        lower = f"{float(rate) / 10:.3g}"
    except ValueError:
        lower = "1e-5"
    return "", (_again(facts, f"--set learningRate={lower}"),)


def _after_attempts(facts: Facts) -> Advice:
    return "", (*_log_of_newest(facts), _again(facts, ""))


def _log_of_newest(facts: Facts) -> tuple[str, ...]:
    """The log of the newest attempt, unless its pod was taken away."""
    last = attempts.newest(facts.task)
    if last is None:
        return (f"logs {_place(facts.task)}",)
    return () if last.outcome == "Interrupted" else (f"logs {_place(facts.task)} --attempt {last.number}",)


def _watch_next_attempt(facts: Facts) -> Advice:
    return "", (f"get {_place(facts.task)} -w", *_log_of_newest(facts))


def _resume(facts: Facts) -> Advice:
    return "", (f"resume {_place(facts.task)}",)


def _longer(facts: Facts) -> Advice:
    limit = facts.task.spec.active_deadline_seconds
    return "", (_again(facts, f"--deadline {duration_text(2 * limit)}" if limit else ""),)


def _wait_longer(facts: Facts) -> Advice:
    limit = facts.task.spec.pending_deadline_seconds
    return "", (_again(facts, f"--pending-deadline {duration_text(2 * limit)}" if limit else ""),)


def _larger_budget(facts: Facts) -> Advice:
    budget = facts.task.spec.budget
    limits = {"cpu": budget.cpu_seconds, "gpu": budget.gpu_seconds} if budget else {}
    flags = [f"--budget {what}={duration_text(2 * limit)}" for what, limit in limits.items() if limit]
    return "", (*_read_report(facts)[1], _again(facts, " ".join(flags)))


def _grant_then_again(facts: Facts) -> Advice:
    owner, commands = _grant(facts)
    return f"{owner}, then you" if owner else "", (*commands, _again(facts, ""))


def _again(facts: Facts, change: str) -> str:
    """The same task under the next free name, with something changed."""
    name = facts.task.metadata.name
    taken = {each.metadata.name for each in facts.neighbours} | facts.taken | {name}
    stem = re.sub(r"-[0-9]+$", "", name)
    free = next(f"{stem}-{number}" for number in range(2, len(taken) + 3) if f"{stem}-{number}" not in taken)
    return f"submit {free} -n {facts.task.metadata.namespace} --like {name} {change}".rstrip()


def _read_logs(facts: Facts) -> Advice:
    return "", _log_of_newest(facts)


def _read_report(facts: Facts) -> Advice:
    return "", (f"report {_place(facts.task)}",)


def _watch(facts: Facts) -> Advice:
    return "", (f"get {_place(facts.task)} -w",)


def _other_name(facts: Facts) -> Advice:
    return "", (f"kubectl get jobs -n {facts.task.metadata.namespace}", _again(facts, ""))


def _look_at_rules(facts: Facts) -> Advice:
    return "an admin", (f"kubectl describe namespace {facts.task.metadata.namespace}",)


def _is_operator_there(facts: Facts) -> Advice:
    if facts.age <= LONG_SECONDS:
        return "", (f"get {_place(facts.task)} -w",)
    return "an admin", ("kubectl get pods -n collabspace-system", "collabspace local status")


ADVICE: dict[Reason, Callable[[Facts], Advice]] = {
    Reason.PENDING: _is_operator_there,
    Reason.GRANT_MISSING: _grant,
    Reason.GRANT_EXPIRED: _grant,
    Reason.USE_NOT_GRANTED: _grant,
    Reason.ACCESS_REVOKED: _grant_then_again,
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
    Reason.RESULT_GONE: _submit_anew,
    Reason.GATE_NOT_MET: _read_report,
    Reason.BUDGET_SPENT: _larger_budget,
    Reason.DIVERGED: _lower_learning_rate,
    Reason.ATTEMPTS_EXHAUSTED: _after_attempts,
    Reason.DEADLINE_EXCEEDED: _longer,
    Reason.PENDING_DEADLINE_EXCEEDED: _wait_longer,
    Reason.SUSPENDED: _resume,
    Reason.RETRY_BACKOFF: _watch_next_attempt,
    Reason.NODE_LOST: _watch,
    Reason.INTERRUPTED: _watch,
    Reason.BROKER_UNAVAILABLE: _watch_next_attempt,
    Reason.NO_PROGRESS: _watch_next_attempt,
    Reason.TRAINING: _watch,
    Reason.STARTING: _watch,
    Reason.STOPPING: _watch,
    Reason.CONFIRMING: _watch,
    Reason.QUOTA_RESERVED: _watch,
    Reason.COMPLETED: _read_report,
}
