"""Entities of tag sequences under strict IOB2, and the best valid sequence of a table of log-probabilities."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int, str]
"""First word, word after the last, entity type."""
Floats = NDArray[np.floating]


def tag_set(labels: Sequence[str]) -> list[str]:
    """O, then B- and I- of each entity type."""
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in ("B", "I"))]


def find_spans(tags: Sequence[str]) -> list[Span]:
    """Entities in order. Each starts at B-; I- continues one of the same type, and elsewhere means nothing."""
    spans: list[Span] = []
    start, kind = -1, ""
    for index, tag in enumerate([*tags, "O"]):
        prefix, _, label = tag.partition("-")
        if start >= 0 and (prefix != "I" or label != kind):
            spans.append((start, index, kind))
            start = -1
        if prefix == "B":
            start, kind = index, label
    return spans


class Decoder:
    """Picks the most probable tag sequence among those that are valid IOB2 (Viterbi; tags score one by one)."""

    def __init__(self, tags: Sequence[str]) -> None:
        self._allowed = np.array([[_may_follow(before, tag) for tag in tags] for before in tags])
        self._start = np.array([_may_follow("O", tag) for tag in tags])

    def best(self, log_probabilities: Floats) -> NDArray[np.intp]:
        """Tag numbers, one per row of [words, tags]."""
        greedy: NDArray[np.intp] = log_probabilities.argmax(axis=1)
        if self._start[greedy[0]] and self._allowed[greedy[:-1], greedy[1:]].all():
            return greedy
        penalty = np.where(self._allowed, 0.0, -np.inf)
        score = np.where(self._start, log_probabilities[0], -np.inf)
        back = np.zeros(log_probabilities.shape, dtype=np.intp)
        for word in range(1, len(log_probabilities)):
            reached = score[:, None] + penalty
            back[word] = reached.argmax(axis=0)
            score = reached.max(axis=0) + log_probabilities[word]
        path = np.zeros(len(log_probabilities), dtype=np.intp)
        path[-1] = score.argmax()
        for word in range(len(path) - 1, 0, -1):
            path[word - 1] = back[word, path[word]]
        return path


def _may_follow(before: str, tag: str) -> bool:
    return not tag.startswith("I-") or before[2:] == tag[2:]
