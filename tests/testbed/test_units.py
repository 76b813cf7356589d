"""Quantities: texts that are read, and texts that are refused with advice."""

import math
import re
from fractions import Fraction

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
        ("250 µs", TIME, 250e-6),
        ("250 μs", TIME, 250e-6),  # the Greek letter, as many keyboards write it
        ("5\u00a0ms", TIME, 0.005),
        ("5\u202fms", TIME, 0.005),
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
        (60, PERIOD, "60 has no unit", "a bare number means seconds only in options such as --duration"),
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
        ("1 TB", MEMORY, "not a unit", "1 TB are 1000 GB"),
        ("10..2 ms", TIME, "downwards", "2..10 ms"),
        ("2 ms..10 ms", TIME, "'2 ms..10 ms' is not", "state the unit once"),
        ("2ms..10ms", TIME, "", "state the unit once"),
        ("", TIME, "is not a time", ""),
        ("fast", TIME, "'fast' is not a time", ""),
        ("1_000 ms", TIME, "is not a time", "separator"),
        ("1,000 ms", TIME, "is not a time", "separator"),
        ("1'000 ms", TIME, "is not a time", "separator"),
        ("1 000 ms", TIME, "is not a time", "separator"),
        ("1,5 s", TIME, "is not a time", "decimal point"),
        ("5. ms", TIME, "is not a time", "leave the point out"),
        ("0.1...5 /s", TASK_RATE, "'0.1...5 /s' is not a task rate", "0.1..5 /s or 0.1..0.5 /s"),
        ("0...5 ms", TIME, "'0...5 ms' is not a time", "0..5 ms or 0..0.5 ms"),
        ("1...4 /s", TASK_RATE, "is not a task rate", "1..4 /s or 1..0.4 /s"),
        ("2 .. 10 ms", TIME, "is not a time", "2..10 ms"),
        ("2-10 ms", TIME, "is not a time", "2..10 ms"),
        ("2 – 10 ms", TIME, "is not a time", "2..10 ms"),
        ("2 to 10 ms", TIME, "is not a time", "2..10 ms"),
        ("−5 ms", TIME, "must not be negative", ""),
        ("20 MB/s", BIT_RATE, "'MB/s' is not a unit", "a byte has eight bits: 20 MB/s are 160 Mbit/s"),
        ("2..4 MBps", BIT_RATE, "not a unit", "2..4 MBps are 16..32 Mbit/s"),
        ("1 MiB/s", BIT_RATE, "not a unit", "1 MiB/s are 8.388608 Mbit/s"),
        ("500 kB/s", BIT_RATE, "not a unit", "500 kB/s are 4 Mbit/s"),
        ("1 Gibit/s", BIT_RATE, "not a unit", "1 Gibit/s are 1073.741824 Mbit/s"),
        ("20 Mb/s", BIT_RATE, "not a unit", "did you mean Mbit/s? (b is a bit; a byte, B, has eight)"),
        ("20 Kbit/s", BIT_RATE, "not a unit", "did you mean kbit/s?"),
        ("2m", TIME, "'m' is not a unit", "did you mean min?"),
        ("2 seconds", TIME, "not a unit", "did you mean s?"),
        ("2 Milliseconds", TIME, "not a unit", "did you mean ms?"),
        ("5 ns", TIME, "not a unit", "5 ns are 0.005 us"),
        ("2 days", TIME, "not a unit", "2 days are 48 h"),
        ("50 percent", SHARE, "not a unit", "did you mean %?"),
        ("5 ‰", SHARE, "not a unit", "5 ‰ are 0.5 %"),
        ("3 Hz", TASK_RATE, "not a unit", "did you mean /s?"),
        ("3 1/s", TASK_RATE, "not a unit", "did you mean /s?"),
        ("3 s", TASK_RATE, "not a unit", "for example 3 /s"),
        ("512 MB/s", MEMORY, "not a unit", "for example 512 MiB"),
        ("512 Mbit", MEMORY, "not a unit", "a byte has eight bits: 512 Mbit are 64 MB"),
        ("512 Mb", MEMORY, "not a unit", "write MB"),
        ("64 KB", MEMORY, "not a unit", "write kB (1000"),
        ("512M", MEMORY, "not a unit", "or MiB (1024"),
        ("512 mib", MEMORY, "not a unit", "did you mean MiB?"),
        ("2 TiB", MEMORY, "not a unit", "2 TiB are 2048 GiB"),
        ("5 GFLOPS", COMPUTE_RATE, "not a unit", "did you mean GFLOP/s?"),
        ("1 PFLOP/s", COMPUTE_RATE, "not a unit", "1 PFLOP/s are 1000 TFLOP/s"),
        ("2 GMAC/s", COMPUTE_RATE, "not a unit", "2 GMAC/s are 4 GFLOP/s"),
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


