"""What goes over the wire between the broker and its callers, as frozen types; spoken on `/v1`.

Every request carries `Authorization: Bearer TOKEN` with a token for the broker's audience. Every answer of 400 and
above has a Refusal as body; `AccessRefused` (403) is the one answer for all that is missing, forbidden or not believed.

| call | who | what |
|---|---|---|
| POST /v1/sessions | trainer, reader | one access decision; its files ride on it; a checkpoint by its task's uid |
| GET /v1/sessions/{id}/files/{path} | same token's pod or account | bytes, `Range` allowed; or 307 and a link |
| DELETE /v1/sessions/{id} | same | closes it in the ledger |
| POST /v1/uploads | publisher, trainer | begins or finds an upload by its manifest |
| PUT /v1/uploads/{id}/blobs/{sha256}?offset=N | same | bytes from offset on; GET tells how many there are |
| POST /v1/uploads/{id}/commit | same | checks all, writes the manifest last |
| PUT /v1/attempts/{task uid}/{n}/progress | trainer | newest progress |
| PUT /v1/attempts/{task uid}/{n}/end | trainer | end record, once |
| GET /v1/checkpoints/{task uid}/{identity} | trainer | complete checkpoints of its own task with that identity |
| GET /v1/results/{namespace}/{task} and .../files/{path} | reader of the task's namespace | the newest stored result |
| GET /v1/progress/{namespace}/{task} | reader | live progress |
| GET /v1/feed?cursor=C&wait=S | operator | what changed since C, waits up to S seconds |
| PUT /v1/usage/{task uid}/{n} | operator | GPU- and CPU-seconds of an attempt, idempotent |
| GET /v1/ledger?before=N&limit=M&dataset=NAME | reader, publisher | newest first: by and about the namespace |
| GET /v1/ledger?after=N&limit=M&since=TIME | same | the same, oldest first |
| GET /v1/ledger/verify | reader, publisher | checks the chains the caller may see |
| PUT /v1/aliases/{namespace}/{alias} | operator, publisher | sets an alias, once for each key |
| GET /v1/aliases/{namespace} | reader, publisher | the namespace's aliases |
| GET /v1/datasets/{namespace} | reader, publisher | the namespace's datasets, and those granted to it |
| POST /v1/admin/rebind | admin account | versions of a dataset that was deleted or restored go to its successor |
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from collabspace.api.manifest import Digest, Frozen, Manifest
from collabspace.api.run import CheckpointReference, EndRecord, Progress
from collabspace.api.task import ModelKind

ClaimedName = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Who a person says to be: printed by terminals, so no control characters."""


Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""sha256 of what is trained and with which libraries: only a run of the same identity may resume a checkpoint."""


class SessionRequest(Frozen):
    """Opens one version. A trainer names the dataset by uid; people by namespace and name."""

    uid: str | None = Field(default=None, max_length=64)
    namespace: str | None = Field(default=None, max_length=63)
    name: str | None = Field(default=None, max_length=253)
    digest: Digest | None = Field(default=None, description="None: the current version (people only).")
    kind: ModelKind = Field(
        default=ModelKind.SHARED_DATASET, description="People: a task of the own namespace for its result, or an alias."
    )
    claimed_by: ClaimedName | None = Field(default=None, alias="claimedBy")


class Session(Frozen):
    """`withheld` are files of the manifest that this session does not serve."""

    id: str
    digest: Digest
    manifest: Manifest
    withheld: list[str] = []


class UploadTarget(Frozen):
    """Where an upload goes: a new version of a dataset of the publisher, or what a trainer's attempt stores.

    A checkpoint names the training it belongs to (`identity`) and the optimizer steps done.
    """

    kind: Literal["Dataset", "Result", "Checkpoint"]
    namespace: str = Field(max_length=63)
    name: str = Field(max_length=253)
    uid: str = Field(max_length=64, description="uid of the SharedDataset or CollabTask.")
    attempt: int | None = Field(default=None, ge=1)
    identity: Identity | None = None
    step: int | None = Field(default=None, ge=0)


class UploadRequest(Frozen):
    target: UploadTarget
    manifest: Manifest
    claimed_by: ClaimedName | None = Field(default=None, alias="claimedBy")


class Upload(Frozen):
    """`missing` lists the sha256 of the blobs that the broker does not hold yet."""

    id: str
    digest: Digest
    missing: list[str]


class BlobState(Frozen):
    """How far a blob has come: `offset` is the number of bytes that the broker holds; the next PUT starts there."""

    offset: int = Field(ge=0)


class Committed(Frozen):
    digest: Digest
    records: int
    bytes: int
    created: bool = Field(description="False when this very version was there already.")


class VersionSource(Frozen):
    """A dataset that a published model was made of."""

    namespace: str
    name: str
    uid: str


class VersionSummary(Frozen):
    digest: Digest
    created_time: str = Field(alias="createdTime")
    format: str
    records: int
    bytes: int
    files: int
    labels: list[str] = []
    sources: list[VersionSource] = []


class Checkpoint(Frozen):
    """A complete checkpoint that the broker holds: fetched like a version, by the uid of the task and this digest."""

    identity: Identity
    step: int = Field(ge=0)
    digest: Digest
    attempt: int = Field(ge=1)
    created_time: str = Field(alias="createdTime")


class Checkpoints(Frozen):
    """Newest first."""

    checkpoints: list[Checkpoint]


class DatasetFeed(Frozen):
    """What the operator needs to know of one dataset: newest version first, at most three, and its use so far."""

    uid: str
    versions: list[VersionSummary]
    reads: int = 0
    denials: int = 0
    bytes_read: int = Field(default=0, alias="bytesRead")
    last_read_time: str | None = Field(default=None, alias="lastReadTime")
    ledger_head: str | None = Field(default=None, alias="ledgerHead")


class AttemptFeed(Frozen):
    task_uid: str = Field(alias="taskUid")
    attempt: int
    progress: Progress | None = None
    end: EndRecord | None = None
    result: Committed | None = None
    checkpoint: CheckpointReference | None = None


Alias = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class AliasChange(Frozen):
    """Asks that an alias stand for the stored result `digest` of the CollabTask `taskUid`.

    `key` makes it happen once: the same key again answers what the alias is, and changes nothing, also after others
    have set it since. `replaces` is what it must stand for now (None: nothing yet); else the answer is AliasMoved.
    """

    key: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9./-]+$")
    task_uid: str = Field(alias="taskUid", max_length=64)
    digest: Digest
    replaces: Digest | None = None
    claimed_by: ClaimedName | None = Field(default=None, alias="claimedBy")


class Standing(Frozen):
    """A stored result that an alias stands for or stood for: by this it is set back, also when its task is gone."""

    task_uid: str = Field(alias="taskUid")
    task: str
    digest: Digest


class AliasState(Frozen):
    """What an alias stands for. `keys` are those of the latest changes, newest first; the first one made it so.

    The results of it and of `last` are kept, whatever becomes of their tasks.
    """

    namespace: str
    namespace_uid: str = Field(alias="namespaceUid")
    alias: Alias
    task_uid: str = Field(alias="taskUid")
    task: str
    digest: Digest
    promoted_time: str = Field(alias="promotedTime")
    keys: list[str] = Field(max_length=100)
    previous: list[Digest] = Field(default=[], max_length=100, description="What it stood for before, newest first.")
    last: Standing | None = Field(default=None, description="What it stood for just before.")

    @property
    def standing(self) -> Standing:
        return Standing(task_uid=self.task_uid, task=self.task, digest=self.digest)


class Aliases(Frozen):
    aliases: list[AliasState]


class GrantOffer(Frozen):
    """A grant as its grantee sees it. `ended`: its end is past."""

    name: str
    uses: list[str]
    purpose: str = ""
    not_after: str | None = Field(default=None, alias="notAfter")
    ended: bool = False


class DatasetOffer(Frozen):
    """A dataset that the asking namespace owns (`grants` is empty: it needs none) or that is granted to it.

    `version` is the newest, None when there is none or every grant has ended. `unready` is the reason why no task can
    use it now; empty: none.
    """

    namespace: str
    name: str
    format: str
    version: Digest | None = None
    created_time: str | None = Field(default=None, alias="createdTime")
    records: int | None = None
    unready: str = ""
    grants: list[GrantOffer] = []


class DatasetOffers(Frozen):
    datasets: list[DatasetOffer]


class Feed(Frozen):
    """`full` says that this is everything: what is not in it is not there."""

    cursor: str
    full: bool
    datasets: list[DatasetFeed]
    attempts: list[AttemptFeed]
    aliases: list[AliasState] = []


class Usage(Frozen):
    namespace: str
    task: str
    gpu_seconds: int = Field(alias="gpuSeconds", ge=0)
    cpu_seconds: int = Field(alias="cpuSeconds", ge=0)
    outcome: str = Field(max_length=64)


class Decision(StrEnum):
    ALLOWED = "Allowed"
    DENIED = "Denied"


class LedgerRecord(Frozen):
    """One line of the ledger as people see it. Each number says its grade: `bytes` is observed by the broker."""

    sequence: int
    time: str
    event: str
    chain: str
    decision: Decision
    reason: str
    namespace: str
    account: str
    claimed_by: str | None = Field(default=None, alias="claimedBy")
    pod: str | None = None
    task: str | None = None
    attempt: int | None = None
    dataset: str | None = None
    version: str | None = None
    use: str | None = Field(default=None, description="Of several, all: Train+Evaluate.")
    purpose: str | None = Field(
        default=None,
        description="In the words of the grant; in Promoted the key, in Derived the digest that was made, and of a "
        "result which one was read.",
    )
    grant: str | None = None
    generation: int | None = Field(default=None, description="Of the SharedDataset, as the grant was read.")
    bytes: int | None = Field(default=None, description="Observed. None in Closed: the broker died, nobody counted.")
    session: str | None = Field(default=None, description="The same in Opened and in its Closed; opens nothing.")
    task_uid: str | None = Field(default=None, alias="taskUid")
    dataset_uid: str | None = Field(default=None, alias="datasetUid")
    gpu_seconds: int | None = Field(default=None, alias="gpuSeconds", description="As the operator reported it.")
    cpu_seconds: int | None = Field(default=None, alias="cpuSeconds", description="As the operator reported it.")
    repeats: int = Field(default=1, description="How many equal refusals this record stands for.")
    hash: str


class LedgerPage(Frozen):
    records: list[LedgerRecord]
    next: int | None = None


class ChainVerdict(Frozen):
    chain: str
    records: int
    ok: bool
    head: str
    problem: str | None = Field(default=None, description="First bad record and what is wrong with it.")


class LedgerVerdict(Frozen):
    ok: bool
    records: int
    chains: list[ChainVerdict]


class Rebind(Frozen):
    """Gives the SharedDataset `namespace`/`name` the stored versions of the dataset that had `fromUid`."""

    namespace: str = Field(max_length=63)
    name: str = Field(max_length=253)
    from_uid: str = Field(alias="fromUid", max_length=64)


class Rebound(Frozen):
    versions: int


class Refusal(Frozen):
    """Body of every 4xx and 5xx answer."""

    reason: str
    message: str
