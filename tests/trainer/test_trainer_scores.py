"""Scores against independent implementations, exhaustive search and known cases."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2
from sklearn.metrics import f1_score

from collabspace.api.manifest import Split
from collabspace.api.run import MetricName
from collabspace.formats import TaggedSentence
from collabspace_trainer.evaluation import classes, quantities
from collabspace_trainer.evaluation.bootstrap import group_numbers, interval
from collabspace_trainer.evaluation.entities import Scored, evaluate
from collabspace_trainer.evaluation.scores import confusion, macro_f1, precision_recall_f1, table
from collabspace_trainer.evaluation.spans import Decoder, find_spans, tag_set

LABELS = ["Disease", "Drug", "Gene"]
TAGS = tag_set(LABELS)


def random_tags(generator: random.Random, sentences: int) -> list[list[str]]:
    return [[generator.choice(TAGS) for _ in range(generator.randint(1, 15))] for _ in range(sentences)]


def span_counts(gold: list[list[str]], predicted: list[list[str]]) -> np.ndarray:
    counts = np.zeros((len(LABELS), 3), dtype=np.int64)
    for a, b in zip(gold, predicted, strict=True):
        here, there = set(find_spans(a)), set(find_spans(b))
        for column, spans in enumerate((here & there, there - here, here - there)):
            for span in spans:
                counts[LABELS.index(span[2]), column] += 1
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_entity_scores_equal_seqeval_in_strict_iob2_on_random_tags(seed: int) -> None:
    generator = random.Random(seed)
    gold = random_tags(generator, 300)
    predicted = [[tag if generator.random() < 0.7 else generator.choice(TAGS) for tag in tags] for tags in gold]
    rows = table(LABELS, span_counts(gold, predicted), Split.TEST, "")
    ours = {row.label or f"{row.average} avg": row for row in rows}
    theirs = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        values = (found.precision, found.recall, found.f1, found.support)
        assert values == pytest.approx([expected[key] for key in ("precision", "recall", "f1-score", "support")])


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["B-Drug", "I-Drug", "O"], [(0, 2, "Drug")]),
        (["I-Drug", "I-Drug"], []),
        (["B-Drug", "I-Gene"], [(0, 1, "Drug")]),
        (["B-Drug", "B-Drug"], [(0, 1, "Drug"), (1, 2, "Drug")]),
        (["O"], []),
    ],
)
def test_spans_begin_at_b_and_go_on_with_the_same_type_only(tags: list[str], spans: list[tuple[int, int, str]]) -> None:
    assert find_spans(tags) == spans


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000))
def test_decoding_finds_the_best_valid_sequence(words: int, seed: int) -> None:
    tags = tag_set(["A", "B"])
    logs = np.random.default_rng(seed).normal(size=(words, len(tags)))

    def valid(path: tuple[int, ...]) -> bool:
        names = ["O", *(tags[i] for i in path)]
        return all(not b.startswith("I-") or a[2:] == b[2:] for a, b in itertools.pairwise(names))

    paths = [path for path in itertools.product(range(len(tags)), repeat=words) if valid(path)]
    best = max(paths, key=lambda path: sum(logs[word, tag] for word, tag in enumerate(path)))
    assert tuple(Decoder(tags).best(logs)) == best


def test_an_entity_is_unseen_when_training_had_no_such_entity() -> None:
    sentence = TaggedSentence(("old", "thing", "and", "New", "thing"), ("B-Drug", "I-Drug", "O", "B-Drug", "I-Drug"))
    logs = np.full((5, len(TAGS)), -9.0, dtype=np.float32)
    for word, tag in enumerate(["B-Drug", "I-Drug", "O", "O", "O"]):
        logs[word, TAGS.index(tag)] = 0.0
    result = evaluate({"a": Scored([sentence], [logs])}, LABELS, frozenset({"old thing"}), Split.TEST, intervals=True)
    row = result.unseen[-1]
    assert (row.share, row.support, row.recall, row.f1) == (0.5, 1, 0.0, 0.0)
    assert result.value(MetricName.ENTITY_MICRO_F1) == pytest.approx(2 / 3)
    assert result.value(MetricName.LOSS) == pytest.approx(18 / 5)
    assert result.predictions["a"] == [
        {"row": 0, "gold": list(sentence.tags), "predicted": ["B-Drug", "I-Drug", "O", "O", "O"]}
    ]


def test_macro_f1_equals_the_usual_one() -> None:
    generator = np.random.default_rng(0)
    gold, predicted = generator.integers(0, 4, 200), generator.integers(0, 4, 200)
    assert macro_f1(confusion(gold, predicted, 6)) == pytest.approx(f1_score(gold, predicted, average="macro"))


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(10, 2, 1_000)
    low, high = interval(classes.with_ones(values), np.arange(1_000), lambda sums: sums[..., 0] / sums[..., 1])
    half = 1.96 * values.std() / 1_000**0.5
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_intervals_widen_when_records_come_in_groups() -> None:
    generator = np.random.default_rng(2)
    hits = np.repeat(generator.integers(0, 2, 40), 10)
    counts = np.stack([hits, 1 - hits, 1 - hits], axis=1)

    def f1(sums: np.ndarray) -> np.ndarray:
        return precision_recall_f1(sums)[2]

    alone = interval(counts, np.arange(400), f1)
    grouped = interval(counts, group_numbers([str(row // 10) for row in range(400)]), f1)
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_records_without_a_group_are_groups_of_their_own() -> None:
    assert group_numbers(["x", None, "x", None, "y"]).tolist() == [0, 1, 0, 2, 3]


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    logs = np.log(np.tile([0.9, 0.1], (100, 1)))
    gold = (np.arange(100) >= 70).astype(np.intp)
    assert classes.calibration_error(gold, logs) == pytest.approx(0.2)


def test_scores_of_a_sure_and_right_classifier() -> None:
    gold = np.array([0, 1, 1, 0])
    logs = np.log(np.where(np.eye(2)[gold] > 0, 0.99, 0.01))
    result = classes.evaluate({"a": (gold, logs)}, ["ill", "well"], Split.TEST, intervals=True)
    for name in (MetricName.ACCURACY, MetricName.MACRO_F1, MetricName.ROC_AUC, MetricName.AVERAGE_PRECISION):
        assert result.value(name) == pytest.approx(1.0)
    assert result.value(MetricName.LOG_LOSS) == pytest.approx(-np.log(0.99))


def test_errors_of_estimates() -> None:
    result = quantities.evaluate({"a": (np.array([1.0, 3.0]), np.array([2.0, 3.0]))}, Split.TEST, intervals=True)
    assert result.value(MetricName.RMSE) == pytest.approx(0.5**0.5)
    assert result.value(MetricName.MAE) == pytest.approx(0.5)
    assert result.value(MetricName.R2) == pytest.approx(0.5)


def test_estimates_of_equal_quantities_have_no_explained_variance() -> None:
    result = quantities.evaluate({"a": (np.ones(3), np.ones(3))}, Split.TEST, intervals=False)
    assert result.value(MetricName.R2) is None