# Pieces of quantities, right and wrong. The meaning of a combination is derived independently below.
_PIECES = (
    *("0", "1", "5", "10", ".5", "0.1", "1.5", "5.", "1e3", "2E-1", "1_0", "1,5", "\u0663"),
    *("..", "...", "-", "−", "–", " ", " ", ",", "x", "to", "inf", "nan"),
    *("s", "ms", "us", "µs", "μs", "m", "min", "h", "M", "MB", "MB/s", "Mb/s", "Mbit/s", "mbit/s", "kbit/s", "Kbit/s"),
    *("kB", "KB", "MiB", "GFLOP/s", "FLOP/s", "GFLOPS", "/s", "/min", "%", "‰", "seconds"),
)  # fmt: skip


def _meant(text: str, dimension: Dimension) -> tuple[Fraction, Fraction] | None:
    """Return the ends of the only quantity that `text` can mean; None if it means none, or could mean two."""
    unit = next((u for u in sorted(dimension.units, key=len, reverse=True) if text.rstrip().endswith(u)), None)
    if unit is None:
        return None
    numbers = text.rstrip().removesuffix(unit).strip(" ").split("..")
    if len(numbers) > 2 or any(re.search(r"[^0-9.eE+-]", number) for number in numbers):
        return None
    for place, number in enumerate(numbers):
        mantissa, _, exponent = number.lower().partition("e")
        whole, point, rest = mantissa.partition(".")
        digits = whole.isdigit() or (not whole and place == 0)
        if not digits or (point and not rest.isdigit()) or not (whole or point):
            return None
        if "e" in number.lower() and not re.fullmatch(r"[+-]?[0-9]+", exponent):
            return None
    factor = Fraction(str(dimension.units[unit]))
    low, high = Fraction(numbers[0]) * factor, Fraction(numbers[-1]) * factor
    return (low, high) if low <= high else None


@given(
    st.sampled_from(DIMENSIONS),
    st.one_of(
        st.lists(st.sampled_from(_PIECES), max_size=6).map("".join),
        st.tuples(*(st.sampled_from(_PIECES),) * 4).map("".join),
    ),
)
def test_what_is_read_can_be_read_in_one_way_only(dimension: Dimension, text: str) -> None:
    text = text.replace("μ", "µ")
    meant = _meant(text, dimension)
    within = meant is not None and meant[1] <= dimension.maximum and (meant[0] > 0 or dimension.allow_zero)
    if not within:
        with pytest.raises(QuantityError):
            parse_span(text, dimension)
        return
    assert meant is not None
    span = parse_span(text, dimension)
    assert span.low == pytest.approx(float(meant[0]), rel=1e-12)
    assert span.high == pytest.approx(float(meant[1]), rel=1e-12)


_UNITS_OF_OTHERS = ("B", "b", "bit", "byte", "Bytes", "bps", "Bps", "b/s", "B/s", "bit/s", "FLOPS", "MAC/s", "s", "m")


@given(
    st.sampled_from(DIMENSIONS),
    st.sampled_from(("", "k", "K", "M", "m", "G", "T", "P", "Ki", "Mi", "Ti", "n", "u", "d")),
    st.sampled_from(_UNITS_OF_OTHERS),
    st.sampled_from((1, 2, 512)),
)
def test_advice_never_changes_the_size_of_what_was_meant(
    dimension: Dimension, prefix: str, of: str, number: int
) -> None:
    unit = prefix + of
    if unit in dimension.units:
        return
    with pytest.raises(QuantityError) as caught:
        parse_span(f"{number} {unit}", dimension)
    worked_out = re.search(r" are ([0-9.e+-]+) (\S+)", caught.value.hint)
    proposed = re.search(r"did you mean (\S+)\?", caught.value.hint)
    binary = prefix.endswith("i")
    powers = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
    power = {"k": 2.0**10, "m": 2.0**20, "t": 2.0**40}[prefix[0].lower()] if binary else powers.get(prefix.lower())
    if dimension is BIT_RATE and (worked_out or proposed):
        assert power is not None
        bits = power * (8 if of.startswith("B") or "yte" in of else 1)
        if worked_out:
            assert float(worked_out[1]) * BIT_RATE.units[worked_out[2]] == pytest.approx(number * bits / 1e6)
        elif proposed:
            assert BIT_RATE.units[proposed[1]] * 1e6 == bits
    if dimension is TIME and proposed:  # the same time under another name
        assert proposed[1] == {"m": "min", "MS": "ms", "Ms": "ms", "mS": "ms"}.get(unit, unit.lower())
