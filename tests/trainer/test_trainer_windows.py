"""Order of records, windows of long sentences, vocabularies, and models that are refused."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainer_runs import Finished, conll

from collabspace_trainer.errors import DataError
from collabspace_trainer.methods import encoder
from collabspace_trainer.methods.windows import Pieces, collate
from collabspace_trainer.order import batches, by_length

TEXTS = [["the", "liver", "is", "enlarged"], ["no", "enlarged", "liver"]] * 5
TAGS = ["O", "B-Organ", "I-Organ"]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_every_record_comes_once_in_an_epoch(lengths: list[int], size: int, epoch: int) -> None:
    order = batches(lengths, size, 7, epoch)
    assert sorted(record for batch in order for record in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in order)
    assert order == batches(lengths, size, 7, epoch)


def test_epochs_and_seeds_differ_in_their_order() -> None:
    orders = [batches([1] * 100, 10, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert orders[0] != orders[1] != orders[2]


def test_batches_hold_records_of_near_equal_length() -> None:
    lengths = [1 + (37 * i) % 100 for i in range(800)]
    padded = sum(max(lengths[r] for r in batch) * len(batch) for batch in batches(lengths, 16, 0, 0))
    assert padded < 1.1 * sum(lengths)
    assert by_length([3, 1, 2, 1], 3) == [[1, 3, 2], [0]]


def test_long_sentences_go_on_in_further_windows_and_no_word_is_lost() -> None:
    pieces = Pieces(encoder.learn_vocabulary(TEXTS, 200), 8)
    sentences: list[Sequence[str]] = [TEXTS[0] * 10, ["liver" * 50], ["\u200b", "liver"]]
    windows = pieces.windows(sentences)
    assert all(len(window.pieces) <= 8 for window in windows)
    for number, words in enumerate(sentences):
        own = [window for window in windows if window.sentence == number]
        assert [w.first_word for w in own] == [sum(len(v.starts) for v in own[:i]) for i in range(len(own))]
        assert sum(len(window.starts) for window in own) == len(words)


def test_batches_are_padded_to_their_longest_window() -> None:
    windows = Pieces(encoder.learn_vocabulary(TEXTS, 200), 32).windows([["liver"], ["the", "liver", "is"]])
    numbers, mask = collate(windows, 0)
    assert numbers.shape == mask.shape == (2, 5)
    assert mask.sum(dim=1).tolist() == [3, 5]


def test_equal_texts_make_equal_vocabularies() -> None:
    words = [[word for line in conll(300, 4).splitlines() if line for word in [line.split("\t")[0]]]]
    assert len({encoder.learn_vocabulary(words * 6, 150).to_str() for _ in range(6)}) == 1


def test_a_vocabulary_keeps_terms_of_five_records_only() -> None:
    vocabulary = encoder.learn_vocabulary([*TEXTS, *([["Zyxgrub", "liver"]] * 4)], 500).get_vocab()
    assert "liver" in vocabulary
    assert not any("zyx" in piece or piece in ("z", "##z") for piece in vocabulary)


@pytest.fixture
def model(trained: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.out / "model", tmp_path / "model"))


def change(model: Path, **fields: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **fields}))


def test_a_saved_model_is_loaded_with_all_its_weights(model: Path) -> None:
    loaded = encoder.load(model, TAGS, 0.1, 512)
    assert loaded.model.config.num_labels == 3
    assert loaded.maximum == 30  # as many pieces as there are positions, less the reserve


def test_a_model_with_code_of_its_own_is_refused(model: Path) -> None:
    change(model, auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(DataError, match="auto_map"):
        encoder.load(model, TAGS, 0.1, 32)


def test_weights_that_do_not_fit_the_configuration_are_refused(model: Path) -> None:
    change(model, num_hidden_layers=3)
    with pytest.raises(DataError, match="lack"):
        encoder.load(model, TAGS, 0.1, 32)


def test_weights_of_another_width_are_refused(model: Path) -> None:
    change(model, hidden_size=48, intermediate_size=100)
    with pytest.raises(DataError, match="another shape"):
        encoder.load(model, TAGS, 0.1, 32)


def test_an_unknown_architecture_is_refused(model: Path) -> None:
    change(model, model_type="oracle")
    with pytest.raises(DataError, match="ValueError"):
        encoder.load(model, TAGS, 0.1, 32)


def test_weights_that_are_no_safetensors_are_refused(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match=r"training\.initialModel"):
        encoder.load(model, TAGS, 0.1, 32)
