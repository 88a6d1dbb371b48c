"""The leaderboard: what each candidate came to, on the validation split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from collabspace.api.conditions import Reason
from collabspace.api.selection import Candidate, CandidateState, Cost, Goal, LeaderboardEntry
from collabspace.api.task import TaskMetric
from collabspace.core import ranking, status
from collabspace.core.ranking import Scored
from collabspace.core.selection_children import Run, Stage

VALIDATION = "validation"
MAX_MESSAGE = 512


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate: `values` of its ended runs by their task's name, `value` their mean."""

    candidate: Candidate
    runs: tuple[Run, ...]
    state: CandidateState
    reason: str = ""
    message: str = ""
    values: tuple[tuple[Run, Decimal], ...] = ()

    @property
    def value(self) -> Decimal:
        return sum((value for _, value in self.values), Decimal(0)) / max(1, len(self.values))

    @property
    def cost(self) -> Cost:
        return total([run.trial.cost for run in self.runs if run.trial.stage is not Stage.FOREIGN])

    @property
    def cost_of_run(self) -> Decimal:
        used = total([run.trial.cost for run, _ in self.values])
        return ranking.seconds(used.cpu_seconds, used.gpu_seconds) / max(1, len(self.values))

    @property
    def scored(self) -> Scored:
        return Scored(self.candidate.name, self.value, self.cost_of_run)

    def best_run(self, goal: Goal) -> Run:
        """Of its ended runs the one with the best value, of equal ones the first."""
        names = ranking.rank([Scored(run.trial.name, value) for run, value in self.values], goal)
        return next(run for run, _ in self.values if run.trial.name == names[0].candidate)


def total(costs: Sequence[Cost]) -> Cost:
    """The sum."""
    return Cost(
        cpu_seconds=sum(each.cpu_seconds for each in costs), gpu_seconds=sum(each.gpu_seconds for each in costs)
    )


def stand(candidate: Candidate, runs: Sequence[Run], metric: str) -> Standing:
    """What is known of a candidate; the budget has had no say in it yet."""
    known = tuple(runs)
    for run in known:
        if run.trial.stage in (Stage.FOREIGN, Stage.CHANGED, Stage.FAILED):
            return Standing(candidate, known, CandidateState.EXCLUDED, run.trial.reason, run.trial.message)
    values = []
    for run in known:
        if run.trial.stage is not Stage.ENDED:
            continue
        told = _told(run, metric)
        if told is None:
            words = f"CollabTask {run.trial.name} reports no {metric} on the validation split"
            return Standing(candidate, known, CandidateState.EXCLUDED, Reason.METRIC_MISSING.value, words)
        try:
            values.append((run, ranking.figure(metric, told.value)))
        except ValueError as error:
            words = f"{metric} of CollabTask {run.trial.name} on the validation split: {error}"
            return Standing(candidate, known, CandidateState.EXCLUDED, Reason.METRIC_INVALID.value, words)
    if len(values) == len(known):
        return Standing(candidate, known, CandidateState.RANKED, values=tuple(values))
    first = next((run.trial for run in known if run.trial.stage is Stage.ACTIVE), None)
    started = bool(values) or any(run.trial.running for run in known)
    state = CandidateState.RUNNING if started else CandidateState.WAITING
    reason, message = (first.reason, first.message) if first is not None else ("", "")
    return Standing(candidate, known, state, reason, message, tuple(values))


def _told(run: Run, metric: str) -> TaskMetric | None:
    among = run.trial.task.status.metrics if run.trial.task is not None else []
    return next(
        (each for each in among if each.name == metric and each.split == VALIDATION and not each.dataset + each.label),
        None,
    )


def settle(standing: Standing, skipped: Mapping[str, str]) -> Standing:
    """The candidate once nothing runs that could give budget back: ranked by the runs it has, or skipped."""
    short = next((skipped[run.trial.name] for run in standing.runs if run.trial.name in skipped), None)
    if short is None or standing.state not in (CandidateState.WAITING, CandidateState.RUNNING):
        return standing
    state = CandidateState.RANKED if standing.values else CandidateState.SKIPPED
    return Standing(standing.candidate, standing.runs, state, Reason.BUDGET_EXHAUSTED.value, short, standing.values)


def ranked(standings: Sequence[Standing], goal: Goal) -> list[Standing]:
    """Those with a rank, the best first."""
    by_name = {each.candidate.name: each for each in standings if each.state is CandidateState.RANKED}
    return [by_name[each.candidate] for each in ranking.rank([each.scored for each in by_name.values()], goal)]


def entries(standings: Sequence[Standing], goal: Goal) -> list[LeaderboardEntry]:
    """The leaderboard as the status has it."""
    best = ranked(standings, goal)
    rest = [each for each in standings if each.state is not CandidateState.RANKED]
    return [
        *(_entry(each, place, goal) for place, each in enumerate(best, start=1)),
        *(_entry(each, None, goal) for each in rest),
    ]


def _entry(standing: Standing, rank: int | None, goal: Goal) -> LeaderboardEntry:
    there = [run.trial.name for run in standing.runs if run.trial.stage is not Stage.MISSING]
    return LeaderboardEntry(
        rank=rank,
        candidate=standing.candidate.name,
        task_name=standing.best_run(goal).trial.name if standing.values else (there[0] if there else ""),
        validation_value=ranking.text(standing.value) if standing.values else "",
        cost=standing.cost,
        runs=len(standing.values),
        state=standing.state,
        reason=standing.reason,
        message=status.bounded(standing.message, MAX_MESSAGE),
    )
