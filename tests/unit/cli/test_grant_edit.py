"""A list of grants changes as the owner says and in no other place."""

import datetime as dt
import shlex

import pytest
from cli_workplace import NOW, a_task

from collabspace.api.dataset import Use
from collabspace.cli.errors import CommandError
from collabspace.cli.grant_edit import Wish, change_of_end, end_of, granted, has_ended, undo
from collabspace.cli.parameters import UseType
from collabspace.cli.revocation import lost, reading

OTHER = {"name": "other", "namespace": "other", "namespaceUID": "u-0", "uses": ["Train"], "profile": "p"}
LAB = {"name": "lab", "namespace": "lab", "namespaceUID": "u-1", "uses": ["Train"], "purpose": "names",
       "notAfter": "2026-12-31T23:59:59Z"}  # fmt: skip


def test_a_first_grant_is_bound_to_the_namespace_as_it_is() -> None:
    wish = Wish("lab", "lab", ("Train", "Evaluate"), not_after="2026-12-31T23:59:59Z", purpose="names")
    grants, verb = granted([OTHER], wish, "u-1", NOW)
    assert verb == "created"
    assert grants == [
        OTHER,
        {"name": "lab", "namespace": "lab", "namespaceUID": "u-1", "uses": ["Train", "Evaluate"],
         "purpose": "names", "notAfter": "2026-12-31T23:59:59Z"},
    ]  # fmt: skip


def test_the_same_grant_again_changes_nothing() -> None:
    assert granted([OTHER, LAB], Wish("lab", "lab", ("Train",)), "u-1", NOW)[0] == [OTHER, LAB]


def test_a_use_is_added_and_what_was_not_named_stays() -> None:
    grants, verb = granted([OTHER, LAB], Wish("lab", "lab", ("Evaluate",)), "u-1", NOW)
    assert verb == "configured"
    assert grants == [OTHER, LAB | {"uses": ["Train", "Evaluate"]}]


def test_a_grant_to_a_namespace_that_was_made_again_binds_to_the_new_one() -> None:
    assert granted([LAB], Wish("lab", "lab"), "u-2", NOW)[0][0]["namespaceUID"] == "u-2"


def test_never_takes_the_end_away() -> None:
    assert "notAfter" not in granted([LAB], Wish("lab", "lab", ends=False), "u-1", NOW)[0][0]


SOON = "2026-11-23T23:59:59Z"
ENDED = LAB | {"notAfter": "2026-11-22T11:00:00Z"}


@pytest.mark.parametrize(
    ("grant", "old"), [(LAB, "holds until 2026-12-31T23:59:59Z"), (LAB | {"notAfter": None}, "until it is revoked")]
)
def test_a_live_grant_ends_sooner_only_when_that_is_said(grant: dict[str, object], old: str) -> None:
    with pytest.raises(CommandError, match=f"{old}, and --until {SOON} is sooner. .*--shorten"):
        granted([grant], Wish("lab", "lab", not_after=SOON), "u-1", NOW)
    shortened, _ = granted([grant], Wish("lab", "lab", not_after=SOON, shorten=True), "u-1", NOW)
    assert shortened[0]["notAfter"] == SOON
    assert change_of_end([grant], shortened, "lab").endswith(f" -> {SOON}")


def test_the_same_end_and_a_later_one_need_no_more_words() -> None:
    for end, said in (("2026-12-31T23:59:59Z", ""), (later := "2027-01-31T00:00:00Z", f"{LAB['notAfter']} -> {later}")):
        after, _ = granted([OTHER, LAB], Wish("lab", "lab", not_after=end), "u-1", NOW)
        assert change_of_end([OTHER, LAB], after, "lab") == (f"until {said}" if said else "")
    created, _ = granted([OTHER], Wish("lab", "lab", ("Train",), not_after=SOON), "u-1", NOW)
    assert change_of_end([OTHER], created, "lab") == ""


