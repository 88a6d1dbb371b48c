"""card.md: what the model is for, what it was made of and how well it did, for whoever meets it later."""

from collabspace.api.report import Report
from collabspace.api.run import RunDocument
from collabspace_trainer.report import reported_split


def render(report: Report, document: RunDocument) -> str:
    """Markdown. Names datasets and figures, never a record."""
    split = reported_split(report)
    lines = [
        f"# {report.task} by {report.method}",
        "",
        f"Trained by task {document.task.namespace}/{document.task.name} with seed {report.seed}.",
        "",
        "## Intended use",
        "",
        f"{report.task} on data like that below. Figures say nothing about other data; measure before use.",
        "The model may be used as far as the owners of its data allow: it inherits their terms.",
        "",
        "## Data",
        "",
        "| dataset | owner | role | version | records |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.owner} | {row.role} | `{row.digest[:19]}` | "
        + ", ".join(f"{part} {count}" for part, count in row.records.items())
        + " |"
        for row in report.datasets
    ]
    lines += ["", f"## Figures ({split})", "", "| metric | dataset | value | 95 % interval |", "|---|---|---|---|"]
    for metric in report.metrics:
        if metric.split is split:
            bounds = (
                f"{metric.low:.4f} to {metric.high:.4f}" if metric.low is not None and metric.high is not None else ""
            )
            lines.append(f"| {metric.name} | {metric.dataset or 'all'} | {metric.value:.4f} | {bounds} |")
    lines += ["", f"Scored as: {report.scorer}.", "", "## Limits", ""]
    lines += [f"- {note}" for note in report.notes] or [
        "- none noted by the trainer; bias and safety were not examined"
    ]
    return "\n".join(lines) + "\n"
