"""Which split a record belongs to: by the file it stands in, or by a hash that never moves a record once placed."""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from collabspace.api.manifest import Split
from collabspace.formats.folder import splits_named
from collabspace.formats.intake import DataFile
from collabspace.formats.limits import MAX_LABELS
from collabspace.formats.problem import Problems, quoted

SplitMode = Literal["Auto", "Provided", "Hash", "Time"]


@dataclass(frozen=True)
class SplitRule:
    """How to split. Auto: Provided when a file's name holds a split word, else Hash. Percentages are for Hash.

    `group_by` names the field or column whose equal values stay together. Raises ValueError when the percentages
    are not three shares of 100 with some train in them.
    """

    mode: SplitMode = "Auto"
    train_percent: int = 80
    validation_percent: int = 10
    test_percent: int = 10
    group_by: str | None = None
    time_column: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.train_percent, self.validation_percent, self.test_percent)
        if sum(shares) != 100 or min(shares) < 0 or not self.train_percent:
            raise ValueError(f"split percentages {shares}: give three shares of 100 with train above 0")


def bucket(seed: int, key: str) -> int:
    """0 to 99, from the key alone: thresholds over it, never counts, so added records move no other."""
    return int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16) % 100


def normalised(text: str) -> str:
    """Text as a key: NFC, lower case, each run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


@dataclass(frozen=True)
class SplitPlan:
    """What the names of the files settle before the first record is read."""

    mode: Literal["Provided", "Hash"]
    rule: SplitRule
    by_file: dict[str, Split]
    takes_validation: bool
    warnings: tuple[str, ...]

    def needs_key(self, file: str) -> bool:
        """Whether a record of `file` is placed by its key; False when the file alone says the split."""
        return self.mode == "Hash" or (self.takes_validation and self.by_file[file] is Split.TRAIN)

    def assign(self, file: str, key: str) -> Split:
        """The split of a record of `file` with this key (group, document, or normalised content)."""
        if not self.needs_key(file):
            return self.by_file[file]
        place = bucket(self.rule.seed, key)
        if self.mode == "Provided":
            # The same tenth as Hash takes by default: a text that two owners hold is validation for both.
            return Split.VALIDATION if 80 <= place < 90 else Split.TRAIN
        if place < self.rule.train_percent:
            return Split.TRAIN
        if place < self.rule.train_percent + self.rule.validation_percent:
            return Split.VALIDATION
        return Split.TEST

    @property
    def expected(self) -> set[Split]:
        """The splits that must not end up empty."""
        if self.mode == "Provided":
            return set(self.by_file.values()) | ({Split.VALIDATION} if self.takes_validation else set())
        shares = (self.rule.train_percent, self.rule.validation_percent, self.rule.test_percent)
        return {split for split, share in zip(Split, shares, strict=True) if share}


def plan_splits(rule: SplitRule, files: Iterable[DataFile], problems: Problems) -> SplitPlan:
    """Reads the files' names. Adds findings: no word or two words in a name, a mode this format has not."""
    named = {file.name: splits_named(file.name) for file in files}
    mode = _mode(rule, named, problems)
    warnings = []
    if mode == "Hash" and any(named.values()):
        warnings.append("split words in file names are not used: the split is by hash of all records")
    by_file = _provided(named, problems) if mode == "Provided" else {}
    present = set(by_file.values())
    if by_file and not present & {Split.TRAIN, Split.TEST}:
        problems.add("", None, "neither a train nor a test file", "Add a file with train in its name.")
    if mode == "Provided" and Split.TRAIN not in present:
        warnings.append("no train split: the dataset can be evaluated on, not trained on")
    takes = Split.TRAIN in present and Split.VALIDATION not in present
    if takes:
        warnings.append("no validation split: a tenth of train is taken, by hash")
    plan = SplitPlan(mode, rule, by_file, takes, ())
    if Split.TEST not in plan.expected:
        warnings.append("no test split: the dataset cannot be evaluated")
    if Split.VALIDATION not in plan.expected:
        warnings.append("no validation split: nothing to stop early or rank by")
    return SplitPlan(mode, rule, by_file, takes, tuple(warnings))


def _mode(rule: SplitRule, named: dict[str, list[Split]], problems: Problems) -> Literal["Provided", "Hash"]:
    if rule.mode == "Time":
        remedy = "Use Hash, or Provided with split words in the file names."
        problems.stop("", None, "splits by time are for Interactions, which cannot be pushed yet", remedy)
    if rule.mode == "Auto":
        return "Provided" if any(named.values()) else "Hash"
    return rule.mode


def _provided(named: dict[str, list[Split]], problems: Problems) -> dict[str, Split]:
    by_file = {}
    for name, splits in named.items():
        if len(splits) == 1:
            by_file[name] = splits[0]
        elif splits:
            message = f"the name holds words of several splits ({', '.join(splits)})"
            problems.add(name, None, message, "Rename it so that one is left.")
        else:
            remedy = "Put train, validation or test in its name or its folder's name."
            problems.add(name, None, "no split word in the name, while other files have one", remedy)
    return by_file


def check_presence(
    counts: dict[Split, int], label_counts: dict[Split, dict[str, int]], labels: list[str], problems: Problems
) -> None:
    """Adds a finding for each empty split, and for each label (class, entity type) that a split lacks."""
    if len(labels) > MAX_LABELS:
        remedy = "Join rare ones; a quantity is a Number, not a Class."
        problems.stop("", None, f"more than {MAX_LABELS} labels", remedy)
    empty = [split for split, count in counts.items() if not count]
    for split in empty:
        remedy = "Add records, or files with the split's word in their names; whole groups stay together."
        problems.add("", None, f"no record in {split} ({per_split(counts)})", remedy)
    if empty:
        return
    for label in labels:
        held = {split: label_counts.get(split, {}).get(label, 0) for split in counts}
        if missing := [split.value for split, count in held.items() if not count]:
            message = f"{quoted(label)} does not occur in {', '.join(missing)} ({per_split(held)})"
            problems.add("", None, message, "Add records that have it, or remove it everywhere.")


def per_split(counts: dict[Split, int]) -> str:
    """`train 80, validation 10, test 10`."""
    return ", ".join(f"{split} {counts[split]}" for split in Split if split in counts)
