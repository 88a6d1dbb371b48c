"""All candidates have ended: who wins, and what becomes of the alias."""

from dataclasses import dataclass, replace

from collabspace.api.catalogue import Purpose
from collabspace.api.conditions import Reason
from collabspace.api.selection import Champion, ComparisonEntry, PromotionMode, PromotionState, Rival, Verdict, Winner
from collabspace.core import ranking, selection_comparison, selection_pins, status
from collabspace.core.selection_board import MAX_MESSAGE, VALIDATION, Standing, ranked
from collabspace.core.selection_case import Case
from collabspace.core.selection_children import CHOOSE, Stage, Trial
from collabspace.core.selection_comparison import Choice, finalists, results_of
from collabspace.core.selection_promotion import MOVED, ask, end, has_moved, is_promoted, standing
from collabspace.core.selection_rivals import compare
from collabspace.core.selection_status import ongoing, over, sooner
from collabspace.core.selection_steps import step
from collabspace.core.selection_world import SelectionPlan


@dataclass(frozen=True, slots=True)
class _Decided:
    """The winner, as a candidate and as the status tells it."""

    standing: Standing
    winner: Winner


def conclude(case: Case) -> SelectionPlan:
    """The next step to the end; each needs the one before to be on record."""
    best = ranked(case.standings, case.spec.objective.goal)
    if not best:
        base = case.base.model_copy(update={"winner": None, "champion": None, "comparison": []})
        return over(case.selection, base, Reason.NO_WINNER, Reason.NO_WINNER.help, case.now)
    choice = _choose(case, best)
    if isinstance(choice, SelectionPlan):
        return choice
    decided = _decided(case, choice)
    promotion = case.spec.promotion
    if promotion is not None and not case.world.broker_read:
        words = f"waiting for the broker to tell what alias {promotion.alias} stands for"
        return ongoing(case.selection, case.base, Reason.COMPARING, words, case.now)
    if not _is_same(case.selection.status.winner, decided.winner):
        return _record(case, decided)
    if promotion is not None and has_moved(case, promotion.alias, decided.winner):
        return end(case, decided.winner, PromotionState.MOVED, MOVED)
    compared = compare(case, decided.standing, best)
    if isinstance(compared, SelectionPlan):
        return compared
    if isinstance(compared, Trial):
        return _failed(case, compared)
    return _promote(case, decided, compared)


def _choose(case: Case, best: list[Standing]) -> Choice | SelectionPlan:
    if len(best) == 1:
        many = len(case.standings) > 1
        return Choice(best[0], "the only candidate with a figure" if many else "the only candidate: nothing to compare")
    method = selection_comparison.method(case.world.catalogue, case.spec, Purpose.COMPARISON)
    if method is None:
        metric = case.spec.objective.metric
        return Choice(best[0], f"Undecided: the best {metric}, which does not come of counts of records to compare")
    last = finalists(best)
    results = [each for one in last for each in results_of(one, one.candidate.name)]
    datasets = selection_pins.datasets(case.spec, case.pinned)
    found = step(case, CHOOSE, selection_comparison.wanted(case.spec, method, VALIDATION, datasets, results))
    if isinstance(found, SelectionPlan):
        return found
    if found.stage is Stage.FAILED or found.task is None:
        return _failed(case, found)
    return selection_comparison.choose(last, found.task.status.metrics, case.spec)


def _failed(case: Case, trial: Trial) -> SelectionPlan:
    words = f"CollabTask {trial.name}: {trial.reason}: {trial.message}"
    return over(case.selection, case.base, Reason.COMPARISON_FAILED, words, case.now)


def _decided(case: Case, choice: Choice) -> _Decided:
    standing = choice.standing
    task = standing.best_run(case.spec.objective.goal).trial.task
    # A ranked candidate has a run that ended with a result.
    assert task is not None and task.status.result is not None  # noqa: S101
    winner = Winner(
        candidate=standing.candidate.name,
        task_name=task.meta.name,
        task_uid=task.meta.uid,
        result_digest=task.status.result.digest,
        metric_value=ranking.text(standing.value),
        message=status.bounded(choice.message, MAX_MESSAGE),
    )
    return _Decided(standing, winner)


def _is_same(known: Winner | None, winner: Winner) -> bool:
    return known is not None and (known.candidate, known.task_uid, known.result_digest) == (
        winner.candidate,
        winner.task_uid,
        winner.result_digest,
    )


def _record(case: Case, decided: _Decided) -> SelectionPlan:
    """Winner and champion go on record together, before anything is done about either."""
    alias = standing(case, case.spec.promotion.alias) if case.spec.promotion is not None else None
    # Without a champion on record beside the winner, there was none.
    champion = Champion(task_name=alias.task, result_digest=alias.digest) if alias is not None else None
    base = case.base.model_copy(update={"winner": decided.winner, "champion": champion, "comparison": []})
    words = f"winner {decided.winner.candidate}: {decided.winner.message}"
    return sooner(ongoing(case.selection, base, Reason.COMPARING, words, case.now), 0.0)


def _promote(case: Case, decided: _Decided, compared: list[ComparisonEntry]) -> SelectionPlan:
    told, winner = replace(case, base=case.base.model_copy(update={"comparison": compared})), decided.winner
    promotion = case.spec.promotion
    if promotion is None:
        return end(told, winner)
    alias = standing(case, promotion.alias)
    if alias is not None and is_promoted(case, alias, winner):
        return end(told, winner, PromotionState.PROMOTED, alias=alias)
    if promotion.mode is PromotionMode.MANUAL:
        return end(told, winner, PromotionState.AWAITING, f"a person decides: kubectl collab promote {case.name}")
    better, words = _judge(case, decided, compared)
    if not better:
        return end(told, winner, PromotionState.KEPT, words)
    before = case.selection.status
    if before.reason != Reason.PROMOTING or before.comparison != compared:
        return sooner(ongoing(case.selection, told.base, Reason.PROMOTING, words, case.now), 0.0)
    return ask(told, promotion.alias, winner, words)


def _judge(case: Case, decided: _Decided, compared: list[ComparisonEntry]) -> tuple[bool, str]:
    """Whether the winner takes the champion's place, and why."""
    champion = case.base.champion
    if champion is None:
        return True, "the alias stood for nothing yet"
    entry = next((each for each in compared if each.rival is Rival.CHAMPION), None)
    if entry is None:
        return False, "the champion stays: it was not compared"
    if entry.verdict is Verdict.BETTER:
        return True, "shown to be better than the champion"
    if entry.verdict is Verdict.NON_INFERIOR:
        if _is_cheaper(case, decided):
            return True, "no worse than the champion by more than the tolerance, and a fifth cheaper"
        return False, "the champion stays: the winner is no worse by more than the tolerance, but not a fifth cheaper"
    if entry.verdict is Verdict.WORSE:
        return False, "the champion stays: it is better on the test split"
    if entry.message == selection_comparison.NOISE:
        return False, f"the champion stays: {entry.message}; seeds: 3 can tell"
    return False, f"the champion stays: {entry.message}"


def _is_cheaper(case: Case, decided: _Decided) -> bool:
    champion = case.base.champion
    known = case.world.models.results.get((case.namespace, champion.task_name)) if champion is not None else None
    if known is None or champion is None or known.digest != champion.result_digest:
        return False
    used = ranking.seconds(known.usage.cpu_seconds, known.usage.gpu_seconds)
    return decided.standing.cost_of_run * 5 <= used * 4
