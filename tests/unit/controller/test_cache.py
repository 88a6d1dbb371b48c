"""The cache stays right when news comes late, twice, out of order or not at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabspace.kube.cache import Cache, Key

Change = tuple[Key, Any, Any]


def item(name: str, version: int, value: str = "x", uid: str | None = None) -> dict[str, Any]:
    meta = {"namespace": "n", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "value": value}


def cache() -> tuple[Cache[str], list[Change]]:
    changes: list[Change] = []
    return Cache("Thing", lambda raw: raw["value"], lambda *each: changes.append(each)), changes


def listed(known: Cache[str], items: list[dict[str, Any]], version: str) -> None:
    """As a watch passes on a list."""
    for each in items:
        known.apply(None, each)
    known.retain({("n", each["metadata"]["name"]) for each in items}, version)


A = ("n", "a")


def test_what_is_added_changed_and_deleted_is_told() -> None:
    known, changes = cache()
    known.apply("ADDED", item("a", 1, "x"))
    known.apply("MODIFIED", item("a", 2, "y"))
    known.apply("DELETED", item("a", 3, "y"))
    assert changes == [(A, None, "x"), (A, "x", "y"), (A, "y", None)]
    assert known.get(A) is None


def test_news_that_changes_nothing_is_not_told() -> None:
    known, changes = cache()
    known.apply(None, item("a", 1))
    known.apply("MODIFIED", item("a", 2))
    assert len(changes) == 1


@pytest.mark.parametrize("version", [4, 5])
def test_late_and_repeated_news_changes_nothing(version: int) -> None:
    known, _ = cache()
    known.apply("MODIFIED", item("a", 5, "new"))
    known.apply("MODIFIED", item("a", version, "old"))
    assert known.get(A) == "new"


def test_a_deleted_object_does_not_come_back() -> None:
    known, _ = cache()
    known.apply("ADDED", item("a", 1))
    known.apply("DELETED", item("a", 2))
    known.apply("MODIFIED", item("a", 3))
    listed(known, [item("a", 1)], "9")
    assert known.get(A) is None


def test_one_of_the_same_name_made_anew_takes_the_place_and_late_news_of_the_old_is_ignored() -> None:
    known, changes = cache()
    known.apply("ADDED", item("a", 1, "old", uid="1"))
    known.apply("ADDED", item("a", 5, "new", uid="2"))
    known.apply("DELETED", item("a", 6, "old", uid="1"))
    assert known.get(A) == "new"
    assert changes == [(A, None, "old"), (A, "old", None), (A, None, "new")]


def test_a_list_removes_what_it_lacks_but_nothing_newer_than_itself() -> None:
    known, _ = cache()
    known.apply("ADDED", item("missed", 1))
    known.apply("ADDED", item("fresh", 12))
    listed(known, [item("a", 3)], "10")
    assert set(known) == {A, ("n", "fresh")}


def test_a_list_does_not_set_back_what_is_newer() -> None:
    known, _ = cache()
    known.apply("MODIFIED", item("a", 12, "new"))
    listed(known, [item("a", 3, "old")], "10")
    assert known.get(A) == "new"


def test_what_cannot_be_read_is_as_if_it_were_not_there_and_harms_nobody() -> None:
    changes: list[Change] = []
    known = Cache[str]("Thing", lambda raw: str(raw["value"]["deep"]), lambda *each: changes.append(each))
    known.apply("ADDED", item("a", 1) | {"value": {"deep": 1}})
    known.apply("MODIFIED", item("a", 2) | {"value": 7})
    known.apply("ADDED", item("b", 3) | {"value": {"deep": 2}})
    assert changes == [(A, None, "1"), (A, "1", None), (("n", "b"), None, "2")]


events = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30), st.booleans()), max_size=40)


@given(events)
def test_in_any_order_the_newest_news_wins(news: list[tuple[str, int, bool]]) -> None:
    known, _ = cache()
    deleted: set[str] = set()
    newest: dict[str, int] = {}
    for name, version, gone in news:
        if gone:
            known.apply("DELETED", item(name, version))
            deleted.add(name)
        else:
            known.apply("MODIFIED", item(name, version, str(version)))
            if name not in deleted:
                newest[name] = max(version, newest.get(name, 0))
    wanted = {("n", name): str(version) for name, version in newest.items() if name not in deleted}
    assert {key: known.get(key) for key in known} == wanted
