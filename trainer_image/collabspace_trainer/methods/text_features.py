"""Texts as numbers: which words and word pairs stand in them, weighed by how rare they are (TF-IDF).

Terms of fewer than five records never enter: a name of one patient must not travel with the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace_trainer.errors import DataError
from collabspace_trainer.parameters import integer
from collabspace_trainer.session import Session

MINIMUM_RECORDS = 5
WORDS = r"(?u)\b\w+\b"
PARAMETERS = [
    integer("ngramMax", 2, 1, 4, "Words in a row that make up a term at most."),
    integer(
        "minDocumentFrequency",
        MINIMUM_RECORDS,
        MINIMUM_RECORDS,
        1_000_000,
        "Training texts in which a term must stand; five at least, so that none points at one person.",
    ),
]


@dataclass(frozen=True)
class TextFeatures:
    """`rarity` [terms] is ln((1 + texts) / (1 + texts with the term)) + 1.

    `axes` [numbers, terms] projects onto the directions of most spread; empty: the terms themselves are the numbers.
    """

    terms: list[str]
    ngram_max: int
    rarity: NDArray[np.float32]
    axes: NDArray[np.float32]

    @property
    def size(self) -> int:
        return len(self.axes) or len(self.terms)

    def encode(self, texts: Sequence[str]) -> Any:
        """[texts, numbers]: sparse, each text of length 1; or dense when projected."""
        from sklearn.preprocessing import normalize

        counts = self._counter.transform(texts)
        counts.data = 1.0 + np.log(counts.data)
        weighed = normalize(counts.multiply(self.rarity.astype(np.float64)).tocsr(), copy=False)
        return weighed @ self.axes.T.astype(np.float64) if len(self.axes) else weighed

    @cached_property
    def _counter(self) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(
            vocabulary=self.terms, ngram_range=(1, self.ngram_max), token_pattern=WORDS, dtype=np.float64
        )

    def describe(self) -> dict[str, Any]:
        return {"terms": self.terms, "ngramMax": self.ngram_max}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"features.rarity": self.rarity, **({"features.axes": self.axes} if len(self.axes) else {})}

    @staticmethod
    def of(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "TextFeatures":
        """From `describe()` and `arrays()`. Raises ValueError, KeyError or TypeError."""
        terms, rarity = description["terms"], arrays["features.rarity"]
        axes = arrays.get("features.axes", np.empty((0, len(terms)), dtype=np.float32))
        if not all(isinstance(term, str) for term in terms) or not 1 <= description["ngramMax"] <= 4:
            raise ValueError("terms or ngramMax are not such")
        if rarity.shape != (len(terms),) or axes.ndim != 2 or axes.shape[1] != len(terms):
            raise ValueError("rarity or axes are not of the terms")
        return TextFeatures(terms, description["ngramMax"], rarity, axes)


def fit(texts: Sequence[str], ngram_max: int, minimum: int) -> TextFeatures:
    """Terms and their rarity in the training texts. Raises DataError when no term is frequent enough."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        ngram_range=(1, ngram_max), min_df=min(minimum, len(texts)), token_pattern=WORDS, binary=True
    )
    try:
        present = counter.fit_transform(texts)
    except ValueError:  # the library's word for an empty vocabulary
        present = None
    if present is None or len(texts) < minimum:
        raise DataError(f"no term stands in {minimum} training texts; push more texts")
    frequency = np.asarray(present.sum(axis=0)).ravel()
    rarity = np.log((1 + len(texts)) / (1 + frequency)) + 1
    terms = [str(term) for term in counter.get_feature_names_out()]
    return TextFeatures(terms, ngram_max, rarity.astype(np.float32), np.empty((0, len(terms)), dtype=np.float32))


def project(features: TextFeatures, texts: Sequence[str], components: int, seed: int) -> TextFeatures:
    """The same features on the `components` directions of most spread (truncated singular value decomposition)."""
    from sklearn.decomposition import TruncatedSVD

    found = TruncatedSVD(min(components, len(features.terms), len(texts)), random_state=seed)
    found.fit(features.encode(texts))
    return TextFeatures(features.terms, features.ngram_max, features.rarity, found.components_.astype(np.float32))


def learn(texts: Sequence[str], session: Session) -> TextFeatures:
    """The features that the run's parameters ask for; tells how many there are. Raises DataError."""
    settings = session.plan.settings
    made = fit(texts, settings.integer("ngramMax"), settings.integer("minDocumentFrequency"))
    session.events.decision("terms", len(made.terms), "parameters.minDocumentFrequency, over the training texts")
    return made
