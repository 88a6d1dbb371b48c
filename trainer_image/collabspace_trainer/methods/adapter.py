"""An encoder with LoRA matrices beside its linear layers: made, kept without the encoder, put back beside it.

The files are those of the PEFT library, so that other programs can read them; the base is named, not copied.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from collabspace.api.run import InitialModel
from collabspace_trainer import stored
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.methods import encoder as encoders
from collabspace_trainer.methods.encoder import Encoder, Head
from collabspace_trainer.parameters import Settings
from collabspace_trainer.stored import StoredModel
from collabspace_trainer.stored_results import ADAPTER, BASE, NO_BASE, base_of

METHOD = "LoRA"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Before every name in files of the PEFT library."""
LENGTH = "maxLength"
ATTENTION = ("attention", "attn")
MAX_RANK = 256


@dataclass(frozen=True)
class Shape:
    """`modules`: the full names of the linear layers that get matrices."""

    rank: int
    alpha: int
    dropout: float
    modules: list[str]


@dataclass(frozen=True)
class Adapter:
    """`encoder` computes with the matrices; `fresh` names its tensors that the base does not have."""

    encoder: Encoder
    shape: Shape
    fresh: frozenset[str]
    base: InitialModel
    length: int

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self._learnt().values())

    def _learnt(self) -> dict[str, torch.Tensor]:
        tensors = self.encoder.model.state_dict()
        return {name: tensor for name, tensor in tensors.items() if "lora_" in name or name in self.fresh}

    def save(self, folder: Path, task: str, labels: Sequence[str]) -> None:
        """adapter_model.safetensors, adapter_config.json, and config.json with the base's uid and digest."""
        tensors = {f"{PREFIX}{name.replace('.default.', '.')}": value for name, value in self._learnt().items()}
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
        top = sorted({name.rpartition(".")[0] for name in self.fresh})
        _library_shape(self.shape, top).save_pretrained(str(folder))
        config = {
            "model_type": self.encoder.model.config.model_type,
            BASE: self.base.model_dump(),
            LENGTH: self.length,
        }
        (folder / stored.CONFIG).write_text(json.dumps(config))
        stored.describe(folder, task, METHOD, labels)
        (folder / "labels.json").write_text(json.dumps(list(labels), ensure_ascii=False) + "\n")

    def merge(self) -> None:
        """Adds the matrices to the weights, in place: afterwards the encoder is a plain one."""
        for name, module in list(self.encoder.model.named_modules()):
            if isinstance(module, LoraLayer):
                module.merge()
                parent, _, own = name.rpartition(".")
                setattr(self.encoder.model.get_submodule(parent), own, module.get_base_layer())
        for parameter in self.encoder.model.parameters():
            parameter.requires_grad_(True)


def targets(encoder: Encoder, settings: Settings) -> list[str]:
    """Full names of the layers that parameter targetModules means. Raises ConfigError when there is none."""
    asked, fresh = settings.choice("targetModules"), {name.rpartition(".")[0] for name in _fresh(encoder)}
    linear = [name for name, module in encoder.model.named_modules() if isinstance(module, nn.Linear)]
    named = [name for name in linear if name not in fresh]
    chosen = [name for name in named if asked == "All" or any(part in name for part in ATTENTION)]
    if not chosen:
        raise ConfigError(f"training.parameters.targetModules is {asked}, the model has no such layer; choose All")
    return chosen


def make(encoder: Encoder, shape: Shape, base: InitialModel, length: int) -> Adapter:
    """Puts matrices (torch's generator) into the encoder; they and what the base does not have learn, the rest not."""
    fresh = _fresh(encoder)
    inject_adapter_in_model(_library_shape(shape, []), encoder.model)
    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_("lora_" in name or name in fresh)
    return Adapter(encoder, shape, fresh, base, length)


def _fresh(encoder: Encoder) -> frozenset[str]:
    """What learns as a whole: the layers on top, which are the task's own, and whatever no file gave."""
    prefix = f"{encoder.model.base_model_prefix}."
    return encoder.fresh | {name for name, _ in encoder.model.named_parameters() if not name.startswith(prefix)}


def load(model: StoredModel, outputs: Sequence[str], head: Head) -> Adapter:
    """What `save` wrote, beside its base again. Raises DataError when they do not belong together."""
    named = base_of(model.folder)
    if named is None or model.base is None:
        raise DataError(NO_BASE)
    try:
        length = int(model.config[LENGTH])
        shape = _shape(stored.read_json(model.folder / ADAPTER))
        found = load_file(model.folder / WEIGHTS)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise DataError(
            f"model: {stored.CONFIG}, {ADAPTER} or {WEIGHTS} cannot be used ({type(error).__name__})"
        ) from None
    encoder = encoders.load(model.base, outputs, 0.0, length, head)
    unknown = sorted(set(shape.modules) - {n for n, m in encoder.model.named_modules() if isinstance(m, nn.Linear)})
    if unknown or not shape.modules:
        raise DataError(f"model: {ADAPTER} names layers that its base does not have; give the base that it belongs to")
    adapter = make(encoder, shape, named, length)
    _fill(adapter, found)
    return adapter


def _fill(adapter: Adapter, found: dict[str, torch.Tensor]) -> None:
    expected = {f"{PREFIX}{name.replace('.default.', '.')}": value for name, value in adapter._learnt().items()}
    shapes = {name: (value.shape, value.dtype) for name, value in expected.items()}
    if {name: (value.shape, value.dtype) for name, value in found.items()} != shapes:
        raise DataError(f"model: {WEIGHTS} has other tensors than its base asks for; give the base that it belongs to")
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        raise DataError(f"model: {WEIGHTS} holds a number that is not finite; give another result")
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(found[name])


def _library_shape(shape: Shape, top: Sequence[str]) -> LoraConfig:
    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=sorted(shape.modules),
        modules_to_save=list(top) or None,
    )


def _shape(config: Any) -> Shape:
    """From adapter_config.json. Raises KeyError, TypeError or ValueError."""
    rank, alpha, modules = int(config["r"]), int(config["lora_alpha"]), [str(name) for name in config["target_modules"]]
    if not 1 <= rank <= MAX_RANK or not 1 <= alpha <= 1024 or len(modules) > 10_000:
        raise ValueError("rank or alpha is out of range")
    return Shape(rank, alpha, 0.0, modules)