def test_a_grant_that_has_ended_is_given_again_with_a_new_end_alone() -> None:
    with pytest.raises(CommandError, match=r"it ended at 2026-11-22T11:00:00Z\. Give --until"):
        granted([ENDED], Wish("lab", "lab", ("Train",)), "u-1", NOW)
    assert granted([ENDED], Wish("lab", "lab", not_after=SOON), "u-1", NOW)[0] == [LAB | {"notAfter": SOON}]
    assert "notAfter" not in granted([ENDED], Wish("lab", "lab", ends=False), "u-1", NOW)[0][0]


def test_a_name_that_another_namespace_has_is_refused() -> None:
    with pytest.raises(CommandError, match="lab is there already, for namespace lab"):
        granted([LAB], Wish("lab", "elsewhere", ("Train",)), "u-3", NOW)


def test_a_new_grant_without_a_use_is_refused() -> None:
    with pytest.raises(CommandError, match="needs a use"):
        granted([], Wish("lab", "lab"), "u-1", NOW)


@pytest.mark.parametrize(
    ("typed", "end"),
    [
        ("2026-12-31", "2026-12-31T23:59:59Z"),
        ("2026-11-22", "2026-11-22T23:59:59Z"),
        ("2026-12-31T18:00:00+02:00", "2026-12-31T16:00:00Z"),
        ("30d", "2026-12-22T12:00:00Z"),
        ("never", None),
    ],
)
def test_an_end_is_a_day_a_moment_a_length_or_never(typed: str, end: str | None) -> None:
    assert end_of(typed, NOW) == end


@pytest.mark.parametrize(
    "typed", ["yesterday", "", "31.12.2026", "2026-13-01", "2026-12-31T18:00:00", "0d", "2020-01-01", "9999999d"]
)
def test_an_end_that_is_past_or_not_to_be_understood_is_refused(typed: str) -> None:
    with pytest.raises(CommandError):
        end_of(typed, NOW)


def test_undoing_gives_the_same_grant_again() -> None:
    grant = LAB | {"name": "for-lab", "notAfter": "2026-12-31T23:59:59Z", "purpose": "find 'names'; rm -rf"}
    words = shlex.split(undo("notes", "hospital-a", grant))
    assert words == ["grants", "add", "notes", "-n", "hospital-a", "--to", "lab", "--use", "Train", "--until",
                     "2026-12-31T23:59:59Z", "--purpose", "find 'names'; rm -rf", "--name", "for-lab"]  # fmt: skip
    assert end_of(words[words.index("--until") + 1], NOW - dt.timedelta(days=1)) == grant["notAfter"]


def test_every_use_that_a_grant_can_hold_can_be_given_again() -> None:
    words = shlex.split(undo("notes", "hospital-a", LAB | {"uses": [use.value for use in Use], "notAfter": None}))
    given = [words[place + 1] for place, word in enumerate(words) if word == "--use"]
    assert [UseType().convert(use, None, None) for use in given] == list(Use)


def test_a_grant_whose_end_is_past_has_ended() -> None:
    assert has_ended(LAB | {"notAfter": "2026-11-22T12:00:00Z"}, NOW)
    assert not has_ended(LAB | {"notAfter": "2026-11-22T12:00:01Z"}, NOW)
    assert not has_ended({"name": "lab"}, NOW)


def test_a_use_that_another_grant_still_gives_is_not_lost() -> None:
    evaluates = LAB | {"name": "second", "uses": ["Evaluate"]}
    both = LAB | {"uses": ["Train", "Evaluate"]}
    assert lost("lab", [both], [evaluates, OTHER]) == {"Train"}
    assert lost("lab", [both], [OTHER]) == {"Train", "Evaluate"}
    assert lost("lab", [LAB | {"uses": ["Download", "Derive"]}], [both]) == frozenset()


def test_running_tasks_are_those_that_read_the_dataset_for_a_lost_use() -> None:
    tasks = [a_task("runs", reason="Training"), a_task("waits", reason="WaitingForQuota")]
    assert reading(tasks, ("hospital-a", "notes"), frozenset({"Train"})) == ["runs"]
    assert reading(tasks, ("hospital-a", "notes"), frozenset({"Evaluate"})) == []
    assert reading(tasks, ("hospital-c", "notes"), frozenset({"Train"})) == []
