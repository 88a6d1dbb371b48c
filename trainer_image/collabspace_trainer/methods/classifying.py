"""An encoder that learns and predicts one class per text, from the beginning of the text where it is long."""

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
from collabspace_trainer.tasks.text_classification import Texts


class ClassModel:
    """Predicts classes of texts."""

    def __init__(self, encoder: Encoder, machine: Runtime) -> None:
        self.encoder = encoder
        self.module: torch.nn.Module = encoder.model.to(machine.device)
        self._machine = machine
        self._padding = padding_piece(encoder.tokenizer)
        self.pieces = Pieces(encoder.tokenizer, encoder.maximum)

    def predict(self, texts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        """Log-probabilities [texts, classes]."""
        windows = self.pieces.beginnings(texts)
        return halved_if_short(lambda size: self._table(windows, size), batch_size)

    def logits(self, windows: Sequence[Window]) -> torch.Tensor:
        """[windows, classes], in Float32."""
        pieces, mask = collate(windows, self._padding)
        device = self._machine.device
        found: torch.Tensor = self.module(input_ids=pieces.to(device), attention_mask=mask.to(device)).logits.float()
        return found

    def _table(self, windows: Sequence[Window], batch_size: int) -> NDArray[np.float64]:
        table = np.empty((len(windows), self.encoder.model.config.num_labels))
        self.module.eval()
        for batch in by_length([len(window.pieces) for window in windows], batch_size):
            with torch.inference_mode(), autocast(self._machine):
                logits = self.logits([windows[index] for index in batch])
            table[batch] = functional.log_softmax(logits, dim=-1).cpu().numpy()
            beat()
        return table


class ClassLearner:
    """The training texts with their classes, and the model that learns from them."""

    def __init__(self, encoder: Encoder, corpus: Texts, session: Session) -> None:
        self.classifier = ClassModel(encoder, session.runtime)
        self.model = self.classifier.module
        self._windows = self.classifier.pieces.beginnings([record.text for record in corpus.train])
        self._targets = corpus.classes(corpus.train).tolist()
        self._smoothing = session.plan.settings.number("labelSmoothing")
        self._class_weights = class_weights(self._targets, len(corpus.labels), session.plan.settings)
        self._lengths = [len(window.pieces) for window in self._windows]
        full = sum(length == encoder.maximum for length in self._lengths)
        if full:
            session.course.notes.append(
                f"{full} of {len(self._lengths)} training texts fill maxLength ({encoder.maximum} word pieces); "
                "what goes beyond it is not read"
            )

    @property
    def lengths(self) -> Sequence[int]:
        return self._lengths

    def weight(self, records: Sequence[int]) -> float:
        if self._class_weights is None:
            return float(len(records))
        return float(self._class_weights[[self._targets[record] for record in records]].sum().item())

    def loss(self, records: Sequence[int]) -> torch.Tensor:
        logits = self.classifier.logits([self._windows[record] for record in records])
        targets = torch.tensor([self._targets[record] for record in records], device=logits.device)
        weights = None if self._class_weights is None else self._class_weights.to(logits.device)
        return functional.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=self._smoothing)
