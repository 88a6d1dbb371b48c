"""report.txt: the figures as people of the field are used to reading them."""

from collections.abc import Sequence

from collabspace.api.manifest import Split
from collabspace.api.report import ExecutionFacts, LabelScores, Report
from collabspace_trainer.report import reported_split

POOLED_NAME = "all datasets"


def render(report: Report) -> str:
    """Plain text, aligned, at most as wide as its longest label needs."""
    split = reported_split(report)
    blocks = [_title(report), _headlines(report, split), _losses(report)]
    for dataset in _datasets(report, split):
        for heading, rows in (
            ("entities, strict", report.per_entity),
            ("tokens, O included", report.per_tag),
            ("classes", report.per_class),
        ):
            chosen = [row for row in rows if row.dataset == dataset and row.split is split]
            if chosen:
                blocks.append(_table(f"{_name(dataset)}: {heading} ({split})", chosen))
    blocks += [_unseen(report, split), _data(report), _notes(report), _execution(report)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _title(report: Report) -> str:
    return f"{report.task}, {report.method}, seed {report.seed}\nscored as: {report.scorer}"


def _headlines(report: Report, split: Split) -> str:
    lines = []
    shown = _datasets(report, split)
    for row in report.metrics:
        if row.dataset in shown and (row.split is split or row.name is report.headline):
            bounds = f"  [{row.low:.4f}, {row.high:.4f}]" if row.low is not None and row.high is not None else ""
            label = f" of {row.label}" if row.label else ""
            lines.append((row.split, _name(row.dataset), f"{row.name}{label}", f"{row.value:.4f}{bounds}"))
    return "metrics, with 95 % intervals where there are any\n" + _columns(lines)


def _losses(report: Report) -> str:
    lines = [
        (row.split, _name(row.dataset), f"{row.mean:.4f} {row.unit}", f"total {row.total:.1f} over {row.count}")
        for row in report.losses
        if row.dataset in _datasets(report, row.split)
    ]
    return "loss\n" + _columns(lines) if lines else ""


def _table(title: str, rows: Sequence[LabelScores]) -> str:
    names = [row.label or f"{row.average} avg" for row in rows]
    width = max(12, *(len(name) for name in names))
    lines = [title, f"{'':>{width}}  precision    recall  f1-score   support"]
    labels = [row for row in rows if row.label]
    for row, name in zip(rows, names, strict=True):
        if labels and row is rows[len(labels)]:
            lines.append("")
        lines.append(f"{name:>{width}}{row.precision:>11.4f}{row.recall:>10.4f}{row.f1:>10.4f}{row.support:>10d}")
    return "\n".join(lines)


def _unseen(report: Report, split: Split) -> str:
    lines = [
        (
            _name(row.dataset),
            f"{100 * row.share:.1f} % of entities",
            f"precision {row.precision:.4f}",
            f"recall {row.recall:.4f}",
            f"f1 {row.f1:.4f}",
            f"support {row.support}",
        )
        for row in report.unseen
        if row.split is split and row.dataset in _datasets(report, split)
    ]
    return f"entities never seen in training ({split})\n" + _columns(lines) if lines else ""


def _data(report: Report) -> str:
    lines = [
        (
            row.name,
            row.role,
            ", ".join(f"{split} {count}" for split, count in row.records.items()),
            f"{row.dropped_duplicates} duplicates dropped",
            row.digest[:19],
        )
        for row in report.datasets
    ]
    return "data\n" + _columns(lines) if lines else ""


def _notes(report: Report) -> str:
    return "notes\n" + "\n".join(f"  {note}" for note in report.notes) if report.notes else ""


def _execution(report: Report) -> str:
    facts = report.execution
    return "execution\n" + _columns(
        [
            ("device", f"{facts.device}{' (simulated GPU)' if facts.simulated_gpu else ''}, {facts.precision}"),
            ("threads", str(facts.threads)),
            ("steps", f"{facts.steps} of {facts.total_steps}{f', {facts.stopped}' if facts.stopped else ''}"),
            ("parameters", f"{facts.parameters:,}"),
            ("seconds", f"{facts.seconds:.1f}, CPU {facts.cpu_seconds:.1f}"),
            ("peak memory", f"{facts.peak_memory_bytes / 2**20:.0f} MiB{_gpu_memory(facts)}"),
        ]
    )


def _gpu_memory(facts: ExecutionFacts) -> str:
    return f", GPU {facts.peak_gpu_memory_bytes / 2**20:.0f} MiB" if facts.peak_gpu_memory_bytes else ""


def _datasets(report: Report, split: Split) -> list[str]:
    """The datasets measured on a split, and the empty name for all pooled unless there is one only."""
    names = list(dict.fromkeys(row.dataset for row in report.metrics if row.split is split))
    return names if len(names) > 2 else names[:1]


def _name(dataset: str) -> str:
    return dataset or POOLED_NAME


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
