"""SharedDataset: what a team publishes and to whom it grants it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from collabspace.api.conditions import Condition
from collabspace.api.manifest import ColumnKind, DatasetFormat, TargetKind
from collabspace.api.resource import (
    DigestText,
    NamespaceName,
    ObjectMeta,
    ObjectName,
    Part,
    TimeText,
    UidText,
    map_list,
    rules,
)

ColumnName = Annotated[str, Field(min_length=1, max_length=128)]


class Use(StrEnum):
    TRAIN = "Train"
    EVALUATE = "Evaluate"
    SERVE = "Serve"
    DERIVE = "Derive"
    DOWNLOAD = "Download"


class Source(Part):
    """Where the data comes from."""

    type: Literal["Upload"] = Field(default="Upload", description="Upload: pushed by `kubectl collab push`.")


class SplitMode(StrEnum):
    AUTO = "Auto"
    PROVIDED = "Provided"
    HASH = "Hash"


class Splits(Part):
    """How records are divided into train, validation and test."""

    mode: SplitMode = Field(
        default=SplitMode.AUTO,
        description="Provided: file names say the split. Hash: by a hash of the key. Auto: Provided when any file name "
        "holds a split word, else Hash.",
    )
    train_percent: StrictInt = Field(default=80, ge=1, le=98, description="Share of train, for Hash.")
    validation_percent: StrictInt = Field(default=10, ge=1, le=98, description="Share of validation, for Hash.")
    test_percent: StrictInt = Field(default=10, ge=1, le=98, description="Share of test, for Hash.")
    group_by: ColumnName | None = Field(
        default=None, description="Column or field whose equal values stay in one split, for example the patient."
    )
    seed: StrictInt = Field(
        default=0, ge=0, le=2147483647, description="Seed of the hash; equal seeds place equal texts alike."
    )


class Card(Part):
    """What a person should know before using the data."""

    title: str = Field(default="", max_length=200, description="Title in a few words.")
    contact: str = Field(default="", max_length=200, description="Whom to ask.")
    licence: str = Field(default="", max_length=100, description="Licence or terms of use.")
    languages: list[Annotated[str, Field(max_length=35)]] = Field(
        default=[], max_length=20, description="BCP 47 tags of the languages of the text."
    )
    limitations: str = Field(
        default="", max_length=4096, description="What the data must not be used for or cannot show."
    )


class Target(Part):
    """The column to predict, for format Tabular."""

    column: ColumnName = Field(description="Name of the column.")
    kind: TargetKind = Field(description="Class: a category. Number: a quantity.")


class Column(Part):
    """How one column of a table is to be read."""

    name: ColumnName = Field(description="Name as in the header.")
    kind: ColumnKind = Field(description="Identifier and Ignore are never used as features.")


class Contract(Part):
    """What every version must satisfy. Columns that are not listed get their kind from their values."""

    target: Target | None = Field(default=None, description="The column to predict; needed for format Tabular.")
    columns: list[Column] = Field(
        default=[], max_length=500, description="Kinds of columns.", json_schema_extra=map_list("name")
    )


class Grant(Part):
    """Leave for one namespace to use this dataset."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = Field(
        description="Name of the grant, unique in this dataset; it stands in the ledger."
    )
    namespace: NamespaceName = Field(description="The team that is allowed in.")
    namespace_uid: UidText | None = Field(
        default=None,
        alias="namespaceUID",
        description="uid of that namespace. Needed to take effect: a namespace deleted and made again gets nothing. "
        "`kubectl collab grants add` fills it in.",
    )
    uses: list[Use] = Field(
        min_length=1,
        max_length=5,
        description="Train and Evaluate mean by trainer pods only; people need Download.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    purpose: str = Field(default="", max_length=500, description="What for, in words; it stands in the ledger.")
    agreement: str = Field(default="", max_length=500, description="Reference of the contract or decision behind it.")
    not_after: TimeText | None = Field(default=None, description="End of the grant, RFC 3339. None: until taken back.")


class OnRevoke(StrEnum):
    FINISH = "Finish"
    STOP = "Stop"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class DatasetSpec(Part):
    """What the owner declares."""

    description: str = Field(default="", max_length=4096, description="What the data is.")
    format: DatasetFormat = Field(
        description="TokenClassification, TextClassification, Tabular or Model in this release; "
        "layouts: docs/concepts/formats.md."
    )
    source: Source = Field(default=Source(), description="Where the data comes from.")
    splits: Splits = Field(default=Splits(), description="How records are divided; frozen with the first version.")
    card: Card = Field(default=Card(), description="What a person should know before using the data.")
    contract: Contract = Field(
        default=Contract(), description="What every version must satisfy; frozen with the first version."
    )
    grants: list[Grant] = Field(
        default=[],
        max_length=256,
        description="Who may use it; may change at any time.",
        json_schema_extra=map_list("name"),
    )
    on_revoke: OnRevoke = Field(
        default=OnRevoke.STOP,
        description="What happens to running tasks when their grant is removed or expires. Stop: they are stopped with "
        "AccessRevoked. Finish: they go on with what they have read. New reads are refused at once in both cases.",
    )
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.RETAIN,
        description="What happens to stored versions when this object is deleted. Retain: they stay, and an admin may "
        "give them to a successor (kubectl collab admin rebind). Delete: they are removed.",
    )


