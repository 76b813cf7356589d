"""Factors multiply quantities, ranges and numbers exactly, and nothing else."""

from decimal import Decimal

import pytest

from testbed.topology.overrides.factors import decimal_text, read_factor, times
from testbed.units import QuantityError


@pytest.mark.parametrize(
    ("stated", "factor", "product"),
    [
        ("3 /s", "1.2", "3.6 /s"),  # not 3.5999999999999996
        ("0.8..1.2 /s", "1.2", "0.96..1.44 /s"),
        (".5..1 ms", "2", "1..2 ms"),
        ("50 %", "1.5", "75 %"),
        ("1e-9 s", "1e-9", "1E-18 s"),
        ("0.7", "2", "1.4"),
        (3, "2", 6),
        (3, "1.5", 4.5),
        (2.5, "2", 5),
        (0.1, "3", 0.3),
    ],
)
def test_products(stated, factor, product):
    found = times(stated, Decimal(factor))
    assert (found, type(found)) == (product, type(product))


@pytest.mark.parametrize("stated", ["near", "x0.5", True, None, [1], {"a": 1}, "1..2..3 s", ""])
def test_what_is_no_quantity_is_refused(stated):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its argument is the value
        times(stated, Decimal(2))
    assert refused.value.args == (stated,)


def test_factors_are_read_exactly_and_within_bounds():
    assert read_factor("x0.1") == Decimal("0.1")
    assert read_factor(" × 1.5 ") == Decimal("1.5")
    for text in ("x0", "x-1", "x2e6", "x", "2"):
        with pytest.raises(QuantityError):
            read_factor(text)


def test_numbers_are_written_as_topologies_state_them():
    assert [decimal_text(Decimal(text)) for text in ("3.600", "100", "1e30", "1e-30")] == [
        "3.6",
        "100",
        "1E+30",
        "1E-30",
    ]
