"""A version of a dataset, a model or a result: an immutable manifest, named by the digest of its canonical JSON."""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and 64 lower-case hexadecimal digits."""


class DatasetFormat(StrEnum):
    """What a dataset holds; the file layouts are in docs/concepts/formats.md."""

    TOKEN_CLASSIFICATION = "TokenClassification"
    TEXT_CLASSIFICATION = "TextClassification"
    TEXT_PAIRS = "TextPairs"
    TABULAR = "Tabular"
    INTERACTIONS = "Interactions"
    DOCUMENTS = "Documents"
    MODEL = "Model"


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Frozen(BaseModel):
    """Base of values that cross a process border: unknown fields are errors, nothing changes after parsing."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ColumnKind(StrEnum):
    NUMBER = "Number"
    CATEGORY = "Category"
    BOOLEAN = "Boolean"
    TIME = "Time"
    TEXT = "Text"
    IDENTIFIER = "Identifier"
    IGNORE = "Ignore"


class TargetKind(StrEnum):
    CLASS = "Class"
    NUMBER = "Number"


class TargetColumn(Frozen):
    """The column that a model learns to predict."""

    column: str = Field(min_length=1, max_length=128, description="Name of the column to predict.")
    kind: TargetKind = Field(description="Class: a category to choose. Number: a quantity to estimate.")


class ColumnSchema(Frozen):
    """One column of a table as ingested."""

    name: str = Field(min_length=1, max_length=128)
    kind: ColumnKind


class FileEntry(Frozen):
    """One canonical file of a version. `split` is None for files that belong to all (model weights)."""

    path: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$", max_length=256)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    records: int = Field(default=0, ge=0)
    split: Split | None = None


class SourceFile(Frozen):
    """A file as its owner pushed it, before conversion: kept so that the owner can recognise the origin."""

    path: str = Field(max_length=1024)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(Frozen):
    """What a version is. The digest binds every byte of it: files by hash, labels, columns, splits, parents.

    `owner_uid` is the uid of the SharedDataset (or, for a result, of the CollabTask) that holds the version.
    """

    schema_: Literal["v1alpha1"] = Field(default="v1alpha1", alias="schema")
    owner_uid: str = Field(alias="ownerUid", max_length=64)
    format: DatasetFormat | Literal["Result", "Checkpoint"]
    files: list[FileEntry] = Field(max_length=10_000)
    source_files: list[SourceFile] = Field(default=[], alias="sourceFiles", max_length=10_000)
    labels: list[str] = Field(default=[], max_length=1_000, description="Entity types or classes, sorted.")
    label_counts: dict[Split, dict[str, int]] = Field(default={}, alias="labelCounts")
    columns: list[ColumnSchema] = Field(default=[], max_length=2_000)
    target: TargetColumn | None = None
    split_mode: Literal["Provided", "Hash", "Time", "None"] = Field(default="None", alias="splitMode")
    parents: list[Digest] = Field(default=[], max_length=64)

    @property
    def digest(self) -> str:
        """`sha256:` of the canonical JSON: sorted keys, no spaces, UTF-8."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    @property
    def records(self) -> int:
        return sum(file.records for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)

    def split_records(self, split: Split) -> int:
        """Number of records in one split, over all its files."""
        return sum(file.records for file in self.files if file.split is split)

    def canonical(self) -> bytes:
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
