"""Decision trees as plain arrays, all trees end to end: no pickle, and a predictor of a few lines.

A node sends a record left when `value[feature] <= threshold`, the value in Float32 as in training; a leaf has feature
-1. Children stand after their parent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAF = -1


@dataclass(frozen=True)
class Trees:
    """`roots` is the first node of each tree; `value` [nodes, width] is added from output `column` of the tree on.

    `base` [outputs] is where the sums start.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    roots: NDArray[np.int32]
    column: NDArray[np.int32]
    base: NDArray[np.float64]

    @property
    def parameters(self) -> int:
        return int(self.threshold[self.feature != LEAF].size + self.value[self.feature == LEAF].size)

    @property
    def outputs(self) -> int:
        return len(self.base)

    def compute(self, values: Any) -> NDArray[np.float64]:
        """[records, outputs] of values [records, numbers], dense or sparse: sums over the leaves that are reached."""
        dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values).astype(np.float32)
        node = np.tile(self.roots, (len(dense), 1))
        rows, trees = np.nonzero(self.feature[node] != LEAF)
        while len(rows):
            at = node[rows, trees]
            goes_left = dense[rows, self.feature[at]] <= self.threshold[at]
            node[rows, trees] = at = np.where(goes_left, self.left[at], self.right[at])
            inner = self.feature[at] != LEAF
            rows, trees = rows[inner], trees[inner]
        sums = np.tile(self.base, (len(dense), 1))
        for tree, column in enumerate(self.column):
            sums[:, column : column + self.value.shape[1]] += self.value[node[:, tree]]
        return sums

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f"trees.{name}": getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def of(arrays: Mapping[str, NDArray[Any]], inputs: int) -> "Trees":
        """From `arrays()`. Raises ValueError or KeyError when a tree could lead astray, or asks for other inputs."""
        trees = Trees(**{name: arrays[f"trees.{name}"] for name in Trees.__dataclass_fields__})
        nodes, width = trees.value.shape
        for name in ("feature", "threshold", "left", "right"):
            if getattr(trees, name).shape != (nodes,):
                raise ValueError(f"{name} is not of one number per node")
        inner = np.flatnonzero(trees.feature != LEAF)
        for child in (trees.left[inner], trees.right[inner]):
            if (child <= inner).any() or (child >= nodes).any():
                raise ValueError("a child does not stand after its parent")
        if (trees.feature < LEAF).any() or (trees.feature >= inputs).any():
            raise ValueError("a node asks for a number that there is not")
        _check_places(trees, nodes, width)
        return trees


def _check_places(trees: Trees, nodes: int, width: int) -> None:
    if trees.base.ndim != 1 or trees.roots.ndim != 1 or trees.roots.shape != trees.column.shape:
        raise ValueError("roots, columns or base have another shape")
    if (trees.roots < 0).any() or (trees.roots >= nodes).any():
        raise ValueError("a root is no node")
    if (trees.column < 0).any() or (trees.column + width > len(trees.base)).any():
        raise ValueError("a tree adds to an output that there is not")


Part = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""feature, threshold, left, right, value of one tree, children counted within the tree."""


def join(parts: Sequence[Part], column: Sequence[int], base: NDArray[np.float64]) -> Trees:
    """One after the other."""
    sizes = [len(part[0]) for part in parts]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    feature, threshold, left, right, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    inner = feature != LEAF
    offsets = np.repeat(roots, sizes)
    return Trees(
        feature.astype(np.int32),
        np.where(inner, threshold, 0.0),
        np.where(inner, left + offsets, 0).astype(np.int32),
        np.where(inner, right + offsets, 0).astype(np.int32),
        np.where(inner[:, None], 0.0, value),
        roots,
        np.asarray(column, dtype=np.int32),
        base,
    )
