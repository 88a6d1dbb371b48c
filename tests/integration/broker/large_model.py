"""A version large enough that its transfer can be met in the middle: a model of zeros."""

import asyncio
import json
import struct
from pathlib import Path

from broker_harness import BrokerProcess, World, written
from published_notes import Published

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat
from collabspace.formats import SplitRule, prepare

BYTES = 24 << 20
WEIGHTS = "model.safetensors"


def safetensors(size: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def model_files(size: int) -> dict[str, bytes]:
    """A folder that is a model, with so many bytes of weights."""
    return {
        "config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}',
        "tokenizer.json": b'{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}',
        "tokenizer_config.json": b"{}",
        WEIGHTS: safetensors(size),
    }


async def prepared_model(world: World, owner: str, folder: Path, size: int = BYTES) -> Published:
    uid = await world.dataset(owner, "notes", format="Model")
    done = await asyncio.to_thread(
        prepare,
        written(folder / "raw", model_files(size)),
        DatasetFormat.MODEL,
        folder / "ready",
        owner_uid=uid,
        split=SplitRule(),
    )
    return Published(owner, uid, done.manifest, folder / "ready")


async def pushed_model(world: World, broker: BrokerProcess, folder: Path, size: int = BYTES) -> Published:
    model = await prepared_model(world, await world.team(), folder, size)
    with broker.client(await world.token(model.owner, names.PUBLISHER_ACCOUNT), patience=60.0) as client:
        await asyncio.to_thread(client.push, model.target, model.manifest, model.folder)
    return model
