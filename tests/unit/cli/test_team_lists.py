"""Lists of what a team may use and of its aliases say what the broker told, a row for each grant and alias."""

import pytest
from cli_workplace import NOW, collab

from collabspace.cli import alias_list, dataset_list
from collabspace.cli.output import text_of
from collabspace.client.protocol import AliasState, DatasetOffer, GrantOffer, Standing

DIGEST, OLDER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def cells(dataset: DatasetOffer) -> list[list[str]]:
    return [[text_of(cell) for cell in row] for row in dataset_list.rows_of(dataset, NOW)]


def test_a_granted_dataset_has_a_row_for_each_grant() -> None:
    grants = [
        GrantOffer(name="g", uses=["Train", "Evaluate"], purpose="joint", not_after="2027-01-01T00:00:00Z"),
        GrantOffer(name="h", uses=["Download"], ended=True),
    ]
    offered = DatasetOffer(
        namespace="hospital-a", name="notes", format="TokenClassification", version=DIGEST,
        created_time="2026-11-22T10:00:00Z", records=600, grants=grants,
    )  # fmt: skip
    common = ["hospital-a", "notes", "TokenClassification", "a" * 12, "600", "120m"]
    assert cells(offered) == [
        [*common, "Train,Evaluate", "2027-01-01T00:00:00Z", "joint", ""],
        [*common, "ended", "-", "", ""],
    ]


def test_an_own_dataset_needs_no_grant_and_may_have_no_version_yet() -> None:
    offered = DatasetOffer(namespace="lab", name="own", format="Tabular", unready="NoVersion")
    assert cells(offered) == [["lab", "own", "Tabular", "-", "", "", "own", "", "", ""]]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("uid-1/promotion", "selection sentiment"),
        ("uid-2/promotion", "a selection that is gone"),
        ("person/0f2c", "a person"),
    ],
)
def test_an_alias_says_what_it_stands_for_since_when_by_whom_and_what_it_was(key: str, said: str) -> None:
    state = AliasState(
        namespace="lab", namespace_uid="u", alias="production", task_uid="t", task="sentiment-linear", digest=DIGEST,
        promoted_time="2026-11-22T11:58:00.123456Z", keys=[key], previous=[OLDER],
        last=Standing(task_uid="s", task="first", digest=OLDER),
    )  # fmt: skip
    shown = [text_of(cell) for cell in alias_list.row(state, {"uid-1": "sentiment"})]
    assert shown == [
        "production", "sentiment-linear", "a" * 12, "2026-11-22T11:58:00Z", said, f"first ({'b' * 12})",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [("-A",), ("-w",), ("-l", "a=b"), ("-o", "wide")])
def test_options_of_tasks_do_not_go_with_datasets(words: tuple[str, ...]) -> None:
    refused = collab("list", "datasets", *words)
    assert refused.exit_code == 2
    assert "list datasets takes -n and -o json, yaml or name alone" in refused.stderr
