"""Measures taggers: entities as strict spans, tokens with O beside them, and entities never seen in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import Split
from collabspace.api.report import Loss, ReportMetric, UnseenEntities
from collabspace.api.run import MetricName
from collabspace.formats import TaggedSentence
from collabspace_trainer.evaluation.bootstrap import group_numbers, interval
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.evaluation.scores import confusion, macro_f1, precision_recall_f1, table
from collabspace_trainer.evaluation.spans import Decoder, Span, find_spans, tag_set
from collabspace_trainer.pulse import each

POOLED = ""


@dataclass(frozen=True)
class Scored:
    """Sentences of one dataset with the log-probabilities [words, tags] of each."""

    sentences: Sequence[TaggedSentence]
    log_probabilities: Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Tally:
    """Counts of one dataset, or of several pooled; all additive.

    entities: [sentences, labels, 3] of TP, FP, FN. tags: [tags, 3]. unseen: [3] over entities new to the model.
    loss: [sentences] sums of cross-entropy in nats. tokens: [sentences].
    """

    entities: NDArray[np.int64]
    tags: NDArray[np.int64]
    unseen: NDArray[np.int64]
    loss: NDArray[np.float64]
    tokens: NDArray[np.int64]
    groups: NDArray[np.int64]

    @staticmethod
    def pool(tallies: Sequence["Tally"]) -> "Tally":
        """All records together; groups of different datasets stay apart."""
        offsets = np.cumsum([0, *(int(t.groups.max(initial=-1)) + 1 for t in tallies)])
        return Tally(
            np.concatenate([t.entities for t in tallies]),
            np.sum([t.tags for t in tallies], axis=0),
            np.sum([t.unseen for t in tallies], axis=0),
            np.concatenate([t.loss for t in tallies]),
            np.concatenate([t.tokens for t in tallies]),
            np.concatenate([t.groups + offset for t, offset in zip(tallies, offsets, strict=False)]),
        )


def evaluate(
    scored: Mapping[str, Scored], labels: Sequence[str], known: frozenset[str], split: Split, intervals: bool
) -> Evaluation:
    """Rows by dataset and pooled (dataset empty); without `intervals` metrics and losses alone."""
    result = Evaluation()
    tags = tag_set(labels)
    decoder = Decoder(tags)
    tallies = {}
    for name, part in scored.items():
        predicted = [[tags[i] for i in decoder.best(table)] for table in each(part.log_probabilities)]
        tallies[name] = _tally(part, predicted, labels, known)
        if intervals:
            _keep_records(result, name, part, predicted, tallies[name])
    for name, tally in [*tallies.items(), (POOLED, Tally.pool(list(tallies.values())))] if tallies else []:
        _add_metrics(result, tally, split, name, intervals)
        if intervals:
            _add_tables(result, tally, labels, split, name)
    return result


def _tally(part: Scored, predicted: Sequence[Sequence[str]], labels: Sequence[str], known: frozenset[str]) -> Tally:
    position = {label: index for index, label in enumerate(labels)}
    tags = tag_set(labels)
    number = {tag: index for index, tag in enumerate(tags)}
    entities = np.zeros((len(part.sentences), len(labels), 3), dtype=np.int64)
    unseen = np.zeros(3, dtype=np.int64)
    loss = np.zeros(len(part.sentences))
    for row, (sentence, guess, logs) in enumerate(
        each(zip(part.sentences, predicted, part.log_probabilities, strict=True))
    ):
        gold_spans, guessed_spans = set(find_spans(sentence.tags)), set(find_spans(guess))
        for column, spans in enumerate(
            (gold_spans & guessed_spans, guessed_spans - gold_spans, gold_spans - guessed_spans)
        ):
            for span in spans:
                entities[row, position[span[2]], column] += 1
                unseen[column] += _surface(sentence, span) not in known
        gold = [number[tag] for tag in sentence.tags]
        loss[row] = -logs[np.arange(len(gold)), gold].sum(dtype=np.float64)
    gold_tags = np.array([number[tag] for sentence in part.sentences for tag in sentence.tags], dtype=np.intp)
    guessed_tags = np.array([number[tag] for guess in predicted for tag in guess], dtype=np.intp)
    return Tally(
        entities,
        confusion(gold_tags, guessed_tags, len(tags)),
        unseen,
        loss,
        np.array([len(sentence.tokens) for sentence in part.sentences], dtype=np.int64),
        group_numbers([sentence.group for sentence in part.sentences]),
    )


def _surface(sentence: TaggedSentence, span: Span) -> str:
    return " ".join(sentence.tokens[span[0] : span[1]]).lower()


def _micro_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return precision_recall_f1(counts)[2]


def _add_metrics(result: Evaluation, tally: Tally, split: Split, dataset: str, intervals: bool) -> None:
    per_sentence = tally.entities.sum(axis=1)
    low, high = interval(per_sentence, tally.groups, _micro_f1) if intervals else (None, None)
    tokens = int(tally.tokens.sum())
    mean_loss = float(tally.loss.sum()) / tokens
    figures = {
        MetricName.ENTITY_MICRO_F1: float(_micro_f1(per_sentence.sum(axis=0))),
        MetricName.ENTITY_MACRO_F1: float(macro_f1(tally.entities.sum(axis=0))),
        MetricName.TOKEN_MICRO_F1_WITH_O: float(tally.tags[:, 0].sum()) / tokens,
        MetricName.LOSS: mean_loss,
    }
    for name, value in figures.items():
        bounds = (low, high) if name is MetricName.ENTITY_MICRO_F1 else (None, None)
        result.metrics.append(
            ReportMetric(name=name, value=value, dataset=dataset, split=split, low=bounds[0], high=bounds[1])
        )
    result.losses.append(Loss(dataset=dataset, split=split, mean=mean_loss, count=tokens, unit="nats/token"))


def _add_tables(result: Evaluation, tally: Tally, labels: Sequence[str], split: Split, dataset: str) -> None:
    counts = tally.entities.sum(axis=0)
    result.per_entity += table(labels, counts, split, dataset)
    result.per_tag += table(tag_set(labels), tally.tags, split, dataset)
    precision, recall, f1 = (float(value) for value in precision_recall_f1(tally.unseen))
    support = int(tally.unseen[0] + tally.unseen[2])
    gold = int(counts[:, 0].sum() + counts[:, 2].sum())
    result.unseen.append(
        UnseenEntities(
            dataset=dataset,
            split=split,
            share=support / gold if gold else 0.0,
            support=support,
            precision=precision,
            recall=recall,
            f1=f1,
        )
    )


def _keep_records(
    result: Evaluation, name: str, part: Scored, predicted: Sequence[Sequence[str]], tally: Tally
) -> None:
    result.predictions[name] = [
        {"row": row, "gold": list(sentence.tags), "predicted": list(guess)}
        for row, (sentence, guess) in enumerate(zip(part.sentences, predicted, strict=True))
    ]
    result.counts[name] = {
        "entities": tally.entities.astype(np.int32),
        "loss": tally.loss,
        "tokens": tally.tokens,
        "group": tally.groups,
    }
