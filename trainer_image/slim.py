"""Removes CUDA from an environment that will train on CPUs alone: run once while the image is built.

    python slim.py /opt/packages/lib/python3.11/site-packages

PyPI's wheel of PyTorch for Linux links the CUDA libraries, so that those its loader opens must stay; what stays closed
when PyTorch is imported (Triton's compiler, the engines of cuDNN, headers) goes.
"""

import shutil
import sys
from pathlib import Path

import torch  # noqa: F401 its import opens what must stay

PACKAGES = ("nvidia", "triton", "cuda")


def opened() -> set[Path]:
    """Files mapped by this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]) for line in lines if line.count("/")}


def slim(packages: Path) -> None:
    kept = opened()
    for name in PACKAGES:
        for path in sorted((packages / name).rglob("*"), reverse=True):
            if path.is_symlink() or path.is_file():
                if path.resolve() not in kept and path.suffix != ".py":
                    path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()
    shutil.rmtree(packages / "triton", ignore_errors=True)


if __name__ == "__main__":
    slim(Path(sys.argv[1]).resolve())
