"""Values that people type: names, durations, dates, datasets of a task; each refused with an example."""

import re
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
DURATION = re.compile(r"^([0-9]{1,8})(s|m|h|d)?$")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
MODEL_KINDS = {"alias": "Alias", "task": "CollabTask"}
"""What is typed before the name of a model of the own team, and the kind that `modelFrom` has for it."""
SUBJECT_KINDS = ("task", "selection")
ROLES = {"train": "Train", "evaluate": "Evaluate"}
GATE = re.compile(r"^([A-Za-z0-9_]{1,64})>?=(.+)$")
BUDGETS = ("cpu", "gpu")
USES = ("Train", "Evaluate", "Derive", "Download")
UNUSED_USES = ("Serve",)


def is_name(text: str) -> bool:
    """Whether it may stand in a path of the API server as the name of an object or namespace."""
    return len(text) <= 63 and NAME.match(text) is not None


class NameType(click.ParamType[str]):
    """The name of an object or namespace."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        text = str(value)
        if not is_name(text):
            self.fail(
                f"{text[:80]!r} is no name: use lower-case letters, digits and hyphens, at most 63", param, context
            )
        return text


class ModelType(click.ParamType[tuple[str | None, str]]):
    """`NAME`, `alias/NAME` or `task/NAME`; gives ("alias", "task" or None for either, name)."""

    name = "alias|task"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[str | None, str]:
        if isinstance(value, tuple):
            return value
        kind, slash, name = str(value).rpartition("/")
        if not is_name(name) or (slash and kind not in MODEL_KINDS):
            said = f"{str(value)[:140]!r} names no model of this namespace"
            self.fail(f"{said}: give the name of an alias or a task, or alias/NAME, task/NAME", param, context)
        return kind or None, name


class SubjectType(click.ParamType[tuple[str | None, str]]):
    """`NAME`, `task/NAME` or `selection/NAME`; gives ("task", "selection" or None for either, name)."""

    name = "name"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[str | None, str]:
        if isinstance(value, tuple):
            return value
        kind, slash, name = str(value).rpartition("/")
        if slash and kind not in SUBJECT_KINDS:
            self.fail(f"{str(value)[:140]!r}: give NAME, task/NAME or selection/NAME", param, context)
        return kind or None, NameType().convert(name, param, context)


class WholeNumber(click.IntRange):
    """A whole number within bounds, refused in these words."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        try:
            int(value)
        except (ValueError, TypeError):
            self.fail(f"{str(value)[:40]!r} is not a whole number", param, context)
        return int(super().convert(value, param, context))


class ReferenceType(click.ParamType[tuple[str | None, str]]):
    """`NAME`, or `NAMESPACE/NAME`; gives (namespace or None, name)."""

    name = "[namespace/]name"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[str | None, str]:
        if isinstance(value, tuple):
            return value
        namespace, slash, name = str(value).rpartition("/")
        if not is_name(name) or (slash and not is_name(namespace)):
            self.fail(
                f"{str(value)[:140]!r}: give NAME or NAMESPACE/NAME, for example hospital-a/notes", param, context
            )
        return (namespace if slash else None, name)


@dataclass(frozen=True)
class ModelChoice:
    """One --model of submit; `kind` as in `modelFrom`, the namespace is None when it is the task's own."""

    kind: str
    namespace: str | None
    name: str


