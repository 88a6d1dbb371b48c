"""LoRA: a small artefact beside a named base, equal to the whole model it stands for."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from broker_edge import Store, serving
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from text_runs import HERE, films, opinions, session, version

from collabspace.api.catalogue import catalogue
from collabspace.api.manifest import Manifest, Split
from collabspace.api.run import InitialModel
from collabspace.client.client import BrokerClient
from collabspace_trainer import evaluating, registry, spec, stored, versions
from collabspace_trainer.checkpoints import Checkpoints
from collabspace_trainer.errors import DataError
from collabspace_trainer.file_entries import file_entries
from collabspace_trainer.methods import adapter, encoder
from collabspace_trainer.methods.encoder import Encoder
from collabspace_trainer.stop import Terminated
from collabspace_trainer.stored_results import check_model
from collabspace_trainer.versions import Version

BASE = InitialModel(uid="base", digest="sha256:" + "5" * 64)
LABELS = ["bad", "good", "mixed"]
QUICK = {"epochs": 3, "maxLength": 30, "learningRate": "0.01", "dropout": "0.05"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells two of the three classes apart."""
    folder = tmp_path_factory.mktemp("base")
    shape = {"hiddenSize": 32, "layers": 1, "maxLength": 32, "learningRate": "0.004", "epochs": 4, "dropout": "0"}
    pair = version(films(folder / "pair", 2, ("bad", "good")))
    made, corpus = session(folder, "FullFineTuning", [pair], randomInit=True, parameters=shape)
    return kept(made.plan.method.train(corpus, made, None), folder / "model")


@pytest.fixture(scope="module")
def opinion_data(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return version(films(tmp_path_factory.mktemp("data") / "films", 1))


def train(folder: Path, base: Path, data: Version, **parameters: Any) -> tuple[Any, Any, NDArray[np.float64]]:
    """A predictor, its session and what it says of the test texts."""
    made, corpus = session(folder, "LoRA", [data], initialModel={}, parameters={**QUICK, **parameters})
    made = replace(made, model_folder=base)
    predictor = made.plan.method.train(corpus, made, None)
    return predictor, made, predictor.predict([record.text for record in corpus.measured[Split.TEST]["films"]])


def kept(predictor: Any, folder: Path) -> Path:
    folder.mkdir()
    predictor.save(folder)
    check_model(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, base: Path, opinion_data: Version) -> tuple[Any, Any, Any]:
    return train(tmp_path_factory.mktemp("adapted"), base, opinion_data)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory, adapted: tuple[Any, Any, Any]) -> Path:
    return kept(adapted[0], tmp_path_factory.mktemp("artefact") / "model")


def again(folder: Path, base: Path | None) -> Any:
    model = replace(stored.read(folder), base=base)
    return registry.method_of(model).load(model, HERE)


def test_it_learns_and_the_base_stays_as_it_is(adapted: tuple[Any, Any, Any], base: Path) -> None:
    predictor, made, _ = adapted
    losses = made.course.losses
    assert losses[-1] < 0.6 * losses[0]
    frozen = load_file(base / "model.safetensors")
    learnt = {name.replace(".base_layer", ""): value for name, value in predictor.model.module.state_dict().items()}
    assert sum(torch.equal(value, learnt[name]) for name, value in frozen.items() if "classifier" not in name) >= 10
    assert predictor.parameters < 0.5 * sum(value.numel() for value in frozen.values())


def test_an_adapter_beside_its_base_says_the_same_again(
    adapted: tuple[Any, Any, Any], artefact: Path, base: Path, opinion_data: Version, tmp_path: Path
) -> None:
    files = {"adapter_config.json", "adapter_model.safetensors", "config.json", "labels.json"}
    assert {path.name for path in artefact.iterdir()} == files
    _, made, said = adapted
    assert json.loads((artefact / "config.json").read_text())["base"]["uid"] == "local"
    corpus = made.plan.task.implementation.load(made.plan, [opinion_data])
    texts = [record.text for record in corpus.measured[Split.TEST]["films"]]
    assert np.array_equal(again(artefact, base).predict(texts), said)


