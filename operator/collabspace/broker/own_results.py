"""Reading stored results of the own team: models to start from or to evaluate, and figures per record to compare.

A result is read by the trainer whose run document pins it and whose task's spec names it, and by people of the team.
Figures per record are the raw material of comparisons: they go to a task of method Comparison alone, which returns
numbers, and such a task gets nothing else. Predictions per record hold the labels that owners gave, of data that nobody
was granted to see: they go to nobody.
"""

from dataclasses import dataclass

from collabspace.api import names
from collabspace.api.run import COMPARISON
from collabspace.api.task import ModelKind
from collabspace.broker.access import Why
from collabspace.broker.aliases import Aliases
from collabspace.broker.feed import Knowledge
from collabspace.broker.identity import AccessDenied, Trainer, entry_of
from collabspace.broker.ledger import Entry
from collabspace.broker.live import Cluster
from collabspace.broker.tokens import Caller
from collabspace.client.protocol import SessionRequest

COUNTS, PREDICTIONS = "counts/", "predictions/"
# With this begins the purpose in the record of reading one.
RESULT_OF = "result of "
COMPARED = frozenset({"metrics.json", "run.json", "DONE"})


def serves_comparison(path: str) -> bool:
    return path.startswith(COUNTS) or path in COMPARED


def serves_others(path: str) -> bool:
    """To people of the team, and to a task that starts from it or evaluates it: the model and what describes it."""
    return not path.startswith((COUNTS, PREDICTIONS))


@dataclass(frozen=True)
class Wish:
    """A result of the team `namespace`: of a task by name, or what an alias stands for.

    `uid` and `digest`: of the task that stored it, and the result itself; None: what there is now.
    """

    namespace: str
    kind: ModelKind
    name: str
    uid: str | None = None
    digest: str | None = None
    compared: bool = False


def wished_by(trainer: Trainer, request: SessionRequest) -> Wish | None:
    """The result that the run document pins under that uid and digest, while the task's spec names it; else None."""
    spec, training, home = trainer.task.spec, trainer.run.training, trainer.caller.namespace
    wanted = request.uid, request.digest
    model, source = training.initial_model, spec.model_from
    if model is not None and source is not None and source.kind is not ModelKind.SHARED_DATASET:
        named = source.namespace == home and source.digest in (None, model.digest)
        if named and (model.uid, model.digest) == wanted:
            return Wish(home, source.kind, source.name, *wanted)
    if spec.method != COMPARISON or training.method != COMPARISON:
        return None
    for pinned in training.results:
        listed = next((each for each in spec.results if each.name == pinned.name), None)
        if (pinned.uid, pinned.digest) == wanted and listed is not None and listed.digest == pinned.digest:
            return Wish(home, ModelKind.COLLAB_TASK, listed.task_name, *wanted, compared=True)
    return None


def wished_by_person(caller: Caller, request: SessionRequest) -> Wish:
    """Raises AccessDenied."""
    if caller.account != names.READER_ACCOUNT:
        raise AccessDenied(Why.ACCOUNT_NOT_KNOWN, entry_of(caller))
    if request.namespace != caller.namespace:
        raise AccessDenied(Why.NOT_OWN_NAMESPACE, entry_of(caller))
    return Wish(caller.namespace, request.kind, request.name or "", request.uid, request.digest)


class OwnResults:
    """Finds what is wished for as it is now."""

    def __init__(self, cluster: Cluster, aliases: Aliases, knowledge: Knowledge) -> None:
        self._cluster = cluster
        self._aliases = aliases
        self._knowledge = knowledge

    async def find(self, wish: Wish, who: Entry) -> tuple[str, str | None]:
        """uid of the task and digest of the result (None: it has stored none). Raises AccessDenied, Undecided."""
        find = self._by_alias if wish.kind is ModelKind.ALIAS else self._by_task
        uid, digests = await find(wish)
        if uid is None or wish.uid not in (None, uid):
            raise AccessDenied(Why.NOT_FOUND, who.but(version=wish.digest))
        if wish.digest is None:
            return uid, next(iter(digests), None)
        if wish.digest not in digests:
            raise AccessDenied(Why.NOT_FOUND, who.but(version=wish.digest))
        return uid, wish.digest

    async def _by_task(self, wish: Wish) -> tuple[str | None, list[str]]:
        """Results of the task that has the name now, newest first. One that is named is looked up in the store."""
        task = await self._cluster.task(wish.namespace, wish.name)
        if task is None or wish.digest is not None:
            return (None, []) if task is None else (task.metadata.uid, [wish.digest or ""])
        results = (attempt.result for attempt in self._knowledge.attempts_of(task.metadata.uid))
        return task.metadata.uid, [result.digest for result in results if result is not None]

    async def _by_alias(self, wish: Wish) -> tuple[str | None, list[str]]:
        """What the alias stands for, or that for which it stood when the wish was pinned."""
        namespace_uid = await self._cluster.namespace_uid(wish.namespace)
        state = None if namespace_uid is None else await self._aliases.find(namespace_uid, wish.name)
        if state is None:
            return None, []
        if wish.digest is None or wish.digest == state.digest:
            return state.task_uid, [state.digest]
        if state.last is not None and wish.digest == state.last.digest:
            return state.last.task_uid, [state.last.digest]
        # Of those before, the uid is known to whoever pinned it; the digest of a result binds it to its task.
        return wish.uid, state.previous
