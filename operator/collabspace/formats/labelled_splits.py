"""Records with labels, a file per split: counted while they are written, and counted again to prove a manifest."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from collabspace.api.manifest import FileEntry, Manifest, Split
from collabspace.formats.canonical import check_split_names, compare, entries_of, open_entry
from collabspace.formats.folder import Sources
from collabspace.formats.gzip_lines import GzipLines
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.limits import MAX_LABELS, MAX_TOTAL_BYTES
from collabspace.formats.problem import Problems, listed
from collabspace.formats.request import Converted
from collabspace.formats.split import SplitPlan, check_presence

SUFFIX = ".jsonl.gz"
R = TypeVar("R")


class SplitTally:
    """Records and labels per split."""

    def __init__(self, splits: set[Split]) -> None:
        self.records = {split: 0 for split in Split if split in splits}
        self._labels: dict[Split, Counter[str]] = {split: Counter() for split in self.records}

    def add(self, split: Split, labels: Iterable[str]) -> None:
        """One record with its labels; one label may come several times."""
        self.records[split] += 1
        counts = self._labels[split]
        for label in labels:
            # One more than allowed is remembered: free text in place of labels neither fills memory nor passes.
            if len(counts) <= MAX_LABELS or label in counts:
                counts[label] += 1

    @property
    def labels(self) -> list[str]:
        return sorted(set().union(*self._labels.values()))

    @property
    def label_counts(self) -> dict[Split, dict[str, int]]:
        return {split: dict(sorted(counts.items())) for split, counts in self._labels.items()}

    def check(self, problems: Problems) -> None:
        """Adds a finding for each empty split, and for each label that a split lacks."""
        check_presence(self.records, self.label_counts, self.labels, problems)


class SplitWriter:
    """Where records go that a push brings: the file of their split, and its count."""

    def __init__(self, plan: SplitPlan, writers: Mapping[Split, GzipLines], tally: SplitTally) -> None:
        self.tally = tally
        self._plan = plan
        self._writers = writers

    def add(self, file: str, split_key: str, line: bytes, labels: Iterable[str]) -> None:
        """A record of the pushed `file`, as the line that is kept."""
        split = self._plan.assign(file, split_key)
        self._writers[split].write(line)
        self.tally.add(split, labels)

    def converted(self, sources: Sources, dropped: set[str]) -> Converted:
        """What was made, once the files are closed; `dropped` names fields that were not kept."""
        return Converted(
            files=[
                FileEntry(
                    path=split + SUFFIX, sha256=writer.sha256, bytes=writer.bytes, records=writer.records, split=split
                )
                for split, writer in self._writers.items()
            ],
            sources=sources.files,
            readme=sources.readme,
            split_mode=self._plan.mode,
            labels=self.tally.labels,
            label_counts=self.tally.label_counts,
            warnings=[
                *self._plan.warnings,
                *([f"fields that are not kept: {listed(sorted(dropped))}"] if dropped else []),
            ],
        )


@contextmanager
def split_writer(plan: SplitPlan, destination: Path) -> Iterator[SplitWriter]:
    """Files of all splits that the plan expects, open in the folder `destination`."""
    tally = SplitTally(plan.expected)
    with ExitStack() as stack:
        writers = {split: stack.enter_context(GzipLines(destination / (split + SUFFIX))) for split in tally.records}
        yield SplitWriter(plan, writers, tally)


def check_labelled(
    folder: Path, manifest: Manifest, labels_of: Callable[[DataFile], Iterable[Iterable[str]]], intake: Intake
) -> None:
    """Adds findings where the files are not as the manifest says; `labels_of` yields the labels of each record."""
    problems = intake.problems
    check_split_names(manifest, SUFFIX, problems)
    problems.raise_if_any()
    tally = SplitTally({entry.split for entry in manifest.files if entry.split is not None})
    for entry in manifest.files:
        for labels in labels_of(DataFile(folder / entry.path, entry.path, entry.bytes)):
            tally.add(entry.split or Split.TRAIN, labels)
    problems.raise_if_any()
    for entry in manifest.files:
        found = tally.records[entry.split or Split.TRAIN]
        compare(f"the number of records in {entry.path}", entry.records, found, problems)
    compare("labels", manifest.labels, tally.labels, problems)
    compare("labelCounts", manifest.label_counts, tally.label_counts, problems)
    compare("columns", manifest.columns, [], problems)
    compare("target", manifest.target, None, problems)
    tally.check(problems)


def read_labelled(
    folder: Path, manifest: Manifest, split: Split | None, records_of: Callable[[DataFile, Intake], Iterable[R]]
) -> list[R]:
    """The records of one split in canonical order; None gives all splits. A split that is not there is empty.

    Sizes and hashes are checked first. Raises FormatError.
    """
    intake = Intake(MAX_TOTAL_BYTES)
    records: list[R] = []
    for entry in entries_of(manifest, split):
        records += records_of(open_entry(folder, entry, intake), intake)
    intake.problems.raise_if_any()
    return records
