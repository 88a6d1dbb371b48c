"""All candidates have ended: who wins, and what becomes of the alias."""

from dataclasses import dataclass, replace

from collabspace.api.catalogue import Purpose
from collabspace.api.conditions import Reason
from collabspace.api.selection import (
    Champion,
    ComparisonEntry,
    PromotionMode,
    PromotionRecord,
    PromotionState,
    Rival,
    Verdict,
    Winner,
)
from collabspace.core import ranking, selection_comparison, selection_pins, status
from collabspace.core.observed import AliasRecord
from collabspace.core.selection_board import MAX_MESSAGE, VALIDATION, Standing, ranked
from collabspace.core.selection_case import Case
from collabspace.core.selection_children import CHOOSE, Stage, Trial
from collabspace.core.selection_comparison import Choice, finalists, results_of
from collabspace.core.selection_rivals import compare
from collabspace.core.selection_status import ongoing, over, sooner
from collabspace.core.selection_steps import step
from collabspace.core.selection_world import PromotionRequest, SelectionPlan


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
    if promotion is not None and _has_moved(case, promotion.alias, decided.winner):
        words = "somebody else set the alias meanwhile, so the comparison does not hold; look at it and decide anew"
        return _end(case, decided, PromotionState.MOVED, words)
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


def _alias(case: Case, name: str) -> AliasRecord | None:
    return case.world.models.aliases.get((case.namespace, name))


def _key(case: Case) -> str:
    """The same at every try, also of another process: the spec is frozen, so a selection promotes once."""
    return f"{case.selection.meta.uid}/promotion"


def _record(case: Case, decided: _Decided) -> SelectionPlan:
    """Winner and champion go on record together, before anything is done about either."""
    alias = _alias(case, case.spec.promotion.alias) if case.spec.promotion is not None else None
    # Without a champion on record beside the winner, there was none.
    champion = Champion(task_name=alias.task, result_digest=alias.digest) if alias is not None else None
    base = case.base.model_copy(update={"winner": decided.winner, "champion": champion, "comparison": []})
    words = f"winner {decided.winner.candidate}: {decided.winner.message}"
    return sooner(ongoing(case.selection, base, Reason.COMPARING, words, case.now), 0.0)


def _is_promoted(case: Case, alias: AliasRecord | None, winner: Winner) -> bool:
    """Whether the alias was set by us, or stands for the winner by anybody's doing."""
    if alias is None:
        return False
    return _key(case) in alias.keys or alias.digest == winner.result_digest


def _has_moved(case: Case, name: str, winner: Winner) -> bool:
    alias, champion = _alias(case, name), case.base.champion
    if _is_promoted(case, alias, winner):
        return False
    now = alias.digest if alias is not None else None
    return now != (champion.result_digest if champion is not None else None)


def _promote(case: Case, decided: _Decided, compared: list[ComparisonEntry]) -> SelectionPlan:
    told = replace(case, base=case.base.model_copy(update={"comparison": compared}))
    promotion = case.spec.promotion
    if promotion is None:
        return _end(told, decided)
    alias = _alias(case, promotion.alias)
    if alias is not None and _is_promoted(case, alias, decided.winner):
        return _end(told, decided, PromotionState.PROMOTED, alias=alias)
    if promotion.mode is PromotionMode.MANUAL:
        words = f"a person decides: kubectl collab promote {case.name}"
        return _end(told, decided, PromotionState.AWAITING, words)
    better, words = _judge(case, decided, compared)
    if not better:
        return _end(told, decided, PromotionState.KEPT, words)
    before = case.selection.status
    if before.reason != Reason.PROMOTING or before.comparison != compared:
        return sooner(ongoing(case.selection, told.base, Reason.PROMOTING, words, case.now), 0.0)
    answer = case.world.answer
    if answer is None:
        return SelectionPlan(promote=_request(case, promotion.alias, decided.winner))
    if answer.alias is not None:
        return _end(told, decided, PromotionState.PROMOTED, words, answer.alias)
    if answer.moved:
        moved = "somebody else set the alias meanwhile, so the comparison does not hold; look at it and decide anew"
        return _end(told, decided, PromotionState.MOVED, moved)
    return _end(told, decided, PromotionState.KEPT, f"the broker refused to set the alias: {answer.words}")


def _request(case: Case, alias: str, winner: Winner) -> PromotionRequest:
    champion = case.selection.status.champion
    return PromotionRequest(
        namespace=case.namespace,
        alias=alias,
        key=_key(case),
        task_uid=winner.task_uid,
        digest=winner.result_digest,
        replaces=champion.result_digest if champion is not None else None,
    )


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


def _end(
    case: Case,
    decided: _Decided,
    state: PromotionState | None = None,
    message: str = "",
    alias: AliasRecord | None = None,
) -> SelectionPlan:
    """The selection is over, with a winner."""
    winner, metric = decided.winner, case.spec.objective.metric
    words = f"winner {winner.candidate}: {metric} {winner.metric_value} on the validation split; {winner.message}"
    base, promotion = case.base, case.spec.promotion
    if state is not None and promotion is not None:
        standing = winner.result_digest if state is PromotionState.PROMOTED else _standing(case, promotion.alias)
        record = PromotionRecord(
            state=state,
            alias=promotion.alias,
            result_digest=standing,
            time=alias.promoted_time or None if alias is not None else None,
            message=status.bounded(message, MAX_MESSAGE),
        )
        base = base.model_copy(update={"promotion": record})
        words += f". Alias {promotion.alias}: {state}" + (f", {message}" if message else "")
    return over(case.selection, base, Reason.COMPLETED, words, case.now)


def _standing(case: Case, name: str) -> str:
    alias = _alias(case, name)
    return alias.digest if alias is not None else ""


def promoted(name: str, alias: AliasRecord) -> PromotionRecord:
    """The record of an alias that a person has set to the winner."""
    return PromotionRecord(
        state=PromotionState.PROMOTED,
        alias=name,
        result_digest=alias.digest,
        time=alias.promoted_time or None,
        message="a person promoted it",
    )
