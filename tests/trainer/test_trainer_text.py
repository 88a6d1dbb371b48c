"""Texts in classes: every method learns, what is kept holds no rare word, and is loaded back to the same figures."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from text_runs import HERE, RARE, films, opinions, session, version, write
from trainer_runs import Command, Finished, document

from collabspace.api.manifest import Split
from collabspace.api.run import MetricName, Role
from collabspace.formats import TaggedSentence
from collabspace_trainer import registry, stored
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation import classes
from collabspace_trainer.methods import encoder, ensembles, text_features
from collabspace_trainer.methods.trees import Trees
from collabspace_trainer.methods.windows import Pieces
from collabspace_trainer.runtime import usable_threads
from collabspace_trainer.versions import Version

SMALL: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "RandomForest": {"trees": 20},
    "GradientBoosting": {"iterations": 10, "components": 20, "minRecordsPerLeaf": 5},
    "FullFineTuning": {"epochs": 6, "hiddenSize": 32, "layers": 1, "learningRate": "0.004", "dropout": "0"},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return version(films(tmp_path_factory.mktemp("films") / "films", 1))


def learn(folder: Path, method: str, versions: list[Version]) -> tuple[Any, Any, Any]:
    """The task, the corpus and the predictor that the method made of it."""
    weights = {"randomInit": True} if method == "FullFineTuning" else {}
    run, corpus = session(folder, method, versions, parameters=SMALL[method], **weights)
    return run.plan.task.implementation, corpus, run.plan.method.train(corpus, run, None)


def reload(folder: Path) -> Any:
    model = stored.read(folder)
    return registry.method_of(model).load(model, HERE)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory, published: Version) -> tuple[Any, Any, Any]:
    return learn(tmp_path_factory.mktemp("linear"), "LogisticRegression", [published])


@pytest.mark.parametrize("method", SMALL)
def test_a_method_learns_and_its_kept_model_predicts_the_same(tmp_path: Path, published: Version, method: str) -> None:
    task, corpus, predictor = learn(tmp_path, method, [published])
    result = task.evaluate(corpus, predictor, Split.TEST, intervals=True)
    assert result.value(MetricName.ACCURACY) > 0.85
    kept = tmp_path / "model"
    kept.mkdir()
    predictor.save(kept)
    texts = [record.text for record in corpus.measured[Split.TEST]["films"]]
    again = reload(kept)
    assert np.array_equal(again.predict(texts), predictor.predict(texts))
    assert again.parameters == predictor.parameters > 0
    assert np.exp(predictor.predict(texts)).sum(axis=1) == pytest.approx(1.0)
    assert not any(RARE.lower().encode() in file.read_bytes().lower() for file in kept.iterdir())
    assert {file.suffix for file in kept.iterdir()} == {".json", ".safetensors"}


def test_a_run_of_two_owners_tells_figures_by_dataset_and_keeps_counts_by_text(command: Command) -> None:
    data = {"press": films(command.folder / "press", 1), "blogs": films(command.folder / "blogs", 2, ("good", "bad"))}
    run = document("TextClassification", "LogisticRegression", [{"name": "press"}, {"name": "blogs"}])
    finished = command.run_local(run, data)
    assert finished.code == 0, finished.errors
    report = finished.report
    assert report.headline is MetricName.ACCURACY
    assert {row.dataset for row in report.per_class} == {"", "press", "blogs"}
    counts = load_file(finished.out / "counts/press-test.safetensors")
    measured = report.metric(MetricName.ACCURACY, Split.TEST, "press")
    assert measured is not None and measured.low is not None
    assert measured.value == pytest.approx(counts["correct"].mean())
    assert counts["group"].tolist() == [number // 2 for number in range(60)]
    rows = [json.loads(line) for line in (finished.out / "predictions/press-test.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"row", "gold", "predicted"}
    assert any("only this dataset has mixed" in note for note in report.notes)
    assert "press: classes (test)" in (finished.out / "report.txt").read_text()


def test_training_texts_that_equal_a_test_text_are_dropped_and_their_share_is_told(tmp_path: Path) -> None:
    test = opinions(20, 2)
    copies = [{**record, "text": record["text"].upper().replace(",", " !")} for record in test[:5]]
    source = write(tmp_path / "films", {"train": opinions(60, 1) + copies, "dev": opinions(15, 3), "test": test})
    _, corpus = session(tmp_path, "LogisticRegression", [version(source)])
    assert len(corpus.train) == 60
    assert corpus.facts[0].dropped_duplicates == 5
    assert any("25.0 % of the test texts also stood in training data" in note for note in corpus.notes)


def test_a_dataset_of_role_evaluate_is_measured_without_any_to_train_on(tmp_path: Path, linear: Any) -> None:
    task, _, predictor = linear
    only = version(films(tmp_path / "films", 5), Role.EVALUATE)
    plan = session(tmp_path, "LogisticRegression", [version(films(tmp_path / "more", 6)), only])[0].plan
    corpus = task.load(plan, [only])
    assert task.evaluate(corpus, predictor, Split.TEST, intervals=False).value(MetricName.ACCURACY) > 0.8


def test_texts_of_one_class_alone_are_refused(tmp_path: Path) -> None:
    one = write(
        tmp_path / "films", {name: opinions(9, i, ("good",)) for i, name in enumerate(("train", "dev", "test"))}
    )
    with pytest.raises(DataError, match="fewer than two classes"):
        session(tmp_path, "LogisticRegression", [version(one)])


def test_texts_without_a_common_term_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no term stands in 5 training texts"):
        text_features.fit([f"word{number}" for number in range(20)], 2, 5)
    with pytest.raises(DataError, match="no term stands in 5 training texts"):
        text_features.fit(["same words"] * 3, 2, 5)


def test_intervals_draw_whole_groups_and_groups_of_two_datasets_are_never_one() -> None:
    logs = np.log(np.array([[0.9, 0.1]] * 4))
    parts = {"a": (np.array([0, 0, 1, 1]), logs), "b": (np.array([0, 0, 1, 1]), logs)}
    together = {name: np.array([0, 0, 1, 1]) for name in parts}
    grouped = classes.evaluate(parts, ["x", "y"], Split.TEST, True, together)
    single = classes.evaluate(parts, ["x", "y"], Split.TEST, True)

    def width(result: Any) -> float:
        pooled = next(m for m in result.metrics if m.name is MetricName.ACCURACY and not m.dataset)
        return float(pooled.high - pooled.low)

    assert width(grouped) > width(single)
    of_b = next(m for m in grouped.metrics if m.name is MetricName.ACCURACY and m.dataset == "b")
    assert (of_b.low, of_b.high) == (0.0, 1.0)
    assert grouped.counts["b"]["group"].tolist() == [0, 0, 1, 1]


def test_the_weights_of_terms_are_those_of_scikit_learn() -> None:
    texts = [record["text"] for record in opinions(60, 1)]
    theirs = TfidfVectorizer(ngram_range=(1, 2), min_df=5, sublinear_tf=True, token_pattern=text_features.WORDS)
    expected = theirs.fit_transform(texts).toarray()
    made = text_features.fit(texts, 2, 5)
    assert made.terms == theirs.get_feature_names_out().tolist()
    assert np.allclose(made.encode(texts).toarray(), expected, atol=1e-7)


def grown(kind: type, target: Callable[[np.ndarray], np.ndarray], classes: int) -> tuple[Any, Trees, np.ndarray]:
    """A library's model, the same as arrays, and new values to predict on, some of them just on thresholds."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=(400, 6)).round(2).astype(np.float32)
    forest = kind in (RandomForestClassifier, RandomForestRegressor)
    model = kind(random_state=0, **({"n_estimators": 7} if forest else {"max_iter": 7, "early_stopping": False}))
    model.fit(values, target(values))
    trees = (ensembles.forest_arrays if forest else ensembles.boosting_arrays)(model, classes)
    return model, trees, np.concatenate([values, generator.normal(size=(400, 6)).astype(np.float32)])


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("kind", [RandomForestClassifier, HistGradientBoostingClassifier])
def test_trees_as_arrays_give_the_probabilities_of_scikit_learn(kind: type, labels: int) -> None:
    model, trees, new = grown(kind, lambda v: np.digitize(v[:, 0] * v[:, 1], [0, 0.5][: labels - 1]), labels)
    sums = trees.compute(new)
    if kind is HistGradientBoostingClassifier:
        sums = np.exp(sums - sums.max(axis=1, keepdims=True))
        sums /= sums.sum(axis=1, keepdims=True)
    assert np.allclose(sums, model.predict_proba(new), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [RandomForestRegressor, HistGradientBoostingRegressor])
