"""Comparisons say which result is best, how sure that is, and nothing where results do not compare."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from stored_parts import LABELS, finish, log_probabilities, store
from trainer_runs import Command, Finished, document

from collabspace_trainer.comparing import COUNTABLE
from collabspace_trainer.evaluation.bootstrap import SEED
from collabspace_trainer.evaluation.comparison import Counts, Floats, Outcome, compare
from collabspace_trainer.evaluation.countable import KINDS
from collabspace_trainer.evaluation.scores import macro_f1, ratio

GOLD: NDArray[np.intp] = np.arange(200) % 2


def accuracy(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def right(values: NDArray[Any]) -> Counts:
    return Counts.of(values.astype(float), np.ones(len(values)))


def equal_pair(generator: np.random.Generator, runs: int, noise: float) -> Outcome:
    """Two candidates as good as each other; records are easy or hard for both, training makes each run differ."""
    easiness = 1 + generator.normal(0, 1.5, 100)
    candidates = {
        name: [right(generator.logistic(size=100) < easiness + generator.normal(0, noise)) for _ in range(runs)]
        for name in ("one", "other")
    }
    return compare(candidates, np.arange(100) // 2, accuracy, True, 400)


@pytest.mark.parametrize(("runs", "noise", "share"), [(1, 0.0, 0.92), (3, 0.2, 0.95)])
def test_equal_models_are_seldom_told_apart(runs: int, noise: float, share: float) -> None:
    generator = np.random.default_rng(1)
    found = [next(iter(equal_pair(generator, runs, noise).differences.values())) for _ in range(200)]
    assert np.mean([difference.low <= 0 <= difference.high for difference in found]) >= share


def test_a_clear_difference_is_found_whatever_the_goal() -> None:
    generator = np.random.default_rng(2)
    candidates = {"poor": [right(generator.random(500) < 0.7)], "good": [right(generator.random(500) < 0.9)]}
    groups = np.arange(500)
    most = compare(candidates, groups, accuracy, True, 1000)
    assert most.best == "good" and most.differences["poor"].low > 0.1
    assert most.values["good"].low < 0.9 < most.values["good"].high
    least = compare(candidates, groups, accuracy, False, 1000)
    assert least.best == "poor" and least.differences["good"].low > 0.1


def test_draws_equal_a_slow_reference() -> None:
    generator = np.random.default_rng(3)
    tables = {name: generator.integers(0, 4, (40, 6)) for name in ("a", "b", "c")}
    groups = generator.permutation(np.arange(40) // 3)
    found = compare({n: [Counts.table(t)] for n, t in tables.items()}, groups, _macro, True, 200)
    drawn = {name: np.empty(200) for name in tables}
    again = np.random.default_rng(SEED)
    for draw in range(200):
        chosen = again.integers(0, 14, 14)
        for name, table in tables.items():
            drawn[name][draw] = _macro(sum(table[groups == group].sum(axis=0) for group in chosen).astype(float))
    values = {name: float(_macro(table.sum(axis=0).astype(float))) for name, table in tables.items()}
    best = max(values, key=lambda name: values[name])
    assert found.best == best
    for name, difference in found.differences.items():
        slow = drawn[best] - drawn[name]
        low, high = np.percentile(slow, [2.5, 97.5])
        assert difference.value == pytest.approx(values[best] - values[name])
        wider = 2.160369 / 1.959964  # Student's t with 13 degrees of freedom over the normal distribution
        assert difference.low == pytest.approx(difference.value + (low - difference.value) * wider, rel=1e-5)
        assert difference.high == pytest.approx(difference.value + (high - difference.value) * wider, rel=1e-5)
        assert difference.detectable == pytest.approx((1.959964 + 0.841621) * slow.std())


def _macro(sums: Floats) -> Floats:
    return macro_f1(sums.reshape(*sums.shape[:-1], 2, 3))


def test_the_catalogue_offers_what_counts_give() -> None:
    given = [set(kind.metrics) for kind in KINDS]
    assert given == [set(COUNTABLE["TextClassification"]), set(COUNTABLE["TokenClassification"]), given[2]]
    assert set(COUNTABLE["Tabular"]) == given[0] | given[2]


def compared(command: Command, folders: dict[str, Path], parameters: dict[str, Any] | None = None) -> Finished:
    """The real command on result folders; a name up to its first dash is the candidate's."""
    results = [{"name": name, "candidate": name.partition("-")[0]} for name in folders]
    films = [{"name": "films", "role": "Evaluate"}]
    run = document("TextClassification", "Comparison", films, results=results, parameters=parameters or {})
    file = command.folder / "run.json"
    file.write_text(json.dumps(run))
    options = [f"--result={name}={folder}" for name, folder in folders.items()]
    return command.finish(command.start("--run", str(file), *options, "--out", str(command.out)))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A strong candidate with two runs and a weak one with one."""
    root, generator = tmp_path_factory.mktemp("stored"), np.random.default_rng(4)
    shares = {"strong-1": 0.9, "strong-2": 0.92, "weak": 0.6}
    return {
        name: store(root / name, GOLD, log_probabilities(generator.random(200) < share, GOLD))
        for name, share in shares.items()
    }


def test_stored_results_are_compared_by_figures_alone(command: Command, stored: dict[str, Path]) -> None:
    done = compared(command, stored)
    assert done.code == 0, done.end
    assert {path.name for path in done.out.iterdir()} == {
        "DONE", "comparison.json", "curve.jsonl", "environment.json", "metrics.json", "report.txt", "run.json",
    }  # fmt: skip
    difference, *values = done.end.metrics
    assert (difference.name, difference.label, difference.split) == ("difference", "weak", "test")
    assert float(difference.low or "") > 0.2 < float(difference.value) < float(difference.high or "")
    assert [row.label for row in values] == ["strong", "weak"]
    own = [(load_file(stored[f"strong-{n}"] / "counts" / "films-test.safetensors")["correct"]).mean() for n in (1, 2)]
    assert float(values[0].value) == pytest.approx(np.mean(own))
    full = json.loads((done.out / "comparison.json").read_text())
    assert (full["best"], full["records"], full["draws"]) == ("strong", 200, 5000)
    assert 0.2 < full["differences"][0]["discordance"] < 0.6
    assert "a true difference of" in (done.out / "report.txt").read_text()


def change_counts(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "counts" / "films-test.safetensors"
    arrays = load_file(file)
    change(arrays)
    save_file(arrays, file)
    finish(folder)


def broken(root: Path, how: str) -> Path:
    """A result that must not be compared with the others."""
    logs = log_probabilities(np.ones(200, dtype=bool), GOLD)
    match how:
        case "version":
            return store(root, GOLD, logs, digest="sha256:" + "8" * 64)
        case "records":
            return store(root, GOLD[:-1], logs[:-1])
        case "classes":
            return store(root, GOLD, logs, labels=["bad", "mixed"])
        case "groups":
            return store(root, GOLD, logs, groups=np.arange(200) // 2)
    store(root, GOLD, logs)
    match how:
        case "done":
            (root / "DONE").unlink()
        case "hash":
            (root / "metrics.json").write_text((root / "metrics.json").read_text() + " ")
        case "number":
            change_counts(root, lambda arrays: arrays["logProbabilities"].fill(np.nan))
        case "class":
            change_counts(root, lambda arrays: arrays["predicted"].fill(7))
        case "array":
            change_counts(root, lambda arrays: arrays.pop("gold"))
        case "pickle":
            (root / "counts" / "films-test.safetensors").write_bytes(b"\x80\x04\x95")
            finish(root)
        case "split":
            (root / "counts" / "films-test.safetensors").unlink()
            finish(root)
    return root


@pytest.mark.parametrize(
    "how",
    ["version", "records", "classes", "groups", "done", "hash", "number", "class", "array", "pickle", "split"],
)
def test_a_result_that_does_not_compare_is_named(
    tmp_path: Path, stored: dict[str, Path], how: str, compare_here: Callable[[dict[str, Path]], str]
) -> None:
    message = compare_here({"strong-1": stored["strong-1"], "other": broken(tmp_path / "other", how)})
    assert "result other" in message


@pytest.fixture
def compare_here() -> Callable[[dict[str, Path]], str]:
    """Reads results in this process, and gives the refusal."""
    from collabspace_trainer import comparing, registry, spec
    from collabspace_trainer.errors import DataError

    def refusal(folders: dict[str, Path]) -> str:
        registry.load()
        films = [_pinned({"name": "films", "role": "Evaluate"})]
        run = document("TextClassification", "Comparison", films, labels=LABELS)
        run["training"]["results"] = [_pinned({"name": name, "candidate": name}) for name in folders]
        run["training"]["parameters"] = {}
        run["task"] = {"namespace": "n", "name": "t", "uid": "u"}
        plan = spec.plan(spec.parse(json.dumps(run)))
        with pytest.raises(DataError) as caught:
            comparing.gather(plan, folders)
        return caught.value.message

    return refusal


def _pinned(row: dict[str, str]) -> dict[str, str]:
    owner = {} if "candidate" in row else {"owner": "team/films"}
    return {**row, **owner, "uid": "u", "digest": "sha256:" + "0" * 64}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"metric": "roc_auc"}, "accuracy, macro_f1, log_loss"), ({"goal": "Maximise"}, "Maximize, Minimize")],
)
def test_metrics_that_counts_do_not_give_and_other_goals_are_refused(
    command: Command, stored: dict[str, Path], parameters: dict[str, Any], said: str
) -> None:
    done = compared(command, stored, parameters)
    assert done.code == 10 and said in done.end.message


def test_one_candidate_is_no_comparison(command: Command, stored: dict[str, Path]) -> None:
    done = compared(command, {"strong-1": stored["strong-1"]})
    assert done.code == 10 and "at least 2" in done.end.message


def test_a_comparison_never_imports_torch() -> None:
    program = (
        "import sys; from collabspace_trainer import lifecycle; from collabspace_trainer.evaluation import countable;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
