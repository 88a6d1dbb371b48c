"""A report drawn: what a result measured as blocks of rows, for terminals (with bars) and as text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from collabspace.api.manifest import Split
from collabspace.api.report import DatasetFacts, LabelScores, Loss, Report, ReportMetric
from collabspace.cli.drawing import table, width_for
from collabspace.cli.glyphs import bar
from collabspace.cli.output import Cell, aligned, plain, span

AVERAGES = ("micro", "macro", "weighted")
BAR_WIDTH = 10


@dataclass(frozen=True)
class Block:
    """A table of the report. `f1` is the column whose values get a bar on a terminal; None: no bars."""

    title: str
    headers: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    f1: int | None = None


def blocks(report: Report) -> list[Block]:
    """What was measured, the most important first; empty tables are left out."""
    split = tested_split(report)
    found = [
        _figures(report, split),
        _labels("Entities", "ENTITY", report.per_entity, split, _unseen_rows(report, split)),
        _labels("Classes", "CLASS", report.per_class, split),
        _owners(report, split),
        _losses(report),
        _labels("Tags of tokens, O included,", "TAG", report.per_tag, split),
    ]
    return [block for block in found if block.rows]


def drawn(report: Report, width: int) -> tuple[RenderableType, int]:
    """For a terminal of that width; and the width that it really needs."""
    parts: list[RenderableType] = [Text("\n".join(heading(report)), style="bold")]
    parts += [Text(line, style="yellow") for line in caveats(report)]
    needed = width
    for block in blocks(report):
        headers, rows = (block.headers, block.rows) if block.f1 is None else _with_bars(block, block.f1)
        needed = max(needed, width_for(headers, rows, width))
        parts += [Text(f"\n{block.title}", style="bold cyan"), table(headers, rows)]
    parts += [Text(f"\n{line}", style="dim") for line in notes(report)]
    return Group(*parts), needed


def as_text(report: Report) -> str:
    """For a pipe: the same blocks as aligned columns."""
    parts = ["\n".join([*heading(report), *caveats(report)])]
    parts += [f"{block.title}\n{aligned(block.headers, block.rows)}" for block in blocks(report)]
    return "\n\n".join([*parts, *notes(report)])


def heading(report: Report) -> list[str]:
    """What was trained and how it ran, in two lines."""
    run = report.execution
    device = "simulated GPU (ran on the CPU)" if run.simulated_gpu else run.device
    stopped = f", stopped by {run.stopped}" if run.stopped else ""
    steps = f"{run.steps} of {run.total_steps} steps in " if run.total_steps else ""
    return [
        f"{report.task}, {report.method}, seed {report.seed}: {headline(report)}",
        f"{steps}{span(round(run.seconds))} on {device}, {run.precision}, {run.parameters:,} parameters{stopped}",
    ]


def headline(report: Report) -> str:
    """`entity_micro_f1 0.819 [0.790, 0.843] on test, 2,400 records`."""
    split = tested_split(report)
    metric = report.metric(report.headline, split)
    if metric is None:
        return f"{report.headline} was not measured"
    measured = f"{metric.name} {figure(metric.value)}{interval(metric, ' [{}, {}]')}"
    return f"{measured} on {split}, {records(report, split):,} records"


def records(report: Report, split: Split) -> int:
    """How many of all datasets were measured on."""
    return sum(each.records.get(split, 0) for each in report.datasets)


def caveats(report: Report) -> list[str]:
    """What the data makes of the figures: to be read before them."""
    said = []
    for facts in report.datasets:
        if facts.own_labels:
            labels = ", ".join(facts.own_labels)
            said.append(f"Only {facts.name} ({facts.owner}) has: {plain(labels)}.")
        if facts.dropped_duplicates:
            said.append(f"{facts.dropped_duplicates} training records of {facts.name} equal a tested one: dropped.")
    return said


def notes(report: Report) -> list[str]:
    """What else a reader must know: the trainer's notes, but for those that the caveats say already."""
    told = [f"{facts.name}: {facts.dropped_duplicates} training records " for facts in report.datasets]
    told += [f"{facts.name}: only this dataset has " for facts in report.datasets]
    return [f"Scored by {plain(report.scorer)}.", *(plain(n) for n in report.notes if not n.startswith(tuple(told)))]


def tested_split(report: Report) -> Split:
    """Test where it was measured, else the best there is."""
    measured = {metric.split for metric in report.metrics}
    return next((split for split in (Split.TEST, Split.VALIDATION, Split.TRAIN) if split in measured), Split.TEST)


def figure(value: float, support: int = 1) -> str:
    """Three digits; `-` where nothing was there to be measured."""
    return f"{value:.3f}" if support else "-"


