"""The trainer as in a pod: only the environment, and the broker as the only door."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker_edge import Store, serving
from trainer_runs import Command, Process, table

from collabspace.api.manifest import DatasetFormat, TargetColumn, TargetKind
from collabspace.api.run import RunDocument
from collabspace.formats import SplitRule, prepare
from collabspace_trainer import spec

TOKEN = "a.pod.token"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    target = TargetColumn(column="outcome", kind=TargetKind.CLASS)
    raw, canonical = table(tmp_path / "raw", 5), tmp_path / "canonical"
    made = prepare(raw, DatasetFormat.TABULAR, canonical, owner_uid="d1", split=SplitRule(), target=target)
    return Store(canonical, made.manifest, TOKEN)


def in_pod(command: Command, url: str, store: Store, execution: dict[str, Any] | None = None, **training: Any) -> None:
    """Sets the environment as the operator does."""
    dataset = {"name": "ward", "owner": "a/ward", "uid": "d1", "digest": store.manifest.digest, "role": "Train"}
    run = RunDocument.model_validate(
        {
            "task": {"namespace": "a", "name": "risk", "uid": "t1"},
            "training": {
                "task": "Tabular",
                "method": "LogisticRegression",
                "seed": 0,
                "parameters": {},
                "labels": store.manifest.labels,
                "datasets": [dataset],
                **training,
            },
            "execution": {"attempt": 2, **(execution or {})},
        }
    )
    token = command.folder / "token"
    token.write_text(TOKEN + "\n")
    command.environment |= {
        "COLLABSPACE_RUN": run.to_environment(),
        "COLLABSPACE_BROKER_URL": url,
        "COLLABSPACE_TOKEN_FILE": str(token),
    }


def test_data_is_fetched_and_the_result_published(command: Command, store: Store) -> None:
    with serving(store) as url:
        in_pod(command, url, store)
        finished = command.finish(command.start())
    assert finished.code == 0, finished.errors
    assert store.result is not None
    assert store.result.format == "Result"
    assert store.result.owner_uid == "t1"
    assert store.result.parents == [store.manifest.digest]
    assert {"DONE", "metrics.json", "model/model.safetensors"} <= {file.path for file in store.result.files}
    assert finished.end.digest == store.result.digest
    assert [end["digest"] for end in store.ends] == [store.result.digest]
    assert store.progress[0]["stage"] == "Fetch"


def test_no_grant_ends_with_21_and_tells_the_broker(command: Command, store: Store) -> None:
    store.refuse = True
    with serving(store) as url:
        in_pod(command, url, store)
        finished = command.finish(command.start())
    assert finished.code == 21
    assert finished.end.reason == "AccessRefused"
    assert [end["code"] for end in store.ends] == [21]


def test_changed_data_ends_with_20(command: Command, store: Store) -> None:
    (store.folder / "train.parquet").write_bytes(b"x" * store.manifest.files[0].bytes)
    with serving(store) as url:
        in_pod(command, url, store)
        finished = command.finish(command.start())
    assert finished.code == 20
    assert "train.parquet" in finished.end.message


def test_a_document_that_cannot_work_tells_the_broker_without_fetching(command: Command, store: Store) -> None:
    with serving(store) as url:
        in_pod(command, url, store, parameters={"C": "lots"})
        finished = command.finish(command.start())
    assert finished.code == 10
    assert "training.parameters.C" in finished.end.message
    assert [end["code"] for end in store.ends] == [10]


def test_sigterm_while_waiting_for_the_broker_ends_with_51(command: Command, store: Store) -> None:
    store.away = True
    with serving(store) as url:
        in_pod(command, url, store)
        process = command.start()
        assert store.asked.wait(60)
        process.send_signal(signal.SIGTERM)
        finished = command.finish(process)
    assert finished.code == 51
    assert finished.end.reason == "PreemptedUnsaved"


NETWORK = {"method": "NeuralNetwork", "parameters": {"epochs": 60, "batchSize": 32}}


def at(stage: str) -> Callable[[Store], bool]:
    return lambda store: any(told["stage"] == stage for told in store.progress)


def started(folder: Path, url: str, store: Store, **execution: Any) -> tuple[Command, Process]:
    folder.mkdir()
    command = Command(folder)
    in_pod(command, url, store, execution, **NETWORK)
    store.progress.clear()
    return command, command.start()


def test_a_pod_that_must_leave_leaves_a_checkpoint_from_which_the_next_goes_on(tmp_path: Path, store: Store) -> None:
    with serving(store) as url:
        command, process = started(tmp_path / "first", url, store, attempt=1)
        assert store.wait_for(at("Train"))
        process.send_signal(signal.SIGTERM)
        first = command.finish(process)
        assert first.code == 50, first
        assert first.end.checkpoint is not None
        assert first.end.save_seconds > 0
        assert [entry.digest for entry in store.checkpoints] == [first.end.checkpoint.digest]
        assert store.ends[-1]["checkpoint"]["step"] == first.end.step

        command, process = started(tmp_path / "second", url, store, attempt=2)
        assert store.wait_for(at("Prepare"))
        process.send_signal(signal.SIGTERM)  # while there is nothing of its own to save
        second = command.finish(process)
        assert second.code == 50, second
        assert second.end.checkpoint == first.end.checkpoint

        command, process = started(tmp_path / "third", url, store, attempt=3, microBatchSize=16)
        third = command.finish(process)
    assert third.code == 0, third.errors
    assert third.decisions("resume") == [first.end.checkpoint.step]
    assert third.end.step == third.end.total_steps > first.end.step
    notes = json.loads(report_of(store))["notes"]
    assert any("bitEqualResume: false" in note for note in notes)
    beats = [told["beat"] for told in store.progress]
    assert beats == sorted(set(beats))
    assert all(told["stallSeconds"] >= 120 for told in store.progress)


def report_of(store: Store) -> bytes:
    assert store.result is not None
    return bytes(store.blobs[next(file.sha256 for file in store.result.files if file.path == "metrics.json")])


def test_training_goes_on_while_the_broker_is_away(tmp_path: Path, store: Store) -> None:
    with serving(store) as url:
        command, process = started(tmp_path / "first", url, store, checkpointSeconds=1)
        assert store.wait_for(at("Train"))
        store.away = True
        read = command.read_until(process, '"Evaluate"')
        store.away = False
        finished = command.finish(process, read)
    assert finished.code == 0, finished.errors
    assert finished.end.step == finished.end.total_steps


def test_a_pod_without_its_environment_ends_with_10(command: Command) -> None:
    finished = command.finish(command.start())
    assert finished.code == 10
    assert "COLLABSPACE_RUN" in finished.end.message


@pytest.mark.parametrize(
    ("method", "role", "model"),
    [("FullFineTuning", "Train", "b"), ("Evaluation", "Evaluate", "b"), ("LogisticRegression", "Train", "")],
)
def test_what_a_run_makes_is_of_its_data_and_of_the_model_that_it_was_given(method: str, role: str, model: str) -> None:
    datasets = [{"name": name, "digest": f"sha256:{'a' * 63}{name}", "role": role} for name in ("1", "2")]
    given = {"initialModel": {"uid": "weights", "digest": f"sha256:{model * 64}"}} if model else {}
    run = spec.filled({"training": {"task": "TextClassification", "method": method, "datasets": datasets, **given}})
    assert spec.parents(run) == [each["digest"] for each in datasets] + [f"sha256:{model * 64}"] * bool(model)


def test_a_version_that_nobody_pinned_is_no_parent() -> None:
    run = spec.filled(
        {"training": {"task": "Tabular", "method": "Evaluation", "datasets": [{"name": "a"}], "initialModel": {}}}
    )
    assert spec.parents(run) == []
