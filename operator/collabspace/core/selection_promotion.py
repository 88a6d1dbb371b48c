"""What becomes of the alias: the broker is asked to set it, and its answer ends the selection.

A refusal ends it as well, and the winner stays on record. Asked again is only when something has changed since: the
spec (suspended and resumed is enough), or what the alias stands for.
"""

from collabspace.api.conditions import Reason
from collabspace.api.selection import PromotionRecord, PromotionState, SelectionStatus, Winner
from collabspace.core import status
from collabspace.core.observed import AliasRecord
from collabspace.core.selection_board import MAX_MESSAGE
from collabspace.core.selection_case import Case
from collabspace.core.selection_status import over
from collabspace.core.selection_world import PromotionRequest, SelectionPlan

MOVED = "somebody else set the alias meanwhile, so the comparison does not hold; look at it and decide anew"
BY_HAND = "a person promoted it"
ASKED_AGAIN = "asked again after the broker had refused it"


def standing(case: Case, name: str) -> AliasRecord | None:
    """What the alias stands for, as far as the broker has told."""
    return case.world.models.aliases.get((case.namespace, name))


def is_promoted(case: Case, alias: AliasRecord | None, winner: Winner) -> bool:
    """Whether the alias was set by us, or stands for the winner by anybody's doing."""
    if alias is None:
        return False
    return _key(case) in alias.keys or alias.digest == winner.result_digest


def has_moved(case: Case, name: str, winner: Winner) -> bool:
    """Whether the alias stands for something else than when the winner went on record."""
    alias, champion = standing(case, name), case.base.champion
    if is_promoted(case, alias, winner):
        return False
    now = alias.digest if alias is not None else None
    return now != (champion.result_digest if champion is not None else None)


def ask(case: Case, name: str, winner: Winner, words: str) -> SelectionPlan:
    """Asks the broker to set the alias, or ends by what it answered. `words` say why the winner deserves it."""
    answer = case.world.answer
    if answer is None:
        return SelectionPlan(promote=_request(case, name, winner))
    if answer.alias is not None:
        return end(case, winner, PromotionState.PROMOTED, words, answer.alias)
    if answer.moved:
        return end(case, winner, PromotionState.MOVED, MOVED)
    why = f"the broker refused to set it: {answer.words}; once that is mended: kubectl collab promote {case.name}"
    return end(case, winner, PromotionState.KEPT, why, refused=True)


def reconsider(case: Case) -> SelectionPlan:
    """What may still become of the alias of a selection that has ended; nothing in most cases."""
    before = case.selection.status
    record, winner = before.promotion, before.winner
    refused = before.reason == Reason.PROMOTION_REFUSED
    if record is None or winner is None or not (refused or record.state is PromotionState.AWAITING):
        return SelectionPlan()
    alias = standing(case, record.alias)
    if alias is not None and is_promoted(case, alias, winner):
        words = ASKED_AGAIN if _key(case) in alias.keys else BY_HAND
        if refused:
            return end(case, winner, PromotionState.PROMOTED, words, alias)
        return SelectionPlan(status=_told(case, winner, PromotionState.PROMOTED, words, alias))
    if not refused or not case.world.broker_read or case.spec.suspend:
        return SelectionPlan()
    if has_moved(case, record.alias, winner):
        return end(case, winner, PromotionState.MOVED, MOVED)
    if case.selection.meta.generation == before.observed_generation:
        return SelectionPlan()
    return ask(case, record.alias, winner, ASKED_AGAIN)


def end(
    case: Case,
    winner: Winner,
    state: PromotionState | None = None,
    message: str = "",
    alias: AliasRecord | None = None,
    *,
    refused: bool = False,
) -> SelectionPlan:
    """The selection is over, with a winner. `refused`: the broker will not have it for what the alias stands for."""
    metric = case.spec.objective.metric
    words = f"winner {winner.candidate}: {metric} {winner.metric_value} on the validation split; {winner.message}"
    base, promotion = case.base, case.spec.promotion
    if state is not None and promotion is not None:
        base = _told(case, winner, state, message, alias)
        said = f"Alias {promotion.alias}: {state}" + (f", {message}" if message else "")
        # What is to be mended comes first, as long messages are cut.
        words = f"{said}. The {words}" if refused else f"{words}. {said}"
    return over(case.selection, base, Reason.PROMOTION_REFUSED if refused else Reason.COMPLETED, words, case.now)


def _key(case: Case) -> str:
    """The same at every try, also of another process: the spec is frozen, so a selection promotes once."""
    return f"{case.selection.meta.uid}/promotion"


def _request(case: Case, name: str, winner: Winner) -> PromotionRequest:
    champion = case.selection.status.champion
    return PromotionRequest(
        namespace=case.namespace,
        alias=name,
        key=_key(case),
        task_uid=winner.task_uid,
        digest=winner.result_digest,
        replaces=champion.result_digest if champion is not None else None,
    )


def _told(
    case: Case, winner: Winner, state: PromotionState, message: str, alias: AliasRecord | None = None
) -> SelectionStatus:
    """The status with what became of the alias; `alias` as it was set."""
    name = case.spec.promotion.alias if case.spec.promotion is not None else ""
    stands = winner.result_digest
    if state is not PromotionState.PROMOTED:
        other = standing(case, name)
        stands = other.digest if other is not None else ""
    record = PromotionRecord(
        state=state,
        alias=name,
        result_digest=stands,
        time=alias.promoted_time or None if alias is not None else None,
        message=status.bounded(message, MAX_MESSAGE),
    )
    return case.base.model_copy(update={"promotion": record})