def test_trees_as_arrays_give_the_estimates_of_scikit_learn(kind: type) -> None:
    model, trees, new = grown(kind, lambda v: v[:, 0] * v[:, 1] + v[:, 2], 0)
    assert np.allclose(trees.compute(new)[:, 0], model.predict(new), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [RandomForestClassifier, HistGradientBoostingClassifier])
def test_a_class_that_training_never_showed_is_all_but_impossible(kind: type) -> None:
    _, trees, new = grown(kind, lambda v: np.where(v[:, 0] > 0, 3, 1), 4)
    assert set(trees.compute(new).argmax(axis=1)) == {1, 3}


def test_sparse_values_are_predicted_like_dense_ones(tmp_path: Path, published: Version) -> None:
    _, corpus, predictor = learn(tmp_path, "RandomForest", [published])
    values = predictor.features.encode([record.text for record in corpus.train[:20]])
    assert np.array_equal(predictor.head.compute(values), predictor.head.compute(values.toarray()))


Change = Callable[[Path], None]


def config(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def array(name: str, edit: Callable[[np.ndarray], np.ndarray | None]) -> Change:
    def change(folder: Path) -> None:
        arrays = {key: value.copy() for key, value in load_file(folder / "model.safetensors").items()}
        arrays[name] = edited if (edited := edit(arrays[name])) is not None else arrays[name]
        save_file(arrays, folder / "model.safetensors")

    return change


def put(value: float) -> Callable[[np.ndarray], None]:
    """The value in the place of the first."""

    def edit(values: np.ndarray) -> None:
        values.flat[0] = value

    return edit


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory, published: Version) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    learn(folder, "RandomForest", [published])[2].save(folder)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("[1"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickle"),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        config(collabspace={"task": "TextClassification", "method": "Oracle", "labels": ["a"]}),
        config(collabspace={"task": "TextClassification", "method": "RandomForest", "labels": ["a"]}),
        config(collabspace={"task": "TextClassification"}),
        config(head="Layers"),
        config(link="Odds"),
        config(features={"terms": ["a"], "ngramMax": 2}),
        config(features={"terms": [1], "ngramMax": 2}),
        config(features=[]),
        config(mean="x"),
        array("trees.left", put(0)),
        array("trees.right", put(10**6)),
        array("trees.feature", put(10**6)),
        array("trees.feature", put(-2)),
        array("trees.threshold", put(np.nan)),
        array("trees.roots", put(-1)),
        array("trees.column", put(2)),
        array("trees.value", lambda values: values[:-1].copy()),
        array("trees.value", lambda values: values.astype("S4").view(np.uint8)),
        array("features.rarity", lambda values: values[:-1].copy()),
    ],
)
def test_a_stored_model_that_does_not_fit_together_is_refused(forest: Path, tmp_path: Path, change: Change) -> None:
    for file in forest.glob("*.*"):
        if file.name != "RandomForest.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path)
    with pytest.raises(DataError, match=r"^model: "):
        reload(tmp_path)


