"""All that a decision about one task depends on, but for the task itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from collabspace.api.catalogue import Catalogue
from collabspace.api.conditions import Reason
from collabspace.core.admission import Verdict
from collabspace.core.job import JobSettings
from collabspace.core.observed import (
    NO_MODELS,
    AttemptRecord,
    Dataset,
    JobFacts,
    Key,
    Models,
    NotRunning,
    PodFacts,
    TeamFacts,
)
from collabspace.core.outcome import NOTHING, Remains
from collabspace.core.quantity import Amount


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server did not take the Job. The task waits and tries again later."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class TaskWorld:
    """The world as far as one task is concerned.

    `datasets` holds those of the task's references that exist, `models` its results and aliases; `namespaces` maps
    every namespace to its uid; `job` is the newest Job known, also after it was deleted, and `jobs` are all that are
    there; `pod` and `record` are of the newest attempt. `broker_known` says that the broker's feed is current,
    `broker_attempt` of which attempt it last heard, `still_seconds` for how long it reported no progress. `offers` is
    what the nodes have.
    """

    catalogue: Catalogue
    settings: JobSettings
    datasets: Mapping[Key, Dataset]
    namespaces: Mapping[str, str]
    team: TeamFacts
    verdict: Verdict | None = None
    refusal: Refusal | None = None
    job: JobFacts | None = None
    jobs: tuple[JobFacts, ...] = ()
    pod: PodFacts | None = None
    remains: Remains = NOTHING
    record: AttemptRecord | None = None
    broker_known: bool = False
    broker_attempt: int = 0
    still_seconds: float | None = None
    not_running: NotRunning | None = None
    offers: frozenset[Amount] = frozenset()
    models: Models = NO_MODELS
