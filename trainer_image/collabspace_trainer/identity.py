"""What a checkpoint belongs to: equal identity, equal training, down to the libraries that carry it out."""

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path

from collabspace.api.run import RunDocument

LIBRARIES = ("torch", "transformers", "numpy", "safetensors", "collabspace")


def identity_of(document: RunDocument) -> str:
    """sha256 of `training` and the versions of the libraries, hexadecimal. How it is executed does not matter."""
    parts = {"training": document.training_digest(), "libraries": {name: metadata.version(name) for name in LIBRARIES}}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def processor() -> str:
    """The CPU's model, on which bit-equal results depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
