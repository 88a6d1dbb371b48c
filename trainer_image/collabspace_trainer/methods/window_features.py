"""WindowFeatures: a linear model of each word's tag from its looks and those of its neighbours, as before encoders."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from collabspace.api.catalogue import Method
from collabspace.formats import TaggedSentence
from collabspace_trainer import stored
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation.spans import tag_set
from collabspace_trainer.methods.layers import Layers, logistic_layer
from collabspace_trainer.parameters import CLASS_WEIGHTS, integer, number
from collabspace_trainer.pulse import UNBOUNDED_STALL_SECONDS, each
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.stored import CONFIG, StoredModel
from collabspace_trainer.tasks.token_classification import Sentences

NAME = "WindowFeatures"
WEIGHTS = "model.safetensors"
MINIMUM_RECORDS = 5
"""Features of fewer sentences are not kept: a name of one patient must not travel with the model."""
SENTENCES_AT_ONCE = 500
NEIGHBOURS = (-2, -1, 1, 2)


def describe_words(tokens: Sequence[str]) -> list[list[str]]:
    """The features of each word: itself, in lower case, its shape, beginnings and ends; and of its neighbours."""
    lower = [token.lower() for token in tokens]
    shapes = [shape(token) for token in tokens]
    rows = []
    for index, token in enumerate(tokens):
        row = ["all", f"w={token}", f"l={lower[index]}", f"s={shapes[index]}"]
        row += [f"p={lower[index][:size]}" for size in range(1, min(4, len(token)) + 1)]
        row += [f"e={lower[index][-size:]}" for size in range(1, min(4, len(token)) + 1)]
        for step in NEIGHBOURS:
            place = index + step
            row.append(f"l{step}={lower[place]}" if 0 <= place < len(tokens) else f"l{step}")
        row += [f"s{step}={shapes[index + step]}" for step in (-1, 1) if 0 <= index + step < len(tokens)]
        rows.append(row)
    return rows


def shape(token: str) -> str:
    """Capital letters as X, small ones as x, digits as 9, each run of them once."""
    marks = ["X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in token[:50]]
    return "".join(mark for mark, before in zip(marks, ["", *marks], strict=False) if mark != before)


@dataclass(frozen=True)
class WindowTagging:
    """Tags of words. `features` are those known by name, in the order of the weights."""

    labels: list[str]
    features: list[str]
    head: Layers

    @property
    def parameters(self) -> int:
        return self.head.parameters

    @cached_property
    def _number(self) -> dict[str, int]:
        return {feature: index for index, feature in enumerate(self.features)}

    def predict(self, sentences: Sequence[TaggedSentence]) -> Iterator[NDArray[np.float32]]:
        """Log-probabilities [words, tags] of each sentence."""
        for start in range(0, len(sentences), SENTENCES_AT_ONCE):
            part = sentences[start : start + SENTENCES_AT_ONCE]
            logits = self.head.compute(_matrix(part, self._number))
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            ends = np.cumsum([len(sentence.tokens) for sentence in part])[:-1]
            yield from np.split(logits.astype(np.float32), ends)

    def save(self, folder: Path) -> None:
        config = {"model_type": "collabspace-window-features", "features": self.features}
        (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False))
        stored.describe(folder, "TokenClassification", NAME, self.labels)
        save_file({name: np.ascontiguousarray(array) for name, array in self.head.arrays().items()}, folder / WEIGHTS)


def load(model: StoredModel, _machine: Any) -> WindowTagging:
    """Raises DataError."""
    labels = list(model.description.labels)
    try:
        features, arrays = model.config["features"], load_file(model.folder / WEIGHTS)
        head = Layers.of(arrays, len(features))
        sound = all(isinstance(feature, str) for feature in features)
        if not sound or head.outputs != len(tag_set(labels)) or any(not np.isfinite(a).all() for a in arrays.values()):
            raise ValueError("features, weights and labels do not fit together")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"model: {CONFIG} and {WEIGHTS} do not fit together ({type(error).__name__}); give another result"
        ) from None
    return WindowTagging(labels, list(features), head)


@method(
    Method(
        name=NAME,
        description="A linear model over each word, its shape, beginnings and ends, and its neighbours (scikit-learn).",
        parameters=[
            number(
                "C", "1", "0.000001", "1000000", "Inverse of the strength by which large coefficients are held back."
            ),
            integer("maxIterations", 200, 1, 100_000, "Iterations before the solver gives up."),
            CLASS_WEIGHTS,
        ],
        baseline=True,
        cost=20,
    ),
    ["TokenClassification"],
    load,
    gradients=False,
)
def train(corpus: Sentences, session: Session, _score: Callable[[Any], float] | None) -> WindowTagging:
    """Raises DataError when all words have the same tag, or no feature stands in five sentences."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    settings = session.plan.settings
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    with session.stop.at_once():
        features = _vocabulary(corpus.train)
        tag = {name: index for index, name in enumerate(corpus.tags)}
        target = np.array([tag[name] for sentence in corpus.train for name in sentence.tags], dtype=np.intp)
        if len(set(target.tolist())) < 2 or not features:
            raise DataError("training sentences have one tag only, or too few have anything in common; push others")
        session.events.decision("features", len(features), "that stand in at least 5 training sentences")
        values = _matrix(corpus.train, {feature: index for index, feature in enumerate(features)})
        model = LogisticRegression(
            C=settings.number("C"),
            max_iter=settings.integer("maxIterations"),
            class_weight="balanced" if settings.choice("classWeights") == "Balanced" else None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in our words
            model.fit(values, target)
    if int(model.n_iter_.max()) >= settings.integer("maxIterations"):
        session.events.note("the solver did not converge; raise parameters.maxIterations")
    present = np.asarray(model.classes_, dtype=np.intp)
    head = logistic_layer(model.coef_, model.intercept_, present, len(tag))
    return WindowTagging(list(corpus.labels), features, head)


def _vocabulary(sentences: Sequence[TaggedSentence]) -> list[str]:
    counts: Counter[str] = Counter()
    for sentence in each(sentences):
        counts.update({feature for row in describe_words(sentence.tokens) for feature in row})
    return sorted(feature for feature, count in counts.items() if count >= MINIMUM_RECORDS)


def _matrix(sentences: Sequence[TaggedSentence], number: dict[str, int]) -> Any:
    """[words of all sentences, features], sparse, of ones."""
    from scipy import sparse

    columns: list[int] = []
    ends = [0]
    for sentence in each(sentences):
        for row in describe_words(sentence.tokens):
            columns.extend(number[feature] for feature in row if feature in number)
            ends.append(len(columns))
    shape = (len(ends) - 1, len(number))
    return sparse.csr_array((np.ones(len(columns)), np.array(columns, dtype=np.int32), np.array(ends)), shape=shape)
