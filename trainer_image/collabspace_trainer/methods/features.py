"""Columns of a table as numbers: fitted on training rows alone, kept beside the weights as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import ColumnSchema
from collabspace_trainer.pulse import each
from collabspace_trainer.tasks.tabular import QUANTITIES, Rows

MINIMUM_RECORDS = 5
"""Categories of fewer rows are not kept by name: the model must not carry what points at one person."""


@dataclass(frozen=True)
class Quantity:
    """A standardised number; missing ones take the median and, where training had any, raise a flag of their own."""

    column: str
    median: float
    mean: float
    scale: float
    flag: bool

    @property
    def size(self) -> int:
        return 2 if self.flag else 1

    def encode(self, cells: NDArray[Any]) -> NDArray[np.float64]:
        missing = np.isnan(cells)
        standard: NDArray[np.float64] = (np.where(missing, self.median, cells) - self.mean) / self.scale
        columns: NDArray[np.float64] = np.stack([standard, missing], axis=1) if self.flag else standard[:, None]
        return columns


@dataclass(frozen=True)
class Category:
    """One 0/1 number per known value; an unknown, rare or missing one is all zeros."""

    column: str
    values: list[str]

    @property
    def size(self) -> int:
        return len(self.values)

    def encode(self, cells: NDArray[Any]) -> NDArray[np.float64]:
        known: NDArray[np.float64] = (cells[:, None] == np.array(self.values, dtype=object)[None, :]).astype(np.float64)
        return known


@dataclass(frozen=True)
class Features:
    """All columns side by side."""

    columns: list[Quantity | Category]

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        """[rows, numbers]."""
        parts = [column.encode(rows.columns[column.column]) for column in each(self.columns)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    @property
    def size(self) -> int:
        return sum(column.size for column in self.columns)

    def describe(self) -> list[dict[str, Any]]:
        """For config.json of the model."""
        return [{"type": type(column).__name__, **asdict(column)} for column in self.columns]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @staticmethod
    def of(description: Sequence[dict[str, Any]]) -> "Features":
        """From `describe()`. Raises ValueError, KeyError, TypeError or AttributeError."""
        return Features([_restore(dict(column)) for column in description])


def _restore(said: dict[str, Any]) -> Quantity | Category:
    if said.pop("type") == "Category":
        return Category(said["column"], [str(value) for value in said["values"]])
    numbers = {name: float(said[name]) for name in ("median", "mean", "scale")}
    if not all(np.isfinite(list(numbers.values()))) or not numbers["scale"]:
        raise ValueError("a column has no finite scale")
    return Quantity(column=said["column"], flag=bool(said["flag"]), **numbers)


def fit(rows: Rows, columns: Sequence[ColumnSchema]) -> Features:
    """Medians, means, scales and categories of the training rows."""
    fitted = [_fit_column(rows.columns[column.name], column) for column in each(columns)]
    return Features([column for column in fitted if isinstance(column, Quantity) or column.values])


def _fit_column(cells: NDArray[Any], column: ColumnSchema) -> Quantity | Category:
    if column.kind not in QUANTITIES:
        counts = Counter(value for value in cells if value is not None)
        return Category(column.name, sorted(value for value, count in counts.items() if count >= MINIMUM_RECORDS))
    missing = np.isnan(cells)
    known = cells[~missing]
    median = float(np.median(known)) if len(known) else 0.0
    filled = np.where(missing, median, cells)
    scale = float(filled.std())
    return Quantity(column.name, median, float(filled.mean()), scale if scale > 0 else 1.0, bool(missing.any()))
