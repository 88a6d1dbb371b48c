"""The data of a run on disk: fetched from the broker and verified, or given as folders when there is no cluster."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collabspace.api.catalogue import Purpose
from collabspace.api.manifest import DatasetFormat, Manifest, Split, TargetColumn
from collabspace.api.run import Role, RunDataset, RunDocument, RunResult
from collabspace.client.client import BrokerClient
from collabspace.formats import SplitRule, prepare
from collabspace_trainer import stored_results
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.spec import UNPINNED, Plan, complete

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Folders:
    """A run without a cluster: where its data, weights and result are; `results` are those to compare, by name."""

    data: Mapping[str, Path]
    out: Path
    model: Path | None = None
    target: TargetColumn | None = None
    checkpoints: Path | None = None
    base: Path | None = None
    results: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """One dataset of the run: where its canonical files lie and what they are."""

    name: str
    owner: str
    role: Role
    folder: Path
    manifest: Manifest

    def has(self, split: Split) -> bool:
        return self.manifest.split_records(split) > 0

    @property
    def report_splits(self) -> tuple[Split, ...]:
        """Splits that a dataset of role Evaluate is measured on: its test split, or everything when it has none."""
        return (Split.TEST,) if self.has(Split.TEST) else tuple(split for split in Split if self.has(split))


@dataclass(frozen=True)
class Inputs:
    """All that a run reads. `document` has every pin and label filled in."""

    document: RunDocument
    versions: list[Version]
    model_folder: Path | None
    results: Mapping[str, Path] = field(default_factory=dict)
    """Folders of stored results by name, for comparisons."""
    base_folder: Path | None = None
    """Weights that the model to be measured, an adapter, belongs to."""


def fetch(plan: Plan, broker: BrokerClient, into: Path) -> Inputs:
    """Fetches every version of the document. Raises AccessRefused, BrokerUnavailable, BrokerError, DataError."""
    training = plan.document.training
    if plan.purpose is Purpose.COMPARISON:
        return Inputs(plan.document, [], None, _fetch_results(training.results, broker, into / "results"))
    versions, weights = _fetch_datasets(plan, broker, into / "data")
    model, base = None, None
    if training.initial_model is not None:
        folder = into / "model"
        manifest = broker.fetch_version(
            training.initial_model.uid, training.initial_model.digest, folder, stored_results.of_model
        )
        model = _weights(folder, manifest)
        if manifest.format == "Result":
            stored_results.check_model(model)
        if plan.purpose is Purpose.TRAINING and (model / stored_results.ADAPTER).is_file():
            raise DataError(stored_results.NO_BASE)
        if plan.purpose is Purpose.EVALUATION:
            base = _base_of(model, weights)
    return Inputs(complete(plan.document, _manifests(versions), None), versions, model, base_folder=base)


def _fetch_datasets(plan: Plan, broker: BrokerClient, into: Path) -> tuple[list[Version], dict[str, Path]]:
    """The data, and by digest the weights that an evaluation names beside them: what its model rests on."""
    versions, weights = [], {}
    for dataset in plan.document.training.datasets:
        folder = into / dataset.name
        manifest = broker.fetch_version(dataset.uid, dataset.digest, folder)
        if plan.purpose is Purpose.EVALUATION and manifest.format == DatasetFormat.MODEL:
            weights[dataset.digest] = _weights(folder, manifest)
        else:
            versions.append(_version(dataset, folder, manifest, plan.task.format))
    if not versions:
        raise DataError("training.datasets: all of them are weights; name data to measure the model on")
    return versions, weights


def _fetch_results(results: Sequence[RunResult], broker: BrokerClient, into: Path) -> dict[str, Path]:
    folders = {}
    for result in results:
        folders[result.name] = into / result.name
        manifest = broker.fetch_version(result.uid, result.digest, folders[result.name], stored_results.of_comparison)
        if manifest.format != "Result":
            raise DataError(f"training.results {result.name}: format is {manifest.format}, stored results are compared")
    return folders


def _base_of(model: Path, weights: Mapping[str, Path]) -> Path | None:
    """The weights that an adapter belongs to; None when the model is whole. Raises DataError without them."""
    base = stored_results.base_of(model)
    if base is None:
        return None
    if base.digest not in weights:
        raise DataError(stored_results.NO_BASE)
    return weights[base.digest]


def open_folders(plan: Plan, given: Folders, scratch: Path) -> Inputs:
    """Versions from folders: prepared ones (with manifest.json) are verified, raw ones are prepared into `scratch`.

    A pin in the run document must be met; without one, any version will do. Raises ConfigError, DataError, FormatError.
    """
    training = plan.document.training
    if plan.purpose is Purpose.COMPARISON:
        return Inputs(plan.document, [], None, _open_results(training.results, given.results))
    folders, model, target = given.data, given.model, given.target
    named = {dataset.name for dataset in training.datasets}
    if set(folders) != named:
        raise ConfigError(
            f"--data names {sorted(folders)}, training.datasets names {sorted(named)}; give each dataset once"
        )
    versions = []
    for dataset in training.datasets:
        folder, manifest = _open(folders[dataset.name], plan.task.format, target, scratch)
        _check_pin(f"--data {dataset.name}", dataset.digest, manifest)
        versions.append(_version(dataset, folder, manifest, plan.task.format))
    weights, model_manifest = None, None
    if model is not None:
        if training.initial_model is None:
            raise ConfigError("--model is given, training.initialModel is not; add it (an empty object {} is enough)")
        if plan.purpose is Purpose.EVALUATION and (model / stored_results.DONE).is_file():
            stored_results.check_complete("--model", model)
            weights = model / stored_results.MODEL
        else:
            weights, model_manifest = _open_weights("--model", training.initial_model.digest, model, scratch)
    elif training.initial_model is not None:
        raise ConfigError("training.initialModel is given; name its folder with --model")
    document = complete(plan.document, _manifests(versions), model_manifest)
    return Inputs(document, versions, weights, base_folder=_open_base(plan, weights, given.base, scratch))


def _open_weights(field: str, digest: str, folder: Path, scratch: Path) -> tuple[Path, Manifest]:
    source = folder / "model" if (folder / "DONE").is_file() else folder
    folder, manifest = _open(source, DatasetFormat.MODEL, None, scratch)
    _check_pin(field, digest, manifest)
    return _weights(folder, manifest), manifest


def _open_base(plan: Plan, model: Path | None, given: Path | None, scratch: Path) -> Path | None:
    base = stored_results.base_of(model) if model is not None and plan.purpose is Purpose.EVALUATION else None
    if base is None:
        return None
    if given is None:
        raise DataError(stored_results.NO_BASE + ", or name the folder of its base with --base")
    return _open_weights("--base", base.digest, given, scratch)[0]


def _open_results(results: Sequence[RunResult], folders: Mapping[str, Path]) -> Mapping[str, Path]:
    """Raises ConfigError unless there is a folder for each; what is in them is checked where they are read."""
    named = {result.name for result in results}
    if set(folders) != named:
        raise ConfigError(f"--result names {sorted(folders)}, training.results names {sorted(named)}; give each once")
    return folders


def _open(
    folder: Path, data_format: DatasetFormat, target: TargetColumn | None, scratch: Path
) -> tuple[Path, Manifest]:
    if not folder.exists():
        raise ConfigError(f"{folder.name}: no such folder")
    if (folder / MANIFEST).is_file():
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except ValueError:
            raise DataError(f"{folder.name}/{MANIFEST}: not a manifest; prepare the folder again") from None
        _verify(folder, manifest)
        return folder, manifest
    destination = Path(tempfile.mkdtemp(dir=scratch))
    return destination, prepare(
        folder, data_format, destination, owner_uid="local", split=SplitRule(), target=target
    ).manifest


def _verify(folder: Path, manifest: Manifest) -> None:
    """Raises DataError when a file is missing or its bytes are not those of the manifest."""
    for entry in manifest.files:
        path = folder / entry.path
        inside = path.resolve().is_relative_to(folder.resolve())
        if not inside or not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
            raise DataError(
                f"{folder.name}/{entry.path}: missing, or not the bytes that {MANIFEST} names; prepare it again"
            )


def _check_pin(field: str, digest: str, manifest: Manifest) -> None:
    if digest not in (UNPINNED, manifest.digest):
        raise DataError(f"{field}: digest is {manifest.digest}, the run document pins {digest}; give that version")


def _version(dataset: RunDataset, folder: Path, manifest: Manifest, expected: DatasetFormat) -> Version:
    if manifest.format != expected:
        raise DataError(f"dataset {dataset.name}: format is {manifest.format}, this task reads {expected}")
    version = Version(dataset.name, dataset.owner, dataset.role, folder, manifest)
    if dataset.role is Role.TRAIN and not version.has(Split.TRAIN):
        raise DataError(
            f"dataset {dataset.name}: it has no train split; use it with role Evaluate, or push one with training data"
        )
    return version


def _weights(folder: Path, manifest: Manifest) -> Path:
    """Folder of the weights: a Model, or the model inside a result of an earlier run."""
    if manifest.format == "Result":
        return folder / "model"
    if manifest.format is not DatasetFormat.MODEL:
        raise DataError(
            f"training.initialModel: format is {manifest.format}, weights have format {DatasetFormat.MODEL}"
        )
    return folder


def _manifests(versions: Sequence[Version]) -> dict[str, Manifest]:
    return {version.name: version.manifest for version in versions}
