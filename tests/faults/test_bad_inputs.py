"""A few bad inputs of every class, in all three ways, and some generated ones: `make faults-inputs` tries them all."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "inputs"), str(HERE.parent / "integration" / "operator")]

from bad_input import STORAGE, WAYS, Case  # noqa: E402
from corpus import BY_ID, CASES  # noqa: E402
from generated import case as generated_case  # noqa: E402
from input_run import Row, in_batches  # noqa: E402
from input_stage import OURS, stage  # noqa: E402

from collabspace.local.cluster import LocalCluster  # noqa: E402

# Beside these, every so many of the corpus and so many generated ones.
ALWAYS = (
    "structure.datasets-a-text",
    "structure.parameters-500",
    "structure.task-without-spec",
    "structure.grants-a-text",
    "names.dataset-5000-long",
    "numbers.cpu-a-word",
    "selection.spec-a-list",
    "status.task-conditions-a-text",
    "children.pod-phase-unknown",
)
EVERY, GENERATED = 9, 30


def test_all_the_corpus_is_told_apart_by_name() -> None:
    assert len(BY_ID) == len(CASES) >= 170


async def test_no_bad_input_stops_the_operator_starts_anything_or_touches_another_team(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    # Cases that name their object are left out: all ways are tried in one namespace.
    unnamed = [each for each in CASES if not isinstance(each, Case) or "metadata/name" not in each.change]
    rows: list[Row] = [(each, WAYS[at % len(WAYS)]) for at, each in enumerate(unnamed[::EVERY])]
    rows += [(BY_ID[each], STORAGE) for each in ALWAYS]
    rows += [generated_case(1, number) for number in range(GENERATED)]
    async with stage(cluster, tmp_path) as found:
        report = await in_batches(found, [rows], OURS)
    assert not report.failed, report.summary()