class ModelSourceType(click.ParamType[ModelChoice]):
    """`[NAMESPACE/]NAME` of a dataset, `task/NAME` or `alias/NAME` of the own team."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> ModelChoice:
        if isinstance(value, ModelChoice):
            return value
        before, slash, name = str(value).rpartition("/")
        if not is_name(name) or (slash and not is_name(before)):
            wrong = f"{str(value)[:140]!r}: give a dataset of format Model as NAME or NAMESPACE/NAME"
            self.fail(f"{wrong}, or a model of this namespace as task/NAME or alias/NAME", param, context)
        if before in MODEL_KINDS:
            return ModelChoice(MODEL_KINDS[before], None, name)
        return ModelChoice("SharedDataset", before or None, name)


class DurationType(click.ParamType[int]):
    """Seconds, as `90`, `90s`, `10m`, `2h` or `30d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        seconds = duration_seconds(str(value))
        if seconds is None:
            self.fail(f"{str(value)[:40]!r} is no duration: give for example 90s, 10m, 2h or 30d", param, context)
        return seconds


def duration_seconds(text: str) -> int | None:
    """Seconds of `90`, `90s`, `10m`, `2h`, `30d`; None when it is none of these."""
    found = DURATION.match(text)
    return int(found[1]) * SECONDS[found[2] or "s"] if found else None


def duration_text(seconds: int) -> str:
    """The same length in its largest whole unit: `2h`, `90s`; what `duration_seconds` reads back."""
    unit = max((unit for unit, size in SECONDS.items() if seconds % size == 0), key=SECONDS.__getitem__)
    return f"{seconds // SECONDS[unit]}{unit}"


@dataclass(frozen=True)
class DatasetChoice:
    """One --dataset of submit; the namespace is None when it is the task's own, role and label when none was given."""

    namespace: str | None
    name: str
    role: str | None = None
    digest: str | None = None
    label: str | None = None


class DatasetType(click.ParamType[DatasetChoice]):
    """`[LABEL=][NAMESPACE/]NAME[:train|:evaluate][@sha256:...]`."""

    name = "dataset"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> DatasetChoice:
        if isinstance(value, DatasetChoice):
            return value
        rest, at, digest = str(value).partition("@")
        if at and not DIGEST.match(digest):
            self.fail(f"after @ comes a digest, sha256: and 64 hexadecimal digits, not {digest[:80]!r}", param, context)
        reference, colon, role = rest.partition(":")
        if colon and role.lower() not in ROLES:
            self.fail(f"role {role[:40]!r}: it is train or evaluate", param, context)
        label, equals, reference = reference.rpartition("=")
        if equals and not is_name(label):
            self.fail(
                f"label {label[:80]!r}: lower-case letters, digits and hyphens, as in a=hospital-a/notes",
                param,
                context,
            )
        namespace, name = ReferenceType().convert(reference, param, context)
        return DatasetChoice(namespace, name, ROLES[role.lower()] if colon else None, digest or None, label or None)


class SettingType(click.ParamType[tuple[str, str]]):
    """`key=value`."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not (key and equals and text):
            self.fail(f"{str(value)[:80]!r}: give key=value, for example learningRate=1e-4", param, context)
        return key, text


class GateType(click.ParamType[tuple[str, str]]):
    """`metric>=floor`; `metric=floor` means the same and needs no quotes."""

    name = "metric>=floor"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        found = GATE.match(str(value))
        if found is None:
            wrong = f"{str(value)[:80]!r}: give a metric and its floor in quotes (a shell takes a bare > for a file)"
            self.fail(f"{wrong}, for example 'entity_micro_f1>=0.8'", param, context)
        return found[1], found[2]


class BudgetType(click.ParamType[tuple[str, int]]):
    """`gpu=2h`: two hours of one GPU, or one hour of two."""

    name = "cpu|gpu=duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        what, _, text = str(value).partition("=")
        seconds = duration_seconds(text)
        if what not in BUDGETS or seconds is None:
            self.fail(f"{str(value)[:80]!r}: give cpu or gpu and its hours, for example gpu=2h", param, context)
        return what, seconds


class UseType(click.ParamType[str]):
    """A use of a grant. Those that this release does nothing with are taken, so that such a grant can be given again,
    but not offered."""

    name = "|".join(USES)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        known = {use.lower(): use for use in (*USES, *UNUSED_USES)}
        if str(value).lower() not in known:
            self.fail(f"{str(value)[:40]!r} is no use; there are {', '.join(USES)}", param, context)
        return known[str(value).lower()]

    def shell_complete(
        self, _context: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return [CompletionItem(use) for use in USES if use.lower().startswith(incomplete.lower())]


class ReasonType(click.ParamType[str]):
    """A reason of a condition, in any case."""

    name = "reason"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        from collabspace.api.conditions import Reason

        known = {reason.value.lower(): reason.value for reason in Reason}
        found = known.get(str(value).lower())
        if found is None:
            self.fail(f"{str(value)[:64]!r} is no reason; there are {', '.join(known.values())}", param, context)
        return found

    def shell_complete(
        self, _context: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from collabspace.api.conditions import Reason

        return [CompletionItem(reason.value) for reason in Reason if reason.value.startswith(incomplete)]
