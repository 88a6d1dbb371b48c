"""Frozen encoders: a text is the mean of its pieces' vectors, a classifier one linear layer over that."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from collabspace.api.run import InitialModel
from collabspace_trainer import stored
from collabspace_trainer.errors import DataError
from collabspace_trainer.loop import autocast
from collabspace_trainer.methods import encoder as encoders
from collabspace_trainer.methods.encoder import Encoder
from collabspace_trainer.methods.halving import halved_if_short
from collabspace_trainer.methods.layers import Layers
from collabspace_trainer.methods.windows import Pieces, Window, collate, padding_piece
from collabspace_trainer.order import by_length
from collabspace_trainer.pulse import beat
from collabspace_trainer.runtime import Runtime
from collabspace_trainer.session import Session
from collabspace_trainer.stored import CONFIG, StoredModel
from collabspace_trainer.stored_results import BASE, NO_BASE, base_of

BATCH = 32
WEIGHTS = "model.safetensors"
LENGTH = "maxLength"
Vectors = NDArray[np.float32]


class Embedder:
    """Texts as vectors of length 1."""

    def __init__(self, encoder: Encoder, machine: Runtime) -> None:
        self._model: torch.nn.Module = encoder.model.base_model.to(machine.device).eval()
        self._machine = machine
        self._padding = padding_piece(encoder.tokenizer)
        self._pieces = Pieces(encoder.tokenizer, encoder.maximum)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[texts, width]: the mean over the beginning of each text."""
        windows = self._pieces.beginnings(texts)
        return halved_if_short(lambda size: self._table(windows, size), BATCH)

    def _table(self, windows: Sequence[Window], size: int) -> Vectors:
        parts: dict[int, Vectors] = {}
        for batch in by_length([len(window.pieces) for window in windows], size):
            with torch.inference_mode(), autocast(self._machine):
                means = self._means([windows[index] for index in batch])
            parts.update(zip(batch, means.cpu().numpy(), strict=True))
            beat()
        return np.stack([parts[index] for index in range(len(windows))])

    def _means(self, windows: Sequence[Window]) -> torch.Tensor:
        pieces, mask = (tensor.to(self._machine.device) for tensor in collate(windows, self._padding))
        states = self._model(input_ids=pieces, attention_mask=mask).last_hidden_state.float()
        sums = (states * mask[:, :, None]).sum(dim=1)
        return torch.nn.functional.normalize(sums, dim=1)


@dataclass(frozen=True)
class Embedded:
    """Classes of texts by a layer over their vectors. The encoder is named by `base`, not kept."""

    embedder: Embedder
    head: Layers
    method: str
    labels: list[str]
    base: InitialModel
    length: int

    @property
    def parameters(self) -> int:
        return self.head.parameters

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities [texts, classes]."""
        logits = self.head.compute(self.embedder.embed(texts))
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits

    def save(self, folder: Path) -> None:
        """config.json with the base's uid and digest, model.safetensors with the layer."""
        config = {"model_type": "collabspace-embedded", BASE: self.base.model_dump(), LENGTH: self.length}
        (folder / CONFIG).write_text(json.dumps(config))
        stored.describe(folder, "TextClassification", self.method, self.labels)
        save_file({name: np.ascontiguousarray(array) for name, array in self.head.arrays().items()}, folder / WEIGHTS)


def begin(session: Session, labels: Sequence[str]) -> tuple[Embedder, InitialModel, int]:
    """The given weights, ready to embed; their name, and the length of what is read. Raises DataError."""
    base, folder = session.plan.document.training.initial_model, session.model_folder
    if base is None or folder is None:
        raise DataError("training.initialModel is missing; name the weights to embed with")
    length = session.plan.settings.integer(LENGTH)
    return Embedder(encoders.load(folder, labels, 0.0, length, "Classes"), session.runtime), base, length


def load(model: StoredModel, machine: Runtime) -> Embedded:
    """What `save` wrote, with its base. Raises DataError."""
    base, labels = base_of(model.folder), list(model.description.labels)
    if base is None or model.base is None:
        raise DataError(NO_BASE)
    try:
        length, arrays = int(model.config[LENGTH]), load_file(model.folder / WEIGHTS)
        encoder = encoders.load(model.base, labels, 0.0, length, "Classes")
        head = Layers.of(arrays, encoder.model.config.hidden_size)
        if head.outputs != len(labels) or any(not np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("the layer is not of the labels")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"model: {CONFIG}, {WEIGHTS} and the base do not fit together ({type(error).__name__}); give another result"
        ) from None
    return Embedded(Embedder(encoder, machine), head, model.description.method, labels, base, length)
