"""A merge patch that leaves exactly the status that was meant."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collabspace.api.dataset import DatasetStatus, DatasetUsage, Version
from collabspace.api.task import Attempt, TaskMetric, TaskProgress, TaskResult, TaskStatus
from collabspace.kube.status import merge_body

DIGEST = "sha256:" + "0" * 64


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


attempts = st.lists(
    st.builds(
        Attempt, number=st.integers(1, 9), exit_code=st.none() | st.integers(0, 255), node=st.sampled_from(["", "n"])
    ),
    max_size=3,
    unique_by=lambda each: each.number,
)
progress = st.none() | st.builds(
    TaskProgress, percent=st.integers(0, 100), step=st.just(1), total_steps=st.just(2), last_update_time=st.just("t")
)
metrics = st.lists(
    st.builds(TaskMetric, name=st.just("f1"), value=st.just("1"), low=st.none() | st.just("0")), max_size=2
)
results = st.none() | st.just(TaskResult(digest=DIGEST, bytes=1))
statuses = st.builds(
    TaskStatus,
    attempts=attempts,
    progress=progress,
    metrics=metrics,
    result=results,
    completion_time=st.none() | st.just("2026-01-01T00:00:00Z"),
    reason=st.sampled_from(["", "Training"]),
)
usages = st.none() | st.builds(DatasetUsage, reads=st.integers(0, 5), last_read_time=st.none() | st.just("t"))
versions = st.builds(
    Version,
    digest=st.just(DIGEST),
    created_time=st.just("t"),
    records=st.integers(0, 3),
    bytes=st.just(1),
    files=st.just(1),
)
datasets = st.builds(
    DatasetStatus, usage=usages, current_version=st.none() | versions, versions=st.lists(versions, max_size=2)
)


@given(statuses, statuses)
def test_after_the_patch_the_status_is_the_new_one_and_nothing_of_the_old(old: TaskStatus, new: TaskStatus) -> None:
    stored = merged(merged({}, merge_body(old)), merge_body(new))
    assert TaskStatus.model_validate(stored) == new
    assert "null" not in str(stored)


@given(datasets, datasets)
def test_the_same_holds_within_parts(old: DatasetStatus, new: DatasetStatus) -> None:
    assert DatasetStatus.model_validate(merged(merged({}, merge_body(old)), merge_body(new))) == new
