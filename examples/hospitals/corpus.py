"""The demo's data: generated notes, the breast-cancer measurements inside scikit-learn, or a corpus of the user's."""

import csv
from pathlib import Path

import notes

HOSPITALS = ("hospital-a", "hospital-b")
SPLITS = {"train": ("train", "training"), "validation": ("devel", "dev", "valid", "validation"), "test": ("test",)}
SUFFIXES = (".tsv", ".conll", ".bio", ".txt")


def generated(folder: Path) -> dict[str, Path]:
    """Notes of both hospitals, one folder each."""
    return notes.write(folder)


def halved(corpus: Path, folder: Path) -> dict[str, Path]:
    """A CoNLL-like corpus with train, devel and test files, each split halved by sentences over the hospitals.

    Raises FileNotFoundError that names the missing split.
    """
    for hospital in HOSPITALS:
        (folder / hospital).mkdir(parents=True, exist_ok=True)
    for split, words in SPLITS.items():
        source = next(
            (corpus / f"{word}{end}" for word in words for end in SUFFIXES if (corpus / f"{word}{end}").is_file()), None
        )
        if source is None:
            raise FileNotFoundError(f"{corpus} has no {split} file; expected one of {', '.join(words)} with {SUFFIXES}")
        sentences = [block for block in source.read_text(encoding="utf-8").split("\n\n") if block.strip()]
        middle = (len(sentences) + 1) // 2
        for hospital, part in zip(HOSPITALS, (sentences[:middle], sentences[middle:]), strict=True):
            text = "\n\n".join(block.strip("\n") for block in part) + "\n"
            (folder / hospital / f"{split}.conll").write_text(text, encoding="utf-8")
    return {hospital: folder / hospital for hospital in HOSPITALS}


def broken_copy(source: Path, folder: Path, line: int = 412) -> Path:
    """A copy of a training file with an I- tag at the given line that nothing begins: a slip of the pen."""
    lines = source.read_text(encoding="utf-8").split("\n")
    words = ["Doe\tO", "has\tO", "scleroma\tI-Disease", ""]
    middle = [*lines[: line - 3]]
    while middle and middle[-1] != "":
        middle.pop()
    filler = ["noted\tO"] * (line - 3 - len(middle))
    target = folder / "notes.conll"
    target.write_text("\n".join([*middle, *filler, *words, *lines[line:]]), encoding="utf-8")
    return target


def measurements(folder: Path) -> dict[str, Path]:
    """The Wisconsin breast-cancer measurements (569 rows, 30 numbers, diagnosis), every other row to each hospital."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    header = [str(name).replace(" ", "_") for name in bunch.feature_names] + ["diagnosis"]
    rows = [
        [*map(float, row), str(bunch.target_names[kind])] for row, kind in zip(bunch.data, bunch.target, strict=True)
    ]
    files = {}
    for position, hospital in enumerate(HOSPITALS):
        target = folder / f"{hospital}-measurements.csv"
        with target.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(header)
            writer.writerows(rows[position::2])
        files[hospital] = target
    return files
