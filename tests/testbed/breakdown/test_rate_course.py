"""Rates that change: what is done in a span, and when an amount is done."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from testbed.breakdown.rate_course import RateCourse


def course() -> RateCourse:
    found = RateCourse(10.0)
    found.change_rate(2.0, 1.0)
    found.change_rate(4.0, 20.0)
    return found


def test_amounts_and_ends():
    assert course().amount(1.0, 5.0) == pytest.approx(10 + 2 + 20)
    assert course().end_of(1.0, 32.0) == (pytest.approx(5.0), 2)
    assert course().end_of(1.0, 10.0) == (2.0, 0), "a change at the end no longer counts"
    assert course().end_of(2.0, 1.0) == (3.0, 1)
    assert course().rate_at(3.9) == 1.0
    assert course().faster(2.0).end_of(1.0, 32.0)[0] == pytest.approx(4.0 + 8 / 40)
    assert RateCourse(4.0).end_of(7.0, 2.0) == (7.5, 0)


@given(some.floats(0, 6), some.floats(0.01, 100))
def test_an_amount_takes_until_it_is_done(from_s, amount):
    end_s, _ = course().end_of(from_s, amount)
    assert course().amount(from_s, end_s) == pytest.approx(amount, rel=1e-6)
