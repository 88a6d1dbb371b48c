"""The code of docs/tasks/use-a-model.md, run as it stands, predicts what the trainer itself predicts."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from text_runs import HERE, films, session, version
from trainer_runs import Command, Finished, document, table

from collabspace.formats import TaggedSentence
from collabspace_trainer import stored
from collabspace_trainer.evaluation.spans import tag_set
from collabspace_trainer.methods.estimator import load_estimator
from collabspace_trainer.methods.predictors import load_tagging
from collabspace_trainer.tasks.tabular import Rows

PAGE = Path(__file__).parents[2] / "docs" / "tasks" / "use-a-model.md"
TEXTS, WORDS, ROWS, OTHERS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
OPINIONS = ["a moving and witty film", "the story is dull and tedious"]
SENTENCE = "the patient with acute hepatitis was given severe alpramab today"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the code runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(code: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Words of each line."""
    capsys.readouterr()
    exec(compile(code, str(PAGE), "exec"), {})
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("code", "method", "settings"),
    [
        (TEXTS, "FullFineTuning", {"epochs": 2, "hiddenSize": 32, "layers": 1, "learningRate": "0.004"}),
        (OTHERS, "LogisticRegression", {}),
    ],
)
def test_texts_get_the_classes_that_the_trainer_gives_them(
    code: str, method: str, settings: dict[str, object], beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {"randomInit": True} if method == "FullFineTuning" else {}
    run, corpus = session(beside, method, [version(films(beside / "films", 1))], parameters=settings, **weights)
    predictor = run.plan.method.train(corpus, run, None)
    (beside / "pulled" / "model").mkdir(parents=True)
    predictor.save(beside / "pulled" / "model")
    expected = [corpus.labels[best] for best in predictor.predict(OPINIONS).argmax(axis=1)]
    assert [words[0] for words in printed(code, capsys)] == expected


def test_words_get_the_tags_that_the_trainer_gives_them(
    trained: Finished, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "pulled").symlink_to(trained.out)
    tagging = load_tagging(stored.read(trained.out / "model"), HERE)
    words = SENTENCE.split()
    [scores] = tagging.predict([TaggedSentence(tuple(words), ("O",) * len(words))])
    tags = tag_set(tagging.labels)
    assert printed(WORDS, capsys) == [
        [word, tags[best]] for word, best in zip(words, scores.argmax(axis=1), strict=True)
    ]


@pytest.mark.parametrize("kind", ["Class", "Number"])
def test_rows_get_the_values_that_the_trainer_gives_them(
    kind: str, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = "LogisticRegression" if kind == "Class" else "NeuralNetwork"
    data = table(beside / "cells", 1, number=kind == "Number")
    parameters = {} if kind == "Class" else {"epochs": 2}
    run = document("Tabular", method, [{"name": "a"}], parameters=parameters)
    done = Command(beside).run_local(run, {"a": data}, target=f"outcome:{kind}")
    (beside / "pulled").symlink_to(done.out)
    (beside / "new.csv").write_text((data / "table.csv").read_text())
    with (beside / "new.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    columns = {
        "dose": np.array([float(row["dose"] or "nan") for row in cells]),
        "age": np.array([float(row["age"]) for row in cells]),
        **{name: np.array([row[name] for row in cells], dtype=object) for name in ("site", "smoker")},
    }
    model = load_estimator(stored.read(done.out / "model"), None)
    expected = model.predict(Rows(columns, np.zeros(len(cells))))
    shown = [words[0] for words in printed(ROWS, capsys)]
    if kind == "Class":
        assert shown == [model.labels[best] for best in expected.argmax(axis=1)]
    else:
        assert np.allclose([float(text) for text in shown], expected, atol=1e-4)