TEXTS = [["the liver is enlarged"], ["no enlarged liver"]] * 5
SIZE = encoder.Size(16, 1, 2, 200)


def test_texts_are_cut_where_a_window_ends() -> None:
    pieces = Pieces(encoder.learn_vocabulary(TEXTS, 200), 6)
    short, long, empty = pieces.beginnings(["no liver", "liver " * 50, "\u200b"])
    assert (len(short.pieces), len(long.pieces), len(empty.pieces)) == (4, 6, 3)
    assert short.pieces[0] == long.pieces[0] and short.pieces[-1] == long.pieces[-1]


def test_a_tagger_serves_as_the_weights_of_a_classifier(tmp_path: Path) -> None:
    made = encoder.make(TEXTS, ["O", "B-Organ"], SIZE, 0.1, 32)
    encoder.save(made, tmp_path, ["O", "B-Organ"])
    loaded = encoder.load(tmp_path, ["good", "bad", "mixed"], 0.1, 32, "Classes")
    assert loaded.model.config.num_labels == 3
    with pytest.raises(DataError, match="lacks weights"):
        encoder.load_learnt(tmp_path, ["good", "bad", "mixed"], "Classes")


def test_a_stored_tagger_predicts_what_its_run_has_recorded(trained: Finished) -> None:
    from trainer_runs import conll

    from collabspace_trainer.evaluation.spans import Decoder, tag_set

    tagger = reload(trained.out / "model")
    blocks = [[line.split("\t") for line in block.splitlines()] for block in conll(60, 12).split("\n\n")]
    sentences = [TaggedSentence(tuple(row[0] for row in rows), tuple(row[1] for row in rows)) for rows in blocks]
    recorded = [json.loads(line) for line in (trained.out / "predictions/a-test.jsonl").read_text().splitlines()]
    assert [row["gold"] for row in recorded] == [list(sentence.tags) for sentence in sentences]
    tags = tag_set(tagger.labels)
    decoder = Decoder(tags)
    found = [[tags[index] for index in decoder.best(table)] for table in tagger.predict(sentences)]
    assert found == [row["predicted"] for row in recorded]


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({}, 2),
        ({"cpu.max": "max 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "garbage\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    ],
)
def test_threads_are_never_more_than_the_container_may_use(tmp_path: Path, files: dict[str, str], threads: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    here = len(os.sched_getaffinity(0))
    assert usable_threads(2, tmp_path) == min(threads, here)
    assert usable_threads(10**6, tmp_path / "none") == here
