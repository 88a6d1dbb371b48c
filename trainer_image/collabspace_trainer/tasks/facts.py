"""What a report says of the data itself: counts, duplicates dropped, labels of one owner alone."""

from collections.abc import Mapping, Sequence, Sized

from collabspace.api.manifest import Split
from collabspace.api.report import DatasetFacts
from collabspace.api.run import Role
from collabspace_trainer.errors import DataError
from collabspace_trainer.versions import Version


def measured_versions(versions: Sequence[Version], split: Split) -> list[Version]:
    """The datasets that a split is measured on.

    Test: those of role Evaluate if there are any, else the test splits of the Train datasets. Validation, which ranks
    results and stops training early: the Train datasets.
    """
    evaluated = [version for version in versions if version.role is Role.EVALUATE]
    if split is Split.TEST and evaluated:
        return evaluated
    return [version for version in versions if version.role is Role.TRAIN and version.has(split)]


def read_splits(version: Version, split: Split) -> tuple[Split, ...]:
    """The stored splits behind a measured one: an unsplit dataset of role Evaluate is test from end to end."""
    return version.report_splits if version.role is Role.EVALUATE and split is Split.TEST else (split,)


def training_versions(versions: Sequence[Version]) -> list[Version]:
    return [version for version in versions if version.role is Role.TRAIN]


def check_labels(versions: Sequence[Version], labels: Sequence[str]) -> None:
    """Raises DataError when a dataset has a label that the run document does not know."""
    for version in versions:
        unknown = sorted(set(version.manifest.labels) - set(labels))
        if unknown:
            raise DataError(
                f"dataset {version.name}: label {unknown[0]!r} is not in training.labels; "
                "training.labels must hold the labels of all pinned versions"
            )


def own_labels(versions: Sequence[Version]) -> dict[str, list[str]]:
    """By training dataset, the labels that no other training dataset has; empty when there is one dataset only."""
    training = training_versions(versions)
    if len(training) < 2:
        return {}
    return {
        version.name: sorted(
            set(version.manifest.labels).difference(
                *(other.manifest.labels for other in training if other is not version)
            )
        )
        for version in training
    }


def count_records(
    train: Mapping[str, Sized], measured: Mapping[Split, Mapping[str, Sized]]
) -> dict[str, dict[Split, int]]:
    """By dataset, the records of each split that are used."""
    counts: dict[str, dict[Split, int]] = {}
    for split, parts in {Split.TRAIN: train, **measured}.items():
        for name, part in parts.items():
            counts.setdefault(name, {})[split] = len(part)
    return counts


def facts(
    versions: Sequence[Version], records: Mapping[str, Mapping[Split, int]], dropped: Mapping[str, int]
) -> list[DatasetFacts]:
    """One row per dataset of the run."""
    own = own_labels(versions)
    return [
        DatasetFacts(
            name=version.name,
            owner=version.owner,
            digest=version.manifest.digest,
            role=version.role,
            records=dict(records.get(version.name, {})),
            dropped_duplicates=dropped.get(version.name, 0),
            own_labels=own.get(version.name, []),
        )
        for version in versions
    ]


def notes(rows: Sequence[DatasetFacts]) -> list[str]:
    """Sentences for the reader of a report, from the facts."""
    said = []
    for row in rows:
        if row.dropped_duplicates:
            said.append(
                f"{row.name}: {row.dropped_duplicates} training records equal a record of evaluation and were dropped"
            )
        if row.own_labels:
            said.append(f"{row.name}: only this dataset has {', '.join(row.own_labels)}")
    return said
