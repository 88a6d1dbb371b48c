"""Tabular: a class or a number from the columns of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collabspace.api.manifest import ColumnKind, ColumnSchema, DatasetFormat, Split, TargetColumn, TargetKind
from collabspace.api.report import DatasetFacts
from collabspace.api.run import MetricName
from collabspace.formats import read_table
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation import classes, quantities
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.pulse import each
from collabspace_trainer.registry import task
from collabspace_trainer.spec import Plan
from collabspace_trainer.tasks.facts import (
    check_labels,
    count_records,
    facts,
    measured_versions,
    notes,
    read_splits,
    training_versions,
)
from collabspace_trainer.versions import Version

QUANTITIES = frozenset({ColumnKind.NUMBER, ColumnKind.TIME})
CATEGORIES = frozenset({ColumnKind.CATEGORY, ColumnKind.BOOLEAN})
MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class Rows:
    """Quantities as float (NaN: missing; times as days since 1970), categories as text (None: missing), by column.

    `target` holds class numbers or quantities.
    """

    columns: Mapping[str, NDArray[Any]]
    target: NDArray[Any]

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, span: slice) -> "Rows":
        return Rows({name: cells[span] for name, cells in self.columns.items()}, self.target[span])


@dataclass(frozen=True)
class Tables:
    """The corpus: feature columns, the target, training rows of all datasets together, measured rows by dataset."""

    features: Sequence[ColumnSchema]
    target: TargetColumn
    labels: Sequence[str]
    train: Rows
    measured: Mapping[Split, Mapping[str, Rows]]
    facts: list[DatasetFacts]
    notes: list[str]

    @property
    def headline(self) -> MetricName:
        return MetricName.ACCURACY if self.target.kind is TargetKind.CLASS else MetricName.RMSE


class Estimator(Protocol):
    """A predictor of classes or quantities."""

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Log-probabilities [rows, labels] of a Class target, or estimates [rows] of a Number."""
        ...


@task(
    name="Tabular",
    description="Predicts a column of a table, a class or a number, from the others.",
    data_format=DatasetFormat.TABULAR,
    metrics=[
        MetricName.ACCURACY,
        MetricName.MACRO_F1,
        MetricName.LOG_LOSS,
        MetricName.ROC_AUC,
        MetricName.AVERAGE_PRECISION,
        MetricName.CALIBRATION_ERROR,
        MetricName.RMSE,
        MetricName.MAE,
        MetricName.R2,
        MetricName.LOSS,
    ],
    scorer="rows; calibration error over 15 equal bins of the highest probability",
)
class Tabular:
    def load(self, plan: Plan, versions: Sequence[Version]) -> Tables:
        """Reads all splits that are used. Raises DataError, FormatError."""
        target = _target(versions)
        _check_columns(versions)
        labels = plan.document.training.labels if target.kind is TargetKind.CLASS else []
        if target.kind is TargetKind.CLASS:
            check_labels(versions, labels)
        columns = [c for c in versions[0].manifest.columns if c.name != target.column]
        features = [c for c in columns if c.kind in QUANTITIES | CATEGORIES]
        if not features:
            raise DataError(
                "no column can be learnt from: Number, Category, Boolean and Time columns are features; declare one"
            )
        train = {v.name: _read(v, (Split.TRAIN,)) for v in training_versions(versions)}
        measured = {
            split: {v.name: _read(v, read_splits(v, split)) for v in measured_versions(versions, split)}
            for split in (Split.VALIDATION, Split.TEST)
        }
        kept = _without_copies(train, [table for parts in measured.values() for table in parts.values()])
        records = count_records(kept, measured)
        rows = facts(versions, records, {name: len(train[name]) - len(kept[name]) for name in train})
        every = list(kept.values()) or [next(iter(measured[Split.TEST].values())).slice(0, 0)]
        ignored = sorted(c.name for c in columns if c.kind is ColumnKind.TEXT)
        said = [f"columns of kind Text are not used: {', '.join(ignored)}"] if ignored else []
        return Tables(
            features,
            target,
            labels,
            _rows(pa.concat_tables(every), features, target, labels),
            {s: {n: _rows(t, features, target, labels) for n, t in parts.items()} for s, parts in measured.items()},
            rows,
            notes(rows) + said,
        )

    def evaluate(self, corpus: Tables, predictor: Estimator, split: Split, intervals: bool) -> Evaluation:
        parts = {
            name: (rows.target, predictor.predict(rows)) for name, rows in corpus.measured[split].items() if len(rows)
        }
        if corpus.target.kind is TargetKind.CLASS:
            return classes.evaluate(parts, corpus.labels, split, intervals)
        return quantities.evaluate(parts, split, intervals)