def test_merged_weights_predict_the_same(
    adapted: tuple[Any, Any, Any], base: Path, opinion_data: Version, tmp_path: Path
) -> None:
    merged, _, said = train(tmp_path, base, opinion_data, merge="Yes")
    assert np.abs(said - adapted[2]).max() < 1e-5
    folder = kept(merged, tmp_path / "model")
    assert not (folder / "adapter_config.json").exists()
    assert "classifier.weight" in load_file(folder / "model.safetensors")
    assert not any("lora" in name or "base_layer" in name for name in load_file(folder / "model.safetensors"))
    texts = [record["text"] for record in opinions(20, 77)]
    assert np.array_equal(again(folder, None).predict(texts), merged.predict(texts))


def test_an_adapter_without_its_base_names_the_remedy(artefact: Path) -> None:
    with pytest.raises(DataError, match="merge: Yes"):
        again(artefact, None)


def served(folder: Path, kind: str, store: Store) -> dict[str, str]:
    """The folder as a version of that format, at the broker's edge."""
    manifest = Manifest(owner_uid=kind, format=kind, files=file_entries(folder))
    store.kept[manifest.digest] = manifest
    store.blobs |= {file.sha256: bytearray((folder / file.path).read_bytes()) for file in manifest.files}
    return {"uid": kind, "digest": manifest.digest}


@pytest.mark.parametrize("named", [True, False])
def test_an_adapter_is_measured_with_the_weights_that_the_task_names_beside_its_data(
    adapted: tuple[Any, Any, Any], artefact: Path, base: Path, opinion_data: Version, tmp_path: Path, named: bool
) -> None:
    store = Store(opinion_data.folder, opinion_data.manifest, "token")
    weights = served(base, "Model", store)
    shutil.copytree(artefact, tmp_path / "result" / "model")
    _json("config.json", base=weights)(tmp_path / "result" / "model")
    model = served(tmp_path / "result", "Result", store)
    datasets = [
        {"name": "films", "digest": opinion_data.manifest.digest, "role": "Evaluate"},
        *([{"name": "base", "role": "Evaluate", **weights}] if named else []),
    ]
    training = {"task": "TextClassification", "method": "Evaluation", "datasets": datasets, "initialModel": model}
    plan = spec.plan(spec.filled({"training": training}))
    with serving(store) as url, BrokerClient(url, lambda: "token", None) as broker:
        if not named:
            with pytest.raises(DataError, match="name them in datasets as well"):
                versions.fetch(plan, broker, tmp_path / "inputs")
            return
        inputs = versions.fetch(plan, broker, tmp_path / "inputs")
    examined = evaluating.read(replace(plan, document=inputs.document), inputs)
    texts = [record.text for record in examined.corpus.measured[Split.TEST]["films"]]
    said = registry.method_of(examined.model).load(examined.model, HERE).predict(texts)
    assert np.array_equal(said, adapted[2])


def wide(folder: Path) -> Path:
    """Another base, wider than the one of the adapter."""
    texts = [[record["text"]] for record in opinions(150, 3)]
    folder.mkdir()
    encoder.save(encoder.make(texts, ["a", "b"], encoder.Size(64, 1, 2, 300), 0.1, 64, "Classes"), folder, ["a", "b"])
    return folder


def test_another_base_is_refused(artefact: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the base that it belongs to"):
        again(artefact, wide(tmp_path / "wide"))


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return apply


def _json(name: str, **fields: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **fields}))

    return apply