def interval(metric: ReportMetric, form: str = "{} to {}") -> str:
    """The 95 % interval, empty when none was computed."""
    return "" if metric.low is None or metric.high is None else form.format(figure(metric.low), figure(metric.high))


def _figures(report: Report, split: Split) -> Block:
    pooled = [metric for metric in report.metrics if metric.split is split and not metric.dataset]
    rows: list[tuple[Cell, ...]] = [(_with_label(metric), figure(metric.value), interval(metric)) for metric in pooled]
    return Block(f"Figures on {split}", ("METRIC", "VALUE", "95 % INTERVAL"), rows)


def _with_label(metric: ReportMetric) -> str:
    """A metric that needs a positive class says which."""
    return f"{metric.name} ({plain(metric.label)})" if metric.label else metric.name


def _labels(
    title: str, header: str, scores: Sequence[LabelScores], split: Split, more: Sequence[tuple[Cell, ...]] = ()
) -> Block:
    own = [each for each in scores if each.split is split and each.dataset == _pooled(scores, split)]
    single = [each for each in own if not each.average]
    averages = sorted((each for each in own if each.average), key=lambda each: AVERAGES.index(each.average))
    rows: list[tuple[Cell, ...]] = [_label_row(each.label, each) for each in single]
    rows += [_label_row(f"{each.average} average", each, "bold") for each in averages]
    if rows:
        rows += more
    return Block(f"{title} on {split}", (header, "PRECISION", "RECALL", "F1", "SUPPORT"), rows, f1=3)


def _pooled(scores: Sequence[LabelScores], split: Split) -> str:
    """The empty name, unless scores were only given by dataset: then the first of them."""
    names = [each.dataset for each in scores if each.split is split]
    return "" if "" in names or not names else names[0]


def _label_row(name: str, scores: LabelScores, style: str = "") -> tuple[Cell, ...]:
    values = (scores.precision, scores.recall, scores.f1)
    return ((plain(name), style), *(figure(value, scores.support) for value in values), str(scores.support))


def _unseen_rows(report: Report, split: Split) -> list[tuple[Cell, ...]]:
    """The entities that the training data does not hold: what the model does beyond memory."""
    return [
        (
            (f"unseen entities ({each.share:.0%} of all)", "magenta"),
            figure(each.precision, each.support),
            figure(each.recall, each.support),
            figure(each.f1, each.support),
            str(each.support),
        )
        for each in report.unseen
        if each.split is split and not each.dataset
    ]


def _owners(report: Report, split: Split) -> Block:
    rows = [_owner_row(report, split, facts.name, facts) for facts in report.datasets]
    if len(rows) > 1:
        rows.append(_owner_row(report, split, "", None))
    headers = ("DATASET", "ROLE", "TRAIN", split.upper(), "VALUE", "95 % INTERVAL", "LOSS")
    return Block(f"By owner: {report.headline} on {split}, with records used", headers, rows)


def _owner_row(report: Report, split: Split, name: str, facts: DatasetFacts | None) -> tuple[Cell, ...]:
    """One dataset, or all of them (no facts)."""
    metric = report.metric(report.headline, split, name)
    loss = next((each for each in report.losses if each.split is split and each.dataset == name), None)
    used = [each for each in report.datasets if facts in (None, each)]
    return (
        facts.owner if facts else ("all", "bold"),
        facts.role.value if facts else "",
        str(sum(each.records.get(Split.TRAIN, 0) for each in used)),
        str(sum(each.records.get(split, 0) for each in used)),
        figure(metric.value) if metric else "-",
        interval(metric) if metric else "",
        figure(loss.mean) if loss else "-",
    )


def _losses(report: Report) -> Block:
    rows: list[tuple[Cell, ...]] = [_loss_row(report, each) for each in report.losses]
    return Block("Losses", ("DATASET", "SPLIT", "MEAN", "UNIT", "COUNT", "TOTAL"), rows)


def _loss_row(report: Report, loss: Loss) -> tuple[Cell, ...]:
    owner = next((facts.owner for facts in report.datasets if facts.name == loss.dataset), loss.dataset)
    return (
        owner or ("all", "bold"),
        loss.split.value,
        figure(loss.mean),
        loss.unit,
        str(loss.count),
        f"{loss.total:.1f}",
    )


def _bar(value: str) -> str:
    return "" if value == "-" else bar(float(value), BAR_WIDTH)


def _with_bars(block: Block, column: int) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    headers = (*block.headers[: column + 1], "", *block.headers[column + 1 :])
    return headers, [(*row[: column + 1], (_bar(str(row[column])), "green"), *row[column + 1 :]) for row in block.rows]
