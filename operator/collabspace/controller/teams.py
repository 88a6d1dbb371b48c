"""Whether a namespace is set up as a team: labelled by an admin, its settings readable, the trainer's account there."""

import logging
from dataclasses import dataclass

from collabspace.api import names
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.world import TEAM, World
from collabspace.core.observed import TeamFacts
from collabspace.kube.client import KubeClient, KubeError

FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0
FORBIDDEN, NOT_FOUND = 403, 404
READY = TeamFacts(True)
UNKNOWN = TeamFacts(None)
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Check:
    uid: str
    facts: TeamFacts
    pause: float = FIRST_SECONDS


class Teams:
    """Looks once per team, not once per task; a team that is not ready is looked at again with growing pauses."""

    def __init__(self, world: World, queue: KeyQueue, client: KubeClient) -> None:
        self._world = world
        self._queue = queue
        self._client = client
        self._checks: dict[str, _Check] = {}

    def facts(self, namespace: str) -> TeamFacts:
        """What is known; unknown ones are found out and then wake their tasks."""
        known = self._world.namespaces.get(("", namespace))
        remedy = f"An admin sets it up: kubectl collab teams add {namespace}"
        if known is None:
            # A task in it proves that it exists: its own event is on the way.
            return UNKNOWN
        if known.team is None:
            return TeamFacts(False, f"namespace {namespace} is not a team. {remedy}")
        if known.team.problems:
            return TeamFacts(False, "; ".join(known.team.problems))
        check = self._checks.get(namespace)
        if check is None or check.uid != known.uid:
            self._checks[namespace] = _Check(known.uid, UNKNOWN)
            self._queue.add(WorkKey(TEAM, "", namespace))
            return UNKNOWN
        return check.facts

    def doubt(self, namespace: str) -> None:
        """Something in the namespace was forbidden to us: look again before the next task starts there."""
        self._checks.pop(namespace, None)

    async def look(self, namespace: str) -> float | None:
        """One look at the trainer's account. Seconds until the next, None when the team is ready or not asked for."""
        known = self._world.namespaces.get(("", namespace))
        check = self._checks.get(namespace)
        if known is None or known.team is None or check is None:
            self._checks.pop(namespace, None)
            return None
        before = check.facts
        if before.ready and check.uid == known.uid:
            return None
        check.facts = await self._ready(namespace)
        check.uid = known.uid
        if check.facts != before:
            self._world.wake_team(namespace)
        if check.facts.ready:
            return None
        check.pause = min(LAST_SECONDS, check.pause * 2)
        return check.pause

    async def _ready(self, namespace: str) -> TeamFacts:
        try:
            await self._client.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{names.TRAINER_ACCOUNT}")
        except KubeError as error:
            if error.status not in (FORBIDDEN, NOT_FOUND):
                raise
            lacks = "the trainer's account" if error.status == NOT_FOUND else "the operator's rights"
            return TeamFacts(
                False,
                f"namespace {namespace} lacks {lacks}. An admin sets it up: kubectl collab teams add {namespace}",
            )
        return READY
