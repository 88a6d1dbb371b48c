"""Tables: both methods learn, missing and rare values are handled, and what is saved is what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from trainer_runs import Command, document, table

from collabspace.api.manifest import ColumnKind, ColumnSchema, Split
from collabspace.api.run import MetricName
from collabspace_trainer import stored
from collabspace_trainer.methods import features
from collabspace_trainer.methods.estimator import Estimator, load_estimator
from collabspace_trainer.methods.layers import Layers
from collabspace_trainer.tasks.tabular import Rows

COLUMNS = [ColumnSchema(name="dose", kind=ColumnKind.NUMBER), ColumnSchema(name="site", kind=ColumnKind.CATEGORY)]


def value(report: object, name: MetricName, dataset: str = "") -> float:
    found = report.metric(name, Split.TEST, dataset)  # type: ignore[attr-defined]
    assert found is not None
    return float(found.value)


@pytest.mark.parametrize("method", ["LogisticRegression", "NeuralNetwork", "RandomForest", "GradientBoosting"])
def test_a_class_is_learnt_from_the_tables_of_two_owners(command: Command, method: str) -> None:
    data = {"ward": table(command.folder / "ward", 1), "clinic": table(command.folder / "clinic", 2)}
    run = document("Tabular", method, [{"name": "ward"}, {"name": "clinic"}])
    finished = command.run_local(run, data, target="outcome:Class")
    assert finished.code == 0, finished.errors
    report = finished.report
    assert report.headline is MetricName.ACCURACY
    assert value(report, MetricName.ACCURACY) > 0.8
    assert value(report, MetricName.ROC_AUC) > 0.9
    assert {row.dataset for row in report.losses} == {"", "ward", "clinic"}
    headline = report.metric(MetricName.ACCURACY, Split.TEST)
    assert headline is not None and headline.low is not None
    rows = [json.loads(line) for line in (finished.out / "predictions/ward-test.jsonl").read_text().splitlines()]
    right = load_file(finished.out / "counts/ward-test.safetensors")["correct"]
    assert [row["gold"] == row["predicted"] for row in rows] == right.astype(bool).tolist()
    assert value(report, MetricName.ACCURACY, "ward") == pytest.approx(right.mean())


@pytest.mark.parametrize("method", ["NeuralNetwork", "RandomForest", "GradientBoosting"])
def test_a_number_is_estimated_better_than_by_its_mean(command: Command, method: str) -> None:
    data = {"ward": table(command.folder / "ward", 1, number=True)}
    parameters = {"earlyStoppingPatience": 3} if method == "NeuralNetwork" else {}
    run = document("Tabular", method, [{"name": "ward"}], parameters=parameters)
    finished = command.run_local(run, data, target="outcome:Number")
    assert finished.code == 0, finished.errors
    assert finished.report.headline is MetricName.RMSE
    assert value(finished.report, MetricName.R2) > 0.5


def test_logistic_regression_refuses_a_number(command: Command) -> None:
    data = {"ward": table(command.folder / "ward", 1, number=True)}
    run = document("Tabular", "LogisticRegression", [{"name": "ward"}])
    finished = command.run_local(run, data, target="outcome:Number")
    assert finished.code == 10
    assert "NeuralNetwork" in finished.end.message


def rows(dose: list[float], site: list[str | None]) -> Rows:
    return Rows({"dose": np.array(dose), "site": np.array(site, dtype=object)}, np.zeros(len(dose)))


def test_missing_numbers_take_the_median_and_raise_a_flag() -> None:
    made = features.fit(rows([1.0, 2.0, 3.0, 4.0, np.nan], ["x"] * 5), COLUMNS)
    known, missing = made.encode(rows([2.5, np.nan], ["x", "x"]))
    assert known[0] == pytest.approx(missing[0])
    assert (known[1], missing[1]) == (0, 1)


def test_categories_of_fewer_than_five_rows_are_not_kept() -> None:
    made = features.fit(rows([1.0] * 9, ["x"] * 5 + ["Miller"] * 4), COLUMNS)
    assert "Miller" not in json.dumps(made.describe())
    encoded = made.encode(rows([1.0] * 4, ["x", "Miller", "new", None]))
    assert encoded[:, 1].tolist() == [1, 0, 0, 0]


def test_a_column_without_any_value_or_spread_does_no_harm() -> None:
    made = features.fit(rows([np.nan] * 5, [None] * 5), COLUMNS)
    assert np.isfinite(made.encode(rows([np.nan, 7.0], [None, "x"]))).all()


def test_saved_layers_give_the_measured_predictions(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    made = features.fit(rows(generator.normal(size=20).tolist(), ["x", "y"] * 10), COLUMNS)
    layers = [
        (generator.normal(size=s).astype(np.float32), generator.normal(size=s[0]).astype(np.float32))
        for s in ((4, 3), (2, 4))
    ]
    model = Estimator("Tabular", "NeuralNetwork", ["a", "b"], made, Layers(layers), "Logits", "outcome")
    model.save(tmp_path)
    some = rows([0.5, np.nan], ["y", None])
    assert (load_estimator(stored.read(tmp_path), None).predict(some) == model.predict(some)).all()
    assert np.exp(model.predict(some)).sum(axis=1) == pytest.approx(1.0)
