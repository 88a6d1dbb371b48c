"""The data of a run on disk: fetched from the broker and verified, or given as folders when there is no cluster."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from collabspace.api.manifest import DatasetFormat, Manifest, Split, TargetColumn
from collabspace.api.run import Role, RunDataset, RunDocument
from collabspace.client.client import BrokerClient
from collabspace.formats import SplitRule, prepare
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.spec import UNPINNED, Plan, complete

MANIFEST = "manifest.json"


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


def fetch(plan: Plan, broker: BrokerClient, into: Path) -> Inputs:
    """Fetches every version of the document. Raises AccessRefused, BrokerUnavailable, BrokerError, DataError."""
    training = plan.document.training
    versions = []
    for dataset in training.datasets:
        folder = into / "data" / dataset.name
        manifest = broker.fetch_version(dataset.uid, dataset.digest, folder)
        versions.append(_version(dataset, folder, manifest, plan.task.format))
    model = None
    if training.initial_model is not None:
        folder = into / "model"
        manifest = broker.fetch_version(training.initial_model.uid, training.initial_model.digest, folder)
        model = _weights(folder, manifest)
    return Inputs(complete(plan.document, _manifests(versions), None), versions, model)


def open_folders(
    plan: Plan, folders: Mapping[str, Path], model: Path | None, target: TargetColumn | None, scratch: Path
) -> Inputs:
    """Versions from folders: prepared ones (with manifest.json) are verified, raw ones are prepared into `scratch`.

    A pin in the run document must be met; without one, any version will do. Raises ConfigError, DataError, FormatError.
    """
    training = plan.document.training
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
        source = model / "model" if (model / "DONE").is_file() else model
        folder, model_manifest = _open(source, DatasetFormat.MODEL, None, scratch)
        _check_pin("--model", training.initial_model.digest, model_manifest)
        weights = _weights(folder, model_manifest)
    elif training.initial_model is not None:
        raise ConfigError("training.initialModel is given; name its folder with --model")
    return Inputs(complete(plan.document, _manifests(versions), model_manifest), versions, weights)


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
