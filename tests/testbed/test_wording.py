"""Figures as text: one format for each kind."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.wording import (
    clock,
    counted,
    interval,
    milliseconds,
    number,
    percent,
    rough_percent,
    rough_time,
    seconds,
    short_time,
    side_by_side,
)


def test_what_does_not_exist_is_a_dash_without_a_unit():
    assert [number(None, ".1f"), percent(None), seconds(None), milliseconds(None), short_time(None)] == ["-"] * 5
    assert side_by_side([0.5, None], ".0f", 1e2) == "50 / -"


def test_units_follow_after_a_space():
    assert percent(0.1234) == "12.3 %"
    assert percent(-0.02, "+.0f") == "-2 %"
    assert milliseconds(0.0123) == "12 ms"
    assert milliseconds(0.0123, "g") == "12.3 ms"
    assert seconds(2.29951) == "2.300 s"
    assert number(1.5e9, ".1f", 1e-9) == "1.5"


def test_an_interval_stands_in_brackets_where_there_is_one():
    assert interval(0.254, -0.1, 0.3, ".1f", 1e2) == "25.4 [-10.0, 30.0]"
    assert interval(0.254, None, None, ".1f", 1e2) == "25.4"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.00084, "0.084 %"), (0.0099, "0.99 %"), (0.098, "9.8 %"), (0.0996, "10 %"), (0.623, "62 %"),
     (1.5, "150 %")],
)  # fmt: skip
def test_a_rough_share_has_two_digits(share, text):
    assert rough_percent(share) == text


@given(st.floats(0.001, 9.9))
def test_a_rough_share_is_right_to_its_two_digits(share):
    assert math.isclose(float(rough_percent(share).removesuffix(" %")) / 1e2, share, rel_tol=0.051)


def test_where_there_is_little_room_long_times_are_in_seconds():
    assert [short_time(time_s) for time_s in (0.0, 0.5, 9.999, 9.9996, 123.4)] == [
        "0 ms", "500 ms", "9999 ms", "10.0 s", "123.4 s"
    ]  # fmt: skip


def test_an_estimated_time_is_in_the_unit_that_suits_it():
    assert [rough_time(time_s) for time_s in (0.0, 89.0, 240.0, 6120.0)] == ["1 s", "89 s", "4 min", "1.7 h"]


def test_clock():
    assert [clock(time_s) for time_s in (0.0, 59.9, 60.0, 3601.0)] == ["0:00", "0:59", "1:00", "60:01"]


def test_one_of_a_kind_has_no_plural():
    assert [counted(count, "task") for count in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
    assert counted(2, "switch", "es") == "2 switches"
