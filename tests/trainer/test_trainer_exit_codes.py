"""Every way a run can end, provoked in a real process: the code, the reason, and a message without data."""

import json
import resource
import signal
from pathlib import Path

import pytest
from trainer_runs import Command, document, notes, table

from collabspace.api.run import MAX_TERMINATION_BYTES, TERMINATION_LOG_VARIABLE, CheckpointReference, EndRecord, Metric
from collabspace_trainer import exits
from collabspace_trainer.methods.halving import halved_if_short

RISK = [{"name": "ward"}]
TARGET = "outcome:Class"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": "Poetry"}, "training.task"),
        ({"method": "Magic"}, "training.method"),
        ({"parameters": {"hiddenUnits": 0}}, "training.parameters.hiddenUnits"),
        ({"parameters": {"depth": 3}}, "training.parameters.depth"),
        ({"parameters": {"learningRate": "nan"}}, "training.parameters.learningRate"),
        ({"parameters": {"optimizer": "Best"}}, "training.parameters.optimizer"),
        ({"datasets": [{"name": "../ward"}]}, "training.datasets"),
        ({"datasets": [{"name": "ward", "role": "Evaluate"}]}, "training.datasets"),
        ({"datasets": [{"name": "ward", "digest": "latest"}]}, "digest"),
        ({"initialModel": {}}, "training.initialModel"),
        ({"execution": {"gates": [{"metric": "rmse", "minimum": "1"}]}}, "gates"),
        ({"execution": {"gates": [{"metric": "accuracy", "minimum": "high"}]}}, "gates"),
        ({"execution": {"threads": 0}}, "threads"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_document_is_refused_by_field(change: dict[str, object], named: str) -> None:
    from collabspace_trainer import spec
    from collabspace_trainer.errors import ConfigError

    run = document("Tabular", "NeuralNetwork", RISK)
    run["execution"] |= change.pop("execution", {})  # type: ignore[call-overload]
    run["training"] |= change
    spec._fill(run)
    with pytest.raises(ConfigError) as caught:
        spec.plan(spec.parse(json.dumps(run)))
    assert named in caught.value.message


def test_a_document_larger_than_the_environment_allows_is_refused() -> None:
    from collabspace_trainer import spec
    from collabspace_trainer.errors import ConfigError

    with pytest.raises(ConfigError, match="32768"):
        spec.parse("{" + " " * 40_000 + "}")


def test_missing_weights_end_with_10(command: Command) -> None:
    run = document("TokenClassification", "FullFineTuning", RISK)
    finished = command.run_local(run, {"ward": notes(command.folder / "ward", 1, 40)})
    assert finished.code == 10
    assert "randomInit" in finished.end.message


def test_a_broken_tag_ends_with_20_and_names_file_and_line(command: Command) -> None:
    folder = notes(command.folder / "ward", 1, 40)
    text = (folder / "train.conll").read_text().splitlines()
    text[1:2] = ["Miller\tI-Disease"]
    (folder / "train.conll").write_text("\n".join(text) + "\n")
    run = document("TokenClassification", "FullFineTuning", RISK, randomInit=True)
    finished = command.run_local(run, {"ward": folder})
    assert finished.code == 20
    assert "train.conll:2" in finished.end.message
    assert "Miller" not in finished.end.message


def test_another_version_than_pinned_ends_with_20(command: Command) -> None:
    run = document("Tabular", "LogisticRegression", [{"name": "ward", "digest": "sha256:" + "a" * 64}])
    finished = command.run_local(run, {"ward": table(command.folder / "ward", 1)}, target=TARGET)
    assert finished.code == 20
    assert "digest" in finished.end.message


def test_columns_that_differ_end_with_20_and_name_the_column(command: Command) -> None:
    data = {"ward": table(command.folder / "ward", 1), "clinic": table(command.folder / "clinic", 2)}
    file = data["clinic"] / "table.csv"
    file.write_text(file.read_text().replace("age", "years", 1))
    run = document("Tabular", "LogisticRegression", [{"name": "ward"}, {"name": "clinic"}])
    finished = command.run_local(run, data, target=TARGET)
    assert finished.code == 20
    assert "'age'" in finished.end.message


def test_no_place_to_write_ends_with_40(command: Command) -> None:
    (command.folder / "file").write_text("")
    command.environment["TMPDIR"] = str(command.folder / "file")
    data = {"ward": table(command.folder / "ward", 1)}
    command.out = command.folder / "file" / "result"
    finished = command.run_local(document("Tabular", "LogisticRegression", RISK), data, target=TARGET)
    assert finished.code == 40
    assert finished.end.reason == "Transient"


def test_an_occupied_result_folder_is_refused_before_any_work(command: Command) -> None:
    command.out.mkdir()
    (command.out / "DONE").write_text("{}")
    data = {"ward": table(command.folder / "ward", 1)}
    finished = command.run_local(document("Tabular", "LogisticRegression", RISK), data, target=TARGET)
    assert finished.code == 10
    assert "--out" in finished.end.message
    assert finished.decisions("threads") == []


def test_sigterm_in_training_ends_with_51(command: Command) -> None:
    command.fresh = True
    run = document("Tabular", "NeuralNetwork", RISK, parameters={"epochs": 1000})
    process = command.start_local(run, {"ward": table(command.folder / "ward", 1)}, target=TARGET)
    read = command.read_until(process, '"Train"')
    process.send_signal(signal.SIGTERM)
    finished = command.finish(process, read)
    assert finished.code == 51
    assert finished.end.reason == "PreemptedUnsaved"
    assert 0 < finished.end.step < finished.end.total_steps
    assert not finished.out.exists()


def test_a_gate_not_met_ends_with_60_and_keeps_the_result(command: Command) -> None:
    gates = [{"metric": "accuracy", "minimum": "1.01"}]
    run = document("Tabular", "LogisticRegression", RISK, execution={"gates": gates})
    finished = command.run_local(run, {"ward": table(command.folder / "ward", 1)}, target=TARGET)
    assert finished.code == 60
    assert "accuracy" in finished.end.message
    assert finished.end.digest is not None
    assert (finished.out / "DONE").is_file()


WILD = {"optimizer": "SGD", "learningRate": "1", "maxGradientNorm": "0", "weightDecay": "0", "epochs": 2}


def test_divergence_goes_back_once_with_a_tenth_of_the_learning_rate(command: Command) -> None:
    run = document("Tabular", "NeuralNetwork", RISK, parameters=WILD)
    data = {"ward": table(command.folder / "ward", 1, number=True)}
    finished = command.run_local(run, data, target="outcome:Number")
    assert finished.code == 0, finished.end.message
    assert finished.end.step == finished.end.total_steps
    assert any("diverged" in note for note in finished.report.notes)
    assert any("diverged" in event.get("text", "") for event in finished.events)


def test_divergence_a_second_time_ends_with_61(command: Command) -> None:
    run = document("Tabular", "NeuralNetwork", RISK, parameters={**WILD, "hiddenUnits": 4096})
    data = {"ward": table(command.folder / "ward", 1, number=True)}
    finished = command.run_local(run, data, target="outcome:Number")
    assert finished.code == 61
    assert "learningRate" in finished.end.message
    assert sum("diverged" in event.get("text", "") for event in finished.events) == 1


def test_a_spent_budget_ends_with_62_and_keeps_the_result(command: Command) -> None:
    command.fresh = True  # whose imports alone cost more
    run = document("Tabular", "NeuralNetwork", RISK, execution={"budget": {"cpuSeconds": 1}})
    finished = command.run_local(run, {"ward": table(command.folder / "ward", 1)}, target=TARGET)
    assert finished.code == 62
    assert finished.end.step == 1
    assert finished.report.execution.stopped == "BudgetSpent"
    assert finished.end.digest is not None


def test_a_limit_of_steps_is_a_good_end(command: Command) -> None:
    run = document("Tabular", "NeuralNetwork", RISK, execution={"stopAfterSteps": 7})
    finished = command.run_local(run, {"ward": table(command.folder / "ward", 1)}, target=TARGET)
    assert finished.code == 0
    assert finished.end.step == 7


def test_memory_that_runs_out_in_a_step_ends_with_30_and_names_half_the_batch(command: Command) -> None:
    large = {"batchSize": 4096, "hiddenUnits": 4096, "epochs": 1000}  # 64 MiB for each activation
    run = document("Tabular", "NeuralNetwork", RISK, parameters=large)
    process = command.start_local(run, {"ward": table(command.folder / "ward", 1, rows=6000)}, target=TARGET)
    read = command.read_until(process, '"Train"')
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    used = 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    resource.prlimit(process.pid, resource.RLIMIT_AS, (used - (100 << 20), resource.RLIM_INFINITY))
    finished = command.finish(process, read)
    assert finished.code == 30, finished
    assert finished.end.reason == "OutOfMemory"
    assert finished.end.suggested_micro_batch == 2048
    assert finished.end.peak_memory_bytes > 0


def test_evaluation_that_runs_out_of_memory_halves_its_batch_once() -> None:
    def predict(size: int) -> int:
        tried.append(size)
        if size > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return size

    tried: list[int] = []
    room = 16
    assert halved_if_short(predict, 32) == 16
    room = 8
    with pytest.raises(RuntimeError):
        halved_if_short(predict, 32)
    assert tried == [32, 16, 32, 16]


def test_a_broken_library_ends_with_70_and_its_text_stays_inside(command: Command) -> None:
    command.fresh = True
    broken = command.folder / "broken" / "sklearn"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('row 7: Miller, diabetes')\n")
    command.environment["PYTHONPATH"] = str(broken.parent)
    data = {"ward": table(command.folder / "ward", 1)}
    finished = command.run_local(document("Tabular", "LogisticRegression", RISK), data, target=TARGET)
    assert finished.code == 70
    assert finished.end.signature is not None
    assert "RuntimeError" in finished.end.message
    assert "Miller" not in json.dumps(finished.events) + finished.errors + finished.end.model_dump_json()


def test_the_same_place_gives_the_same_signature_whatever_the_text() -> None:
    def raised(text: str) -> BaseException:
        try:
            exits.ending_of(json.loads(text))
        except ValueError as error:
            return error
        raise AssertionError("the text is JSON")

    assert exits.signature(raised("{")) == exits.signature(raised("[1,"))
    assert exits.signature(raised("{")) != exits.signature(KeyError("x"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_ran_out_is_30(error: BaseException) -> None:
    assert exits.ending_of(error).code == 30


@pytest.mark.parametrize(
    "said",
    [  # by torch, by the driver when it makes a context, and by cuBLAS when it makes its own: all heard on a GPU
        "CUDA out of memory. Tried to allocate 256.00 MiB.",
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_memory_of_a_gpu_that_ran_out_is_30_and_said_to_be_its(said: str) -> None:
    kind = "OutOfMemoryError" if said.startswith("CUDA out") else "AcceleratorError"
    ending = exits.ending_of(type(kind, (RuntimeError,), {})(said))
    assert ending.code == 30
    assert "memory of the GPU" in ending.message
    assert exits.ending_of(RuntimeError("CUDA error: device-side assert triggered")).code == 70


def test_the_termination_message_fits_whatever_there_is_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(tmp_path / "log"))
    metric = Metric(name="n" * 64, value="1", dataset="d" * 63, label="ä" * 128, low="0", high="1")
    record = EndRecord(
        code=70,
        reason="R" * 64,
        message="m" * 512,
        metrics=[metric] * 8,
        digest="sha256:" + "0" * 64,
        checkpoint=CheckpointReference(step=1, digest="sha256:" + "0" * 64),
        signature="s" * 64,
    )
    exits.write_termination_message(record)
    written = (tmp_path / "log").read_bytes()
    assert len(written) <= MAX_TERMINATION_BYTES
    assert EndRecord.model_validate_json(written).message == record.message


def test_a_long_message_is_cut_between_characters() -> None:
    assert len(exits.shortened("ä" * 400).encode()) == 512
    assert exits.shortened("two\nlines\x1b[31m") == "two lines [31m"
