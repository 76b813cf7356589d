"""Quantities: what is read, what is refused and with which advice."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.units import (
    BIT_RATE,
    COMPUTE_RATE,
    DIMENSIONS,
    MEMORY,
    PERIOD,
    SHARE,
    TASK_RATE,
    TIME,
    Dimension,
    QuantityError,
    Span,
    format_quantity,
    is_factor,
    parse_factor,
    parse_parameter,
    parse_quantity,
    parse_span,
    quantity_pattern,
)


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("20 Mbit/s", BIT_RATE, 20.0),
        ("1.5 Gbit/s", BIT_RATE, 1500.0),
        ("64kbit/s", BIT_RATE, 0.064),
        ("5 ms", TIME, 0.005),
        ("  250 us ", TIME, 250e-6),
        ("2 min", TIME, 120.0),
        ("0 ms", TIME, 0.0),
        (".5 s", TIME, 0.5),
        ("1e-3 s", TIME, 0.001),
        ("0.4 GFLOP/s", COMPUTE_RATE, 0.4e9),
        ("512 MiB", MEMORY, 512 * 2**20),
        ("1 GB", MEMORY, 1e9),
        ("3 /s", TASK_RATE, 3.0),
        ("30 /min", TASK_RATE, 0.5),
        ("1 %", SHARE, 0.01),
        ("0 %", SHARE, 0.0),
        ("100 %", SHARE, 1.0),
    ],
)
def test_reads_a_quantity_into_its_base_unit(text: str, dimension: Dimension, expected: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(expected, rel=1e-12)


def test_both_ends_of_a_range_share_the_unit() -> None:
    assert parse_span("2..10 ms", TIME) == Span(0.002, 0.01)
    assert parse_span("0.3..0.6 GFLOP/s", COMPUTE_RATE) == Span(0.3e9, 0.6e9)
    assert parse_span("2..2 /s", TASK_RATE) == Span(2.0, 2.0)
    assert parse_span("5 ms", TIME) == Span(0.005, 0.005)


@pytest.mark.parametrize(
    ("text", "dimension", "said", "advised"),
    [
        ("20", BIT_RATE, "20 has no unit", "20 Mbit/s"),
        (20, BIT_RATE, "20 has no unit", "20 Mbit/s"),
        (0.5, TIME, "0.5 has no unit", "5 ms"),
        ("2..10", TIME, "2..10 has no unit", "ms"),
        ("-5 ms", TIME, "must not be negative", ""),
        ("-5..10 ms", TIME, "must not be negative", ""),
        (-5, TIME, "must not be negative", ""),
        ("0 Mbit/s", BIT_RATE, "must be above zero", ""),
        ("0..5 /s", TASK_RATE, "must be above zero", ""),
        ("0 s", PERIOD, "must be above zero", ""),
        ("1e-400 /s", TASK_RATE, "must be above zero", ""),
        ("nan ms", TIME, "finite", ""),
        ("inf Mbit/s", BIT_RATE, "finite", ""),
        (math.inf, TIME, "finite", ""),
        (math.nan, TIME, "finite", ""),
        ("1e999 ms", TIME, "too large", "the most is"),
        ("101 %", SHARE, "too large", "100 %"),
        ("20 Mbps", BIT_RATE, "not a unit", "Mbit/s"),
        ("20 mbit/s", BIT_RATE, "not a unit", "did you mean Mbit/s?"),
        ("5 MS", TIME, "not a unit", "did you mean ms?"),
        ("1 TB", MEMORY, "not a unit", "MB"),
        ("10..2 ms", TIME, "downwards", "2..10 ms"),
        ("2 ms..10 ms", TIME, "'2 ms..10 ms' is not", "state the unit once"),
        ("2ms..10ms", TIME, "", "state the unit once"),
        ("", TIME, "is not a time", ""),
        ("fast", TIME, "'fast' is not a time", ""),
        ("1_000 ms", TIME, "not a unit", ""),
        ("١ ms", TIME, "is not a time", ""),
        (True, TIME, "is needed", ""),
        (None, TIME, "is needed", ""),
        (["5 ms"], TIME, "is needed", ""),
    ],
)
def test_refuses_with_clear_words(text: object, dimension: Dimension, said: str, advised: str) -> None:
    with pytest.raises(QuantityError) as caught:
        parse_span(text, dimension)
    assert said in str(caught.value)
    assert caught.value.hint
    assert advised in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_range_is_refused_where_one_value_is_needed() -> None:
    with pytest.raises(QuantityError, match="range"):
        parse_quantity("2..10 ms", TIME)
    with pytest.raises(QuantityError, match="range"):
        parse_quantity("2..2 ms", TIME)


def test_a_long_text_is_shortened_in_the_message() -> None:
    with pytest.raises(QuantityError) as caught:
        parse_span("x" * 100_000, TIME)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("text", "factor"), [("x0.33", 0.33), ("x1", 1.0), ("× 2", 2.0), (" x1e1 ", 10.0)])
def test_reads_a_factor(text: str, factor: float) -> None:
    assert is_factor(text)
    assert parse_factor(text) == factor


@pytest.mark.parametrize("text", ["x0", "x-1", "x", "xinf", "x1e9", "x 2 ms"])
def test_refuses_an_impossible_factor(text: str) -> None:
    with pytest.raises(QuantityError, match="factor"):
        parse_factor(text)


def test_a_quantity_is_no_factor() -> None:
    assert not is_factor("2 ms")
    assert not is_factor(3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2 s", 2.0),
        ("1 %", 0.01),
        ("5 Mbit/s", 5.0),
        (3, 3),
        (0.5, 0.5),
        (True, True),
        ("fresh", "fresh"),
        (-2, -2),
    ],
)
def test_reads_a_policy_parameter(value: object, expected: object) -> None:
    read = parse_parameter(value)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize("value", ["2 sec", "2..3 s", "-2 s", math.nan, math.inf, None, [1]])
def test_refuses_a_parameter_that_is_nearly_a_quantity(value: object) -> None:
    with pytest.raises(QuantityError):
        parse_parameter(value)


def _values(dimension: Dimension) -> st.SearchStrategy[float]:
    return st.floats(min_value=dimension.maximum * 1e-15, max_value=dimension.maximum)


@given(st.sampled_from(DIMENSIONS).flatmap(lambda dimension: st.tuples(st.just(dimension), _values(dimension))))
def test_a_formatted_quantity_reads_back(drawn: tuple[Dimension, float]) -> None:
    dimension, value = drawn
    text = format_quantity(value, dimension)
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-12)
    assert re.match(quantity_pattern(dimension), text)


@given(
    st.sampled_from(DIMENSIONS),
    st.floats(min_value=1e-3, max_value=1),
    st.floats(min_value=1, max_value=10),
    st.data(),
)
def test_a_range_reads_as_its_ends_do(dimension: Dimension, low: float, high: float, data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(sorted(set(dimension.units) - {"h"})))
    span = parse_span(f"{low!r}..{high!r} {unit}", dimension)
    assert span.low == parse_quantity(f"{low!r} {unit}", dimension)
    assert span.high == parse_quantity(f"{high!r} {unit}", dimension)


@given(st.sampled_from(DIMENSIONS), st.data())
def test_any_text_is_read_or_refused_and_the_pattern_agrees(dimension: Dimension, data: st.DataObject) -> None:
    likely = st.from_regex(quantity_pattern(dimension), fullmatch=True)  # of any other text hardly one is read
    text = data.draw(st.one_of(st.text(max_size=80), likely))
    try:
        span = parse_span(text, dimension)
    except QuantityError:
        return
    assert 0 <= span.low <= span.high <= dimension.maximum
    assert re.match(quantity_pattern(dimension), text)