class VersionSource(Part):
    """A dataset that a published model was made of."""

    namespace: NamespaceName = Field(description="Its namespace.")
    name: ObjectName = Field(description="Its name.")
    uid: str = Field(max_length=64, description="Its uid: one made anew is another.")


class Version(Part):
    """One immutable version."""

    digest: DigestText = Field(description="sha256 of the version's manifest.")
    created_time: TimeText = Field(description="When it was committed.")
    records: int = Field(ge=0, description="Records over all splits.")
    bytes: int = Field(ge=0, description="Bytes of its files.")
    files: int = Field(ge=0, description="Number of its files.")
    sources: list[VersionSource] = Field(
        default=[],
        max_length=64,
        description="Datasets that this model was made of. Nobody can read it while one of their owners does not grant "
        "Derive to this namespace.",
    )


class GrantState(StrEnum):
    ACTIVE = "Active"
    EXPIRED = "Expired"
    NAMESPACE_MISSING = "NamespaceMissing"
    NAMESPACE_REPLACED = "NamespaceReplaced"
    NOT_BOUND = "NotBound"


class GrantStatus(Part):
    name: str = Field(max_length=63, description="Name of the grant in spec.")
    namespace: str = Field(max_length=63, description="The team.")
    state: GrantState = Field(
        description="Active, Expired, NamespaceMissing, NamespaceReplaced (another namespace of the same name), "
        "or NotBound (namespaceUID is not filled in)."
    )


class DatasetUsage(Part):
    """How it was used, as the broker counted."""

    reads: int = Field(default=0, ge=0, description="Access sessions opened.")
    denials: int = Field(default=0, ge=0, description="Accesses refused.")
    bytes: int = Field(default=0, ge=0, description="Bytes sent.")
    last_read_time: TimeText | None = Field(default=None, description="Start of the newest session.")
    ledger_head: str | None = Field(default=None, max_length=64, description="Hash of the newest ledger record.")


class DatasetStatus(Part):
    """What is the case, as the operator and the broker see it."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this status judges.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Ready, ContractSatisfied, IntegrityVerified.",
        json_schema_extra=map_list("type"),
    )
    current_version: Version | None = Field(default=None, description="What new tasks get.")
    versions: list[Version] = Field(default=[], max_length=3, description="The newest three, newest first.")
    grants: list[GrantStatus] = Field(
        default=[], max_length=256, description="State of each grant.", json_schema_extra=map_list("name")
    )
    active_grants: int = Field(default=0, ge=0, le=256, description="Number of grants in force.")
    usage: DatasetUsage | None = Field(default=None, description="Flushed at most once a minute.")


class SharedDataset(Part):
    """Data that a team keeps in its own namespace and grants to other teams for a purpose until a date."""

    metadata: ObjectMeta
    spec: DatasetSpec
    status: DatasetStatus = DatasetStatus()


SPLIT_RULES = rules(
    (
        "self.trainPercent + self.validationPercent + self.testPercent == 100",
        "trainPercent, validationPercent and testPercent must add up to 100",
    )
)
ROOT_RULES = tuple(
    (
        "!has(oldSelf.status) || !has(oldSelf.status.currentVersion) || "
        f"(has(self.spec.{field}) == has(oldSelf.spec.{field}) && "
        f"(!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field}))",
        f"spec.{field} is frozen since the first version was pushed; publish a new SharedDataset",
    )
    for field in ("splits", "contract", "source")
)
SPEC_RULES = rules(
    (
        "self.format != 'Tabular' || (has(self.contract) && has(self.contract.target))",
        "format Tabular needs contract.target: {column, kind}",
    ),
    ("self.format == oldSelf.format", "format cannot change; publish a new SharedDataset"),
)
