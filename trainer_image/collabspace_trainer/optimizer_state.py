"""The state of an optimizer as named tensors, and back: checked against the very parameters it belongs to."""

import json
from collections.abc import Mapping
from typing import Any

import torch

from collabspace_trainer.errors import BrokenCheckpointError

Tensors = dict[str, torch.Tensor]


def pack(optimizer: torch.optim.Optimizer) -> Tensors:
    """Tensors named `INDEX.NAME`: the number of the parameter over all groups, and what is remembered of it."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items() if value is not None
    }


def hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """By group, all but the learning rate, which follows from the step; as JSON holds them."""
    groups = [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        for group in optimizer.param_groups
    ]
    plain: list[dict[str, Any]] = json.loads(json.dumps(groups))
    return plain


def unpack(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The tensors as `load_state_dict` takes them. Raises BrokenCheckpointError when one does not fit its parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, Tensors] = {}
    for name, value in tensors.items():
        index, _, field = name.partition(".")
        if not index.isascii() or not index.isdigit() or len(index) > 9 or int(index) >= len(parameters):
            raise BrokenCheckpointError("the optimizer remembers a parameter that the model does not have")
        state.setdefault(int(index), {})[field] = value
    for number, entry in state.items():
        expected = _expected(optimizer, parameters[number])
        found = {field: (tuple(value.shape), value.dtype) for field, value in entry.items()}
        if found != expected:
            raise BrokenCheckpointError("the optimizer remembers something that does not fit its parameter")
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _expected(
    optimizer: torch.optim.Optimizer, parameter: torch.Tensor
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Name, shape and type of what the optimizer remembers of a parameter after its first step."""
    shape, kind = tuple(parameter.shape), parameter.dtype
    count = ((), torch.float32)
    match optimizer:
        case torch.optim.SGD():
            return {"momentum_buffer": (shape, kind)}
        case torch.optim.Adafactor() if len(shape) > 1:
            rows, columns = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
            return {"step": count, "row_var": (rows, kind), "col_var": (columns, kind)}
        case torch.optim.Adafactor():
            return {"step": count, "variance": (shape, kind)}
    return {"step": count, "exp_avg": (shape, kind), "exp_avg_sq": (shape, kind)}
