"""The NCBI disease corpus, if it lies beside the project: true counts, and fast enough to wait for."""

import time
from pathlib import Path

import pytest

from collabspace.api.manifest import Split
from collabspace.formats import check, read_token_classification

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "data" / "ncbi-disease"

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the NCBI disease corpus is not at ../shared/data/ncbi-disease"
)


def test_the_corpus_is_pushed_with_the_published_counts(work) -> None:
    pushed = work.tokens(CORPUS)
    assert pushed.manifest.split_mode == "Provided"
    assert pushed.prepared.counts == {Split.TRAIN: 5_432, Split.VALIDATION: 923, Split.TEST: 940}
    assert pushed.prepared.label_counts == {
        Split.TRAIN: {"Disease": 5_145},
        Split.VALIDATION: {"Disease": 787},
        Split.TEST: {"Disease": 960},
    }
    assert pushed.prepared.warnings == []
    assert (pushed.prepared.readme or "").startswith("NCBI disease corpus")
    check(pushed.folder, pushed.manifest)


def test_reading_gives_back_the_corpus_line_by_line(work) -> None:
    pushed = work.tokens(CORPUS)
    train = read_token_classification(pushed.folder, pushed.manifest, Split.TRAIN)
    lines = [f"{t}\t{g}" for s in train for t, g in [*zip(s.tokens, s.tags, strict=True), ("", "")]]
    source = (CORPUS / "train.tsv").read_text().split("\n")
    assert [line for line in lines if line != "\t"] == [line for line in source if line]
    assert lines.count("\t") == 5_432


def test_the_train_file_is_prepared_in_under_two_seconds_of_processor_time(work) -> None:
    begun = time.process_time()
    work.tokens(CORPUS / "train.tsv")
    assert time.process_time() - begun < 2.0
