"""The trainer as in a pod: only the environment, and the broker as the only door."""

import signal
from pathlib import Path
from typing import Any

import pytest
from broker_edge import Store, serving
from trainer_runs import Command, table

from collabspace.api.manifest import DatasetFormat, TargetColumn, TargetKind
from collabspace.api.run import RunDocument
from collabspace.formats import SplitRule, prepare

TOKEN = "a.pod.token"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    target = TargetColumn(column="outcome", kind=TargetKind.CLASS)
    raw, canonical = table(tmp_path / "raw", 5), tmp_path / "canonical"
    made = prepare(raw, DatasetFormat.TABULAR, canonical, owner_uid="d1", split=SplitRule(), target=target)
    return Store(canonical, made.manifest, TOKEN)


def in_pod(command: Command, url: str, store: Store, **training: Any) -> None:
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
            "execution": {"attempt": 2},
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


def test_a_pod_without_its_environment_ends_with_10(command: Command) -> None:
    finished = command.finish(command.start())
    assert finished.code == 10
    assert "COLLABSPACE_RUN" in finished.end.message