@pytest.mark.parametrize(
    "change",
    [
        _tensors(lambda tensors: tensors.popitem()),
        _tensors(lambda tensors: next(iter(tensors.values())).fill_(float("nan"))),
        _json("adapter_config.json", r=10**6),
        _json("adapter_config.json", target_modules=["bert.pooler.nothing"]),
        _json("config.json", base="x"),
        _json("config.json", maxLength="long"),
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\x80\x04"),
    ],
)  # fmt: skip
def test_an_adapter_that_was_changed_is_refused(
    artefact: Path, base: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for file in artefact.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    change(copy)
    with pytest.raises(DataError, match="model: "):
        again(copy, base)


def test_a_run_that_was_told_to_end_goes_on_to_the_same_bits(
    base: Path, opinion_data: Version, adapted: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    parameters = {"initialModel": {}, "parameters": QUICK}
    first, corpus = session(tmp_path, "LoRA", [opinion_data], **parameters)
    folder = tmp_path / "kept"

    def checkpoints(one: Any) -> Checkpoints:
        return Checkpoints("a" * 64, folder, "Folder", one.plan.document.execution, one.stop, one.events)

    first = replace(first, model_folder=base, checkpoints=checkpoints(first))
    step = first.pulse.step

    def stop_at_twelve(seconds: float) -> None:
        step(seconds)
        if first.course.step == 12:
            first.stop.requested.set()

    first.pulse.step = stop_at_twelve  # type: ignore[method-assign] # the moment of the signal
    with pytest.raises(Terminated):
        first.plan.method.train(corpus, first, None)
    kept_step = first.checkpoints.leave()
    assert kept_step is not None and kept_step.step == 12
    second, corpus = session(tmp_path, "LoRA", [opinion_data], **parameters)
    second = replace(second, model_folder=base, checkpoints=checkpoints(second))
    predictor = second.plan.method.train(corpus, second, None)
    expected = adapted[0].model.module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in predictor.model.module.state_dict().items())


@pytest.mark.parametrize("modules", ["All", "Attention"])
def test_the_artefact_for_a_model_of_minilm_size_is_small(tmp_path: Path, modules: str) -> None:
    config = transformers.BertConfig(
        vocab_size=200, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        num_labels=len(LABELS),
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    made = Encoder(model, None, 128)  # type: ignore[arg-type] # nothing is tokenized here
    settings = type("Chosen", (), {"choice": lambda self, name: modules})()
    shape = adapter.Shape(8, 16, 0.1, adapter.targets(made, settings))
    folder = kept_adapter(adapter.make(made, shape, BASE, 128), tmp_path / "model")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
    assert len(shape.modules) == {"All": 37, "Attention": 24}[modules]


def kept_adapter(made: adapter.Adapter, folder: Path) -> Path:
    folder.mkdir()
    made.save(folder, "TextClassification", LABELS)
    check_model(folder)
    return folder


def test_a_tagger_is_adapted_merged_and_read_back_alike(base: Path, tmp_path: Path) -> None:
    said = {}
    sentences = [["the", "film", "was", word] for word in ("superb", "dull", "odd")]
    from collabspace_trainer.methods.lora import AdaptedTagging
    from collabspace_trainer.methods.tagging import TagModel

    torch.manual_seed(1)
    loaded = encoder.load(base, ["O", "B-Mood", "I-Mood"], 0.0, 32)
    settings = type("Chosen", (), {"choice": lambda self, name: "All"})()
    made = adapter.make(loaded, adapter.Shape(4, 8, 0.0, adapter.targets(loaded, settings)), BASE, 32)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    tagging = AdaptedTagging(TagModel(loaded, HERE), "LoRA", ["Mood"], made)
    folder = kept(tagging, tmp_path / "model")
    said["beside"] = tagging.model.predict(sentences, 8)
    said["again"] = again(folder, base).model.predict(sentences, 8)
    made.merge()
    said["merged"] = TagModel(loaded, HERE).predict(sentences, 8)
    for one, two, three in zip(*said.values(), strict=True):
        assert np.array_equal(one, two)
        assert np.abs(one - three).max() < 1e-5


def test_the_catalogue_refuses_it_without_weights() -> None:
    for task in ("TokenClassification", "TextClassification"):
        described = catalogue().task(task)
        assert described is not None
        method = described.method("LoRA")
        assert method is not None and method.needs_weights and method.accepts_weights
