"""How many series the names of others can make."""

from collections.abc import Iterator

import pytest

from collabspace.broker import metrics
from collabspace.broker.entries import DENIED, Entry
from collabspace.client.protocol import Decision

DENIAL = Entry(DENIED, Decision.DENIED, "GrantMissing")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    metrics._pairs.clear()
    yield
    metrics._pairs.clear()


def test_a_dataset_is_named_with_its_owner_and_what_is_not_known_is_none() -> None:
    assert metrics.pair(DENIAL.but(namespace="lab", owner="clinic", dataset="notes")) == ("clinic/notes", "lab")
    assert metrics.pair(DENIAL.but(namespace="lab")) == ("none", "lab")
    assert metrics.pair(DENIAL) == ("none", "none")


def test_whoever_comes_after_the_first_thousand_counts_as_other_and_those_keep_their_names() -> None:
    entries = [DENIAL.but(namespace="lab", owner="clinic", dataset=f"d-{number}") for number in range(1500)]
    pairs = [metrics.pair(entry) for entry in entries]
    assert len(set(pairs)) == metrics.MAX_PAIRS + 1
    assert pairs[-1] == ("other", "other")
    assert metrics.pair(entries[0]) == ("clinic/d-0", "lab")
