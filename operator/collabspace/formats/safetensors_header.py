"""Proof that a file is safetensors: its header is read by hand, and every byte after it belongs to one tensor."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from collabspace.formats.limits import MAX_HEADER_BYTES
from collabspace.formats.strict_json import JSONProblem, parse

_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 64
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


class HeaderProblem(ValueError):
    """Why the file is no safetensors."""


def tensor_names(path: Path, size: int) -> set[str]:
    """The names of the tensors in a file of `size` bytes. Raises HeaderProblem; no tensor is read."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or not 2 <= length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
            raise HeaderProblem("is no safetensors file: the header's length is beyond the file or the bound")
        raw = stream.read(length)
    try:
        header = parse(raw.decode("utf-8"))
    except (UnicodeDecodeError, JSONProblem) as error:
        raise HeaderProblem("is no safetensors file: its header is no JSON") from error
    if not isinstance(header, dict) or not raw.startswith(b"{"):
        raise HeaderProblem("is no safetensors file: its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderProblem("has metadata that is no table of strings")
    _check_cover(_ranges(header), size - _LENGTH_BYTES - length)
    return set(header)


def _ranges(header: dict[str, object]) -> Iterator[tuple[int, int]]:
    if not header:
        raise HeaderProblem("holds no tensor")
    for tensor in header.values():
        fields = tensor if isinstance(tensor, dict) else {}
        shape, offsets = fields.get("shape"), fields.get("data_offsets")
        item = _ITEM_BYTES.get(str(fields.get("dtype")))
        if item is None or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
            raise HeaderProblem("has a tensor without a known dtype, a shape and two offsets")
        if offsets[1] - offsets[0] != item * math.prod(shape):
            raise HeaderProblem("has a tensor whose offsets do not fit its shape and dtype")
        yield offsets[0], offsets[1]


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_DIMENSIONS
        and all(type(item) is int and 0 <= item < 2**63 for item in value)
    )


def _check_cover(ranges: Iterator[tuple[int, int]], size: int) -> None:
    """Tensors follow each other without overlap or hole: nothing else can hide in the file."""
    place = 0
    for begin, end in sorted(ranges):
        if begin != place:
            raise HeaderProblem("has tensors that overlap or leave bytes between them")
        place = end
    if place != size:
        raise HeaderProblem(f"has {size} bytes of tensors where its header says {place}")
