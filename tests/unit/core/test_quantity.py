"""Quantities are exact."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabspace.core.quantity import Amount, amount, cpus, gibibytes, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("4", 4),
        ("500m", Decimal("0.5")),
        ("1.5", Decimal("1.5")),
        ("16Gi", 16 * 2**30),
        ("1k", 1000),
        ("2M", 2_000_000),
        ("1e3", 1000),
        ("12E", 12 * 10**18),
        ("100n", Decimal("1e-7")),
    ],
)
def test_a_quantity_means_a_number(text: str, wanted: Decimal) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "-1", "1 Gi", "1gi", "nan", "1e999", "9" * 50, "1Gi\n2"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse(text)


def test_an_amount_rounds_up_so_that_nothing_is_promised_twice() -> None:
    assert amount(cpu="100u", memory="1500m", gpu="1") == Amount(1, 1, 2)


def test_amounts_read_like_people_write_them() -> None:
    assert str(amount(cpu="1500m", memory="16Gi", gpu="2")) == "2 GPU, 1.5 CPU, 16 GiB memory"
    assert (cpus(4000), cpus(250), gibibytes(2**29)) == ("4", "0.25", "0.5")


whole = st.integers(0, 1000)
amounts = st.builds(Amount, whole, whole, whole)


@given(amounts, amounts)
def test_what_is_taken_and_given_back_leaves_no_trace(one: Amount, other: Amount) -> None:
    assert (one + other) - other == one
    assert one.fits(one + other)
