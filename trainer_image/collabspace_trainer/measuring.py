"""What is measured of a model, and whether its run counts."""

import math
from collections.abc import Callable
from typing import Any

from collabspace.api.catalogue import Purpose
from collabspace.api.manifest import Split
from collabspace.api.report import Report
from collabspace.api.run import LOWER_IS_BETTER, ExitCode, MetricName
from collabspace_trainer.errors import DataError, DivergedError
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.exits import Ending
from collabspace_trainer.report import reported_split
from collabspace_trainer.session import Session


def scorer(session: Session, corpus: Any) -> Callable[[Any], float] | None:
    """Measures the headline on the validation split, higher is better; None when no dataset has one."""
    if not corpus.measured[Split.VALIDATION]:
        return None
    task = session.plan.task.implementation
    headline: MetricName = corpus.headline
    sign = -1.0 if headline in LOWER_IS_BETTER else 1.0

    def score(predictor: Any) -> float:
        value = task.evaluate(corpus, predictor, Split.VALIDATION, intervals=False).value(headline)
        return float("-inf") if value is None else sign * value

    return score


def measure(session: Session, corpus: Any, predictor: Any) -> dict[Split, Evaluation]:
    """Validation, which ranks results, and test, which is reported; either only where there is data for it."""
    if session.plan.purpose is Purpose.COMPARISON:
        return {predictor.split: predictor.evaluation}
    session.pulse.enter("Evaluate")
    task = session.plan.task.implementation
    measured = {
        split: task.evaluate(corpus, predictor, split, intervals=True)
        for split in (Split.VALIDATION, Split.TEST)
        if corpus.measured[split]
    }
    for evaluation in measured.values():
        if not all(math.isfinite(row.value) for row in evaluation.metrics):
            raise DivergedError("evaluation: a figure is not finite; lower parameters.learningRate")
        if session.plan.purpose is Purpose.EVALUATION:
            evaluation.unseen.clear()  # what the model has seen in its training is not known here
    return measured


def judge(session: Session, report: Report) -> Ending:
    """A result is kept in any case; the code says whether it counts."""
    course = session.course
    if course.stopped == "BudgetSpent":
        return Ending(ExitCode.BUDGET_SPENT, f"the budget ended at step {course.step} of {course.total_steps}")
    for gate in session.plan.document.execution.gates:
        found = report.metric(MetricName(gate.metric), reported_split(report))
        if found is None:
            raise DataError(f"gates: {gate.metric} cannot be measured on this data; remove the gate or use other data")
        if found.value < float(gate.minimum):
            return Ending(ExitCode.GATE_NOT_MET, f"gates: {gate.metric} is {found.value:.4f}, asked was {gate.minimum}")
    return Ending(ExitCode.OK)