def _target(versions: Sequence[Version]) -> TargetColumn:
    """The target that all datasets share. Raises DataError."""
    first = versions[0].manifest.target
    for version in versions:
        target = version.manifest.target
        if target is None:
            raise DataError(f"dataset {version.name}: it has no target; declare spec.contract.target and push again")
        if target != first:
            raise DataError(
                f"dataset {version.name}: target is {target.column} ({target.kind}), that of {versions[0].name} "
                "differs; agree on one"
            )
    if first is None:
        raise DataError(f"dataset {versions[0].name}: it has no target; declare spec.contract.target and push again")
    return first


def _check_columns(versions: Sequence[Version]) -> None:
    """Raises DataError naming the first column that two datasets do not share in name and kind."""
    first = {c.name: c.kind for c in versions[0].manifest.columns}
    for version in versions[1:]:
        other = {c.name: c.kind for c in version.manifest.columns}
        for name in sorted(first.keys() | other.keys()):
            here, there = first.get(name), other.get(name)
            if here is not there:
                raise DataError(
                    f"column {name!r}: {here or 'missing'} in {versions[0].name}, "
                    f"{there or 'missing'} in {version.name}; declare the same columns in both"
                )


def _read(version: Version, splits: Sequence[Split]) -> pa.Table:
    return pa.concat_tables([read_table(version.folder, version.manifest, split) for split in each(splits)])


def _without_copies(train: Mapping[str, pa.Table], measured: Sequence[pa.Table]) -> dict[str, pa.Table]:
    """Training tables without rows that stand in a measured one too. Raises DataError when nothing is left."""
    seen = {key for table in measured for key in _copies(table) if key}
    kept = {
        name: table.filter(pa.array([key not in seen for key in each(_copies(table))], pa.bool_()))
        for name, table in train.items()
    }
    if train and not any(len(table) for table in kept.values()):
        raise DataError("no training row is left: all of them equal one of evaluation; push other training data")
    return kept


def _copies(table: pa.Table) -> list[tuple[object, ...] | None]:
    """A key per row by which copies are found; None for rows without a measured (fractional) number.

    Two cases that share a few categories are two cases; two that share a measurement to its last digit are one.
    """
    numbers = [index for index, field in enumerate(table.schema) if pa.types.is_floating(field.type)]
    cells = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return [row if any(row[i] is not None and row[i] % 1 for i in numbers) else None for row in each(cells)]


def _rows(table: pa.Table, features: Sequence[ColumnSchema], target: TargetColumn, labels: Sequence[str]) -> Rows:
    columns = {feature.name: _cells(table.column(feature.name), feature.kind) for feature in each(features)}
    if target.kind is TargetKind.NUMBER:
        return Rows(columns, table.column(target.column).to_numpy().astype(np.float64))
    number = {label: index for index, label in enumerate(labels)}
    found = [number[_text(value)] for value in table.column(target.column).to_pylist()]
    return Rows(columns, np.array(found, dtype=np.intp))


def _cells(column: pa.ChunkedArray, kind: ColumnKind) -> NDArray[Any]:
    if kind is ColumnKind.TIME:
        days = pc.cast(pc.cast(column, pa.int64()), pa.float64(), safe=False)
        return _floats(days) / MICROSECONDS_PER_DAY
    if kind is ColumnKind.NUMBER:
        return _floats(column)
    return np.array([None if value is None else _text(value) for value in column.to_pylist()], dtype=object)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(pc.fill_null(column, float("nan")).to_numpy(), dtype=np.float64)


def _text(value: object) -> str:
    """A class or category as manifests spell it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
