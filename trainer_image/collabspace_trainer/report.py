"""metrics.json of a run, and the few figures of it that travel in the end record."""

from collections.abc import Mapping, Sequence
from typing import Any

from collabspace.api.catalogue import Purpose
from collabspace.api.manifest import Split
from collabspace.api.report import ExecutionFacts, Report, ReportMetric
from collabspace.api.run import MAX_END_METRICS, Metric, MetricName
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.registry import Corpus
from collabspace_trainer.runtime import cpu_seconds, peak_gpu_memory_bytes, peak_memory_bytes
from collabspace_trainer.session import Session

MAX_REPORTED = 8
MAX_DIFFERENCES = 20
MAX_COMPARED_VALUES = 3
"""With more candidates than that the end record has room for their differences alone."""


def make_report(session: Session, corpus: Corpus, measured: Mapping[Split, Evaluation], parameters: int) -> Report:
    """Everything that was measured, validation before test, and how the run went."""
    training = session.plan.document.training
    course, machine = session.course, session.runtime
    notes = list(corpus.notes)
    notes += course.notes
    if course.rollbacks and not any("diverged" in note for note in course.notes):
        notes.append("training diverged once in an earlier attempt and went on with a tenth of the learning rate")
    asked = session.plan.document.execution.gpus
    if machine.device == "cuda" and asked > 1:
        notes.append(f"{asked} GPUs were asked for and held; training uses one")
    if machine.simulated_gpu:
        notes.append("the GPU was simulated: it ran on the CPU")
    if course.stopped == "BudgetSpent":
        notes.append(f"the budget ended training at step {course.step} of {course.total_steps}: not to be ranked")
    if Split.TEST not in measured and session.plan.purpose is Purpose.TRAINING:
        notes.append("no dataset has a test split: figures are those of the validation split")
    return Report(
        task=training.task,
        method=training.method,
        seed=training.seed,
        scorer=session.plan.task.scorer,
        headline=corpus.headline,
        metrics=_rows(measured, "metrics"),
        losses=_rows(measured, "losses"),
        per_entity=_rows(measured, "per_entity"),
        per_tag=_rows(measured, "per_tag"),
        per_class=_rows(measured, "per_class"),
        unseen=_rows(measured, "unseen"),
        datasets=corpus.facts,
        notes=notes,
        execution=ExecutionFacts(
            device=machine.device,
            simulated_gpu=machine.simulated_gpu,
            precision=machine.precision,
            threads=machine.threads,
            attempt=session.plan.document.execution.attempt,
            seconds=round(session.meter.seconds, 3),
            cpu_seconds=round(cpu_seconds(), 3),
            gpu_seconds=round(session.meter.gpu_seconds, 3),
            peak_memory_bytes=peak_memory_bytes(),
            peak_gpu_memory_bytes=peak_gpu_memory_bytes(),
            parameters=parameters,
            steps=course.step,
            total_steps=course.total_steps,
            batch_size=course.batch_size,
            micro_batch_size=course.micro_batch_size,
            stopped=course.stopped,
        ),
    )


def reported_split(report: Report) -> Split:
    """Test where it was measured, else validation."""
    return Split.TEST if any(metric.split is Split.TEST for metric in report.metrics) else Split.VALIDATION


def end_metrics(report: Report) -> list[Metric]:
    """The headline, pooled and by dataset, then the other pooled figures, eight at most; then what ranks results: the
    pooled figures on the validation split. Of a comparison, the differences, and the values where there are few."""
    if any(row.name is MetricName.DIFFERENCE for row in report.metrics):
        return _end_of_comparison(report)
    split = reported_split(report)
    rows = [row for row in report.metrics if row.split is split]
    headline = [row for row in rows if row.name is report.headline]
    ordered = sorted(headline, key=lambda row: row.dataset != "")
    ordered += [row for row in rows if row.name is not report.headline and row.dataset == ""]
    chosen = ordered[:MAX_REPORTED]
    if split is not Split.VALIDATION:
        ranking = [row for row in report.metrics if row.split is Split.VALIDATION and row.dataset == ""]
        chosen += sorted(ranking, key=lambda row: row.name is not report.headline)
    return [_as_text(row) for row in chosen[:MAX_END_METRICS]]


def _end_of_comparison(report: Report) -> list[Metric]:
    differences = [row for row in report.metrics if row.name is MetricName.DIFFERENCE]
    values = [row for row in report.metrics if row.name is not MetricName.DIFFERENCE]
    chosen = differences[:MAX_DIFFERENCES] + (values if len(values) <= MAX_COMPARED_VALUES else [])
    return [_as_text(row) for row in chosen]


def _as_text(row: ReportMetric) -> Metric:
    return Metric(
        name=row.name,
        value=f"{row.value:.6g}",
        dataset=row.dataset,
        split="validation" if row.split is Split.VALIDATION else "test",
        label=row.label,
        low=None if row.low is None else f"{row.low:.6g}",
        high=None if row.high is None else f"{row.high:.6g}",
    )


def _rows(measured: Mapping[Split, Evaluation], name: str) -> Sequence[Any]:
    return [row for evaluation in measured.values() for row in getattr(evaluation, name)]
