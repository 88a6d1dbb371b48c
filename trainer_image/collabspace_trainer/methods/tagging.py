"""An encoder that learns and predicts one tag per word: the first piece of a word speaks for all of it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from collabspace_trainer.loop import autocast
from collabspace_trainer.methods.class_weights import class_weights
from collabspace_trainer.methods.encoder import Encoder
from collabspace_trainer.methods.halving import halved_if_short
from collabspace_trainer.methods.windows import Pieces, Window, collate, padding_piece
from collabspace_trainer.order import by_length
from collabspace_trainer.pulse import beat
from collabspace_trainer.runtime import Runtime
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.token_classification import Sentences


class TagModel:
    """Predicts tags of words."""

    def __init__(self, encoder: Encoder, machine: Runtime) -> None:
        self.encoder = encoder
        self.module: torch.nn.Module = encoder.model.to(machine.device)
        self._machine = machine
        self._padding = padding_piece(encoder.tokenizer)
        self.pieces = Pieces(encoder.tokenizer, encoder.maximum)

    def predict(self, sentences: Sequence[Sequence[str]], batch_size: int) -> list[NDArray[np.float32]]:
        """Log-probabilities [words, tags] of each sentence."""
        windows = self.pieces.windows(sentences)
        tables = halved_if_short(lambda size: self._tables(windows, size), batch_size)
        return _joined(windows, tables, len(sentences))

    def word_logits(self, windows: Sequence[Window]) -> torch.Tensor:
        """[words of all windows, tags], in Float32."""
        device = self._machine.device
        pieces, mask = collate(windows, self._padding)
        logits = self.module(input_ids=pieces.to(device), attention_mask=mask.to(device)).logits
        rows = torch.tensor([row for row, window in enumerate(windows) for _ in window.starts], device=device)
        columns = torch.tensor([start for window in windows for start in window.starts], device=device)
        selected: torch.Tensor = logits[rows, columns].float()
        return selected

    def _tables(self, windows: Sequence[Window], batch_size: int) -> list[NDArray[np.float32]]:
        """Log-probabilities [words, tags] of each window."""
        tables: list[NDArray[np.float32]] = [np.empty((0, 0), dtype=np.float32)] * len(windows)
        self.module.eval()
        for batch in by_length([len(window.pieces) for window in windows], batch_size):
            with torch.inference_mode(), autocast(self._machine):
                logits = self.word_logits([windows[index] for index in batch])
            rows = functional.log_softmax(logits, dim=-1).cpu().numpy()
            ends = np.cumsum([len(windows[index].starts) for index in batch])
            for index, part in zip(batch, np.split(rows, ends[:-1]), strict=True):
                tables[index] = part
            beat()
        return tables


class TagLearner:
    """Windows of the training sentences with their tags, and the model that learns from them."""

    def __init__(self, encoder: Encoder, corpus: Sentences, session: Session) -> None:
        self.tagger = TagModel(encoder, session.runtime)
        self.model = self.tagger.module
        self._windows = self.tagger.pieces.windows([sentence.tokens for sentence in corpus.train])
        number = {tag: index for index, tag in enumerate(corpus.tags)}
        self._targets = [
            [number[tag] for tag in corpus.train[w.sentence].tags[w.first_word : w.first_word + len(w.starts)]]
            for w in self._windows
        ]
        self._smoothing = session.plan.settings.number("labelSmoothing")
        every = [target for targets in self._targets for target in targets]
        self._class_weights = class_weights(every, len(corpus.tags), session.plan.settings)
        self._lengths = [len(window.pieces) for window in self._windows]

    @property
    def lengths(self) -> Sequence[int]:
        return self._lengths

    def weight(self, records: Sequence[int]) -> float:
        if self._class_weights is None:
            return float(sum(len(self._targets[record]) for record in records))
        return float(sum(self._class_weights[self._targets[record]].sum().item() for record in records))

    def loss(self, records: Sequence[int]) -> torch.Tensor:
        logits = self.tagger.word_logits([self._windows[record] for record in records])
        targets = torch.tensor([target for record in records for target in self._targets[record]], device=logits.device)
        weights = None if self._class_weights is None else self._class_weights.to(logits.device)
        return functional.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=self._smoothing)


def _joined(
    windows: Sequence[Window], tables: Sequence[NDArray[np.float32]], sentences: int
) -> list[NDArray[np.float32]]:
    parts: list[list[NDArray[np.float32]]] = [[] for _ in range(sentences)]
    for window, table in zip(windows, tables, strict=True):
        parts[window.sentence].append(table)
    return [np.concatenate(part) for part in parts]
