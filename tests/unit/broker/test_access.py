"""The rule of data as a table: each row is a sentence."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabspace.api.dataset import GrantState, SharedDataset, Use
from collabspace.broker.access import Allowed, Asker, Denied, Why, decide
from collabspace.core.grants import state

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
LAB = Asker("lab", "uid-lab")


def dataset(*grants: dict[str, Any]) -> SharedDataset:
    return SharedDataset.model_validate(
        {
            "metadata": {"name": "notes", "namespace": "hospital", "uid": "uid-notes"},
            "spec": {"format": "TokenClassification", "grants": list(grants)},
        }
    )


def grant(**changes: Any) -> dict[str, Any]:
    full = {"name": "g", "namespace": "lab", "namespaceUID": "uid-lab", "uses": ["Train"], **changes}
    return {key: value for key, value in full.items() if value is not None}


ALLOWED = {
    "a grant for this namespace, its uid and this use": (LAB, dataset(grant()), Use.TRAIN, "g"),
    "a grant whose end is still to come": (LAB, dataset(grant(notAfter="2026-06-01T12:00:01Z")), Use.TRAIN, "g"),
    "an end in another time zone is understood": (
        LAB,
        dataset(grant(notAfter="2026-06-01T13:30:00+01:00")),
        Use.TRAIN,
        "g",
    ),
    "one of several grants covers it": (
        LAB,
        dataset(grant(name="old", notAfter="2020-01-01T00:00:00Z"), grant(name="new")),
        Use.TRAIN,
        "new",
    ),
    "download by a grant that says so": (LAB, dataset(grant(uses=["Download"])), Use.DOWNLOAD, "g"),
    "the owner's own namespace needs no grant": (Asker("hospital", "uid-hospital"), dataset(), Use.TRAIN, None),
    "the owner's own people may download": (Asker("hospital", "uid-hospital"), dataset(), Use.DOWNLOAD, None),
}

DENIED = {
    "no such dataset": (LAB, None, Use.TRAIN, Why.NOT_FOUND),
    "no grant at all": (LAB, dataset(), Use.TRAIN, Why.GRANT_MISSING),
    "a grant for another namespace": (LAB, dataset(grant(namespace="other")), Use.TRAIN, Why.GRANT_MISSING),
    "a grant for a longer name of the same beginning": (
        LAB,
        dataset(grant(namespace="lab2")),
        Use.TRAIN,
        Why.GRANT_MISSING,
    ),
    "a grant for a shorter name of the same beginning": (
        Asker("lab2", "uid-lab"),
        dataset(grant()),
        Use.TRAIN,
        Why.GRANT_MISSING,
    ),
    "a grant that was never bound to a uid": (LAB, dataset(grant(namespaceUID=None)), Use.TRAIN, Why.GRANT_NOT_BOUND),
    "a namespace made again under the same name": (
        Asker("lab", "uid-later"),
        dataset(grant()),
        Use.TRAIN,
        Why.NAMESPACE_REPLACED,
    ),
    "a namespace that is gone": (Asker("lab", None), dataset(grant()), Use.TRAIN, Why.NAMESPACE_REPLACED),
    "the owner's namespace that is gone": (Asker("hospital", None), dataset(), Use.TRAIN, Why.NAMESPACE_REPLACED),
    "a grant that ended a second ago": (
        LAB,
        dataset(grant(notAfter="2026-06-01T11:59:59Z")),
        Use.TRAIN,
        Why.GRANT_EXPIRED,
    ),
    "a grant that ends this very instant": (
        LAB,
        dataset(grant(notAfter="2026-06-01T12:00:00Z")),
        Use.TRAIN,
        Why.GRANT_EXPIRED,
    ),
    "a grant whose end cannot be read": (LAB, dataset(grant(notAfter="next year")), Use.TRAIN, Why.GRANT_EXPIRED),
    "a grant whose end has no time zone": (
        LAB,
        dataset(grant(notAfter="2027-01-01T00:00:00")),
        Use.TRAIN,
        Why.GRANT_EXPIRED,
    ),
    "training under a grant to evaluate": (LAB, dataset(grant(uses=["Evaluate"])), Use.TRAIN, Why.USE_NOT_GRANTED),
    "evaluating under a grant to train": (LAB, dataset(grant()), Use.EVALUATE, Why.USE_NOT_GRANTED),
    "downloading under a grant to train and evaluate": (
        LAB,
        dataset(grant(uses=["Train", "Evaluate"])),
        Use.DOWNLOAD,
        Why.USE_NOT_GRANTED,
    ),
    "two grants that only together would cover it": (
        LAB,
        dataset(grant(name="a", uses=["Evaluate"]), grant(name="b", notAfter="2020-01-01T00:00:00Z")),
        Use.TRAIN,
        Why.USE_NOT_GRANTED,
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_allowed_is(case: str) -> None:
    asker, data, use, name = ALLOWED[case]
    answer = decide(asker, data, use, NOW)
    assert isinstance(answer, Allowed)
    assert (answer.grant.name if answer.grant else None) == name


@pytest.mark.parametrize("case", DENIED)
def test_refused_is(case: str) -> None:
    asker, data, use, why = DENIED[case]
    assert decide(asker, data, use, NOW) == Denied(why)


def test_every_use_but_the_granted_one_is_refused() -> None:
    for granted in Use:
        for wanted in Use:
            answer = decide(LAB, dataset(grant(uses=[granted])), wanted, NOW)
            assert isinstance(answer, Allowed) == (granted is wanted), (granted, wanted)


GRANTS = st.fixed_dictionaries(
    {
        "name": st.just("g"),
        "namespace": st.sampled_from(["lab", "lab2", "other"]),
        "uses": st.lists(st.sampled_from(list(Use)), min_size=1, max_size=5, unique=True),
    },
    optional={
        "namespaceUID": st.sampled_from(["uid-lab", "uid-before"]),
        "notAfter": st.sampled_from(["2026-06-01T12:00:00Z", "2026-06-01T12:00:01Z", "2020-01-01T00:00:00Z", "soon"]),
    },
)


@given(st.lists(GRANTS, max_size=4), st.sampled_from(list(Use)))
def test_the_brokers_rule_and_the_operators_advice_agree(grants: list[dict[str, Any]], use: Use) -> None:
    data = dataset(*grants)
    advised = any(
        grant.namespace == "lab" and use in grant.uses and state(grant, {"lab": "uid-lab"}, NOW) is GrantState.ACTIVE
        for grant in data.spec.grants
    )
    assert isinstance(decide(LAB, data, use, NOW), Allowed) == advised
