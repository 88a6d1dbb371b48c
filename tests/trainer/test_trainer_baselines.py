"""Baselines: cheap methods that set the bar, kept without rare words, equal when they are read back."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_runs import HERE, RARE, films, opinions, session, version
from trainer_runs import notes

from collabspace.api.catalogue import catalogue
from collabspace.api.manifest import DatasetFormat, Split
from collabspace.api.run import Role
from collabspace.formats import SplitRule, prepare
from collabspace_trainer import registry, stored
from collabspace_trainer.errors import DataError
from collabspace_trainer.methods import encoder
from collabspace_trainer.methods.window_features import describe_words, shape
from collabspace_trainer.stored_results import check_model
from collabspace_trainer.versions import Version

PERSON = "Zyxgrub"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Notes with entities; four training sentences name a person."""
    folder = tmp_path_factory.mktemp("ward")
    raw = notes(folder / "raw", 1, sentences=160)
    with (raw / "train.conll").open("a") as file:
        file.write("\n" + "\n".join(f"seen\tO\nby\tO\n{PERSON}\tO\n{i}x\tO\nmyeloma\tB-Disease\n" for i in range(4)))
    made = prepare(raw, DatasetFormat.TOKEN_CLASSIFICATION, folder / "made", owner_uid="d1", split=SplitRule())
    return Version("ward", "team/ward", Role.TRAIN, folder / "made", made.manifest)


@pytest.fixture(scope="module")
def opinion_data(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return version(films(tmp_path_factory.mktemp("data") / "films", 1))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with random weights, whose vectors still differ by the words of a text."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("base")
    texts = [[record["text"]] for record in opinions(150, 3)]
    made = encoder.make(texts, ["a", "b"], encoder.Size(32, 1, 2, 300), 0, 64, "Classes")
    encoder.save(made, folder, ["a", "b"])
    return folder


def reloaded(predictor: Any, folder: Path, base: Path | None = None) -> Any:
    folder.mkdir()
    predictor.save(folder)
    check_model(folder)
    model = replace(stored.read(folder), base=base)
    return registry.method_of(model).load(model, HERE)


def tagging(folder: Path, method: str, ward: Version) -> tuple[Any, Any, float]:
    made, corpus = session(folder, method, [ward], task="TokenClassification")
    predictor = made.plan.method.train(corpus, made, None)
    measured = made.plan.task.implementation.evaluate(corpus, predictor, Split.TEST, intervals=False)
    return predictor, corpus.measured[Split.TEST]["ward"], measured.value(corpus.headline) or 0.0


def same(one: Any, other: Any, sentences: Sequence[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.predict(sentences), other.predict(sentences), strict=True))


@pytest.mark.parametrize(("method", "floor"), [("WindowFeatures", 0.95), ("Majority", 0.5)])
def test_a_tagger_learns_and_its_kept_model_predicts_the_same(
    tmp_path: Path, ward: Version, method: str, floor: float
) -> None:
    predictor, sentences, f1 = tagging(tmp_path, method, ward)
    assert f1 > floor
    again = reloaded(predictor, tmp_path / "model")
    assert same(predictor, again, sentences)
    kept = "".join(file.read_text(errors="ignore") for file in (tmp_path / "model").iterdir()).lower()
    assert "acute" in kept and PERSON.lower() not in kept


def test_majority_gives_every_text_the_share_of_its_classes(tmp_path: Path, opinion_data: Version) -> None:
    made, corpus = session(tmp_path, "Majority", [opinion_data])
    predictor = made.plan.method.train(corpus, made, None)
    assert np.exp(predictor.predict(["anything"])).ravel() == pytest.approx([51 / 153] * 3)
    assert np.array_equal(reloaded(predictor, tmp_path / "model").predict(["x"]), predictor.predict(["y"]))


@pytest.mark.parametrize(
    ("method", "parameters", "floor"),
    [
        ("ZeroShot", {"sentence": "{}"}, 0.0),
        ("FewShot", {"examples": 40}, 0.6),
        ("FewShot", {"examples": 40, "classifier": "Prototypes"}, 0.6),
    ],
)
def test_a_frozen_encoder_tells_classes_apart_and_is_not_kept(
    tmp_path: Path, opinion_data: Version, base: Path, method: str, parameters: dict[str, Any], floor: float
) -> None:
    made, corpus = session(tmp_path, method, [opinion_data], initialModel={}, parameters=parameters)
    made = replace(made, model_folder=base)
    predictor = made.plan.method.train(corpus, made, None)
    measured = made.plan.task.implementation.evaluate(corpus, predictor, Split.TEST, intervals=False)
    assert (measured.value(corpus.headline) or 0) >= floor
    texts = [record.text for record in corpus.measured[Split.TEST]["films"]]
    again = reloaded(predictor, tmp_path / "model", base)
    assert np.array_equal(again.predict(texts), predictor.predict(texts))
    kept = (tmp_path / "model" / "config.json").read_text()
    assert RARE not in kept and json.loads(kept)["base"]["uid"] == "local"
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 10_000
    with pytest.raises(DataError, match="no access to them"):
        registry.method_of(stored.read(tmp_path / "model")).load(stored.read(tmp_path / "model"), HERE)


def test_zero_shot_takes_the_class_that_a_text_names(tmp_path: Path, opinion_data: Version, base: Path) -> None:
    made, corpus = session(tmp_path, "ZeroShot", [opinion_data], initialModel={}, parameters={"sentence": "It was {}."})
    predictor = made.plan.method.train(corpus, replace(made, model_folder=base), None)
    said = predictor.predict([f"It was {label}." for label in corpus.labels])
    assert said.argmax(axis=1).tolist() == [0, 1, 2]


def test_few_shot_takes_that_many_examples_of_each_class(tmp_path: Path, opinion_data: Version, base: Path) -> None:
    from collabspace_trainer.methods.few_shot import _examples

    made, corpus = session(tmp_path, "FewShot", [opinion_data], initialModel={}, parameters={"examples": 7})
    texts, target = _examples(corpus, made)
    assert len(set(texts)) == 21
    assert np.bincount(target).tolist() == [7, 7, 7]


def test_words_are_described_by_their_looks_and_their_neighbours() -> None:
    assert [shape(word) for word in ("McDonald", "B-12", "mg/dl", "AIDS")] == ["XxXx", "X-9", "x/x", "X"]
    first, second = describe_words(["Aspirin", "80mg"])
    assert {"w=Aspirin", "l=aspirin", "s=Xx", "p=asp", "e=irin", "l1=80mg", "l-1", "s1=9x"} <= set(first)
    assert "l-1=aspirin" in second


def test_baselines_are_marked_in_the_catalogue() -> None:
    marked = {(t.name, m.name) for t in catalogue().tasks for m in t.methods if m.baseline}
    assert {("TokenClassification", "WindowFeatures"), ("TextClassification", "LogisticRegression")} <= marked
    assert {name for task, name in marked if task == "TokenClassification"} == {"WindowFeatures", "Majority"}
    assert not {name for _, name in marked} & {"LoRA", "FullFineTuning", "Evaluation", "Comparison"}
