"""Readers of time stamps and windows."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.trace.importers.contract import TimeUnit
from testbed.trace.importers.time_stamps import Window, clock_of, window_from


def ticks_of(text: str, *, name: str = "time", unit: TimeUnit = "auto") -> int:
    return clock_of(unit, name, text).read(text)


@pytest.mark.parametrize(
    ("text", "name", "unit", "ticks", "axis"),
    [
        ("12.5", "time", "auto", 12_500_000, "seconds"),
        ("12.5", "time_ms", "auto", 12_500, "seconds"),
        ("12", "t (us)", "auto", 12, "seconds"),
        ("12.5", "time_ms", "s", 12_500_000, "seconds"),
        ("1700000000.25", "timestamp", "auto", 1_700_000_000_250_000, "dates"),
        ("1700000000250", "timestamp", "auto", 1_700_000_000_250_000, "dates"),
        ("1700000000250000", "timestamp", "auto", 1_700_000_000_250_000, "dates"),
        ("1700000000250000512", "timestamp", "auto", 1_700_000_000_250_000, "dates"),
        ("1e3", "time", "auto", 10**9, "seconds"),
        ("-2", "time", "auto", -2_000_000, "seconds"),
        ("2023-11-16 18:17:03.9799600", "TIMESTAMP", "auto", 1_700_158_623_979_960, "dates"),
        ("2023-11-16T18:17:03Z", "time", "auto", 1_700_158_623_000_000, "dates"),
        ("2023-11-16T20:17:03+02:00", "time", "iso", 1_700_158_623_000_000, "dates"),
        ("2023-11-16 18:17:03 UTC", "time", "auto", 1_700_158_623_000_000, "dates"),
        ("2023-11-16", "time", "auto", 1_700_092_800_000_000, "dates"),
    ],
)
def test_a_time_stamp(text: str, name: str, unit: TimeUnit, ticks: int, axis: str) -> None:
    clock = clock_of(unit, name, text)
    assert clock.axis == axis
    assert clock.read(text) == pytest.approx(ticks, abs=1)


@given(st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)))
def test_dates_are_exact_to_the_microsecond(date: datetime) -> None:
    expected = round(date.replace(tzinfo=UTC, microsecond=0).timestamp()) * 10**6 + date.microsecond
    assert ticks_of(date.isoformat(sep=" ")) == expected
    assert ticks_of(date.isoformat() + "+01:00") == expected - 3600 * 10**6


def test_dates_with_and_without_a_zone_are_not_mixed() -> None:
    for first, second, said in (
        ("2023-11-16 18:17", "2023-11-16 18:17Z", "with a zone, after dates without one"),
        ("2023-11-16 18:17Z", "2023-11-16 18:17", "without a zone, after dates with one"),
    ):
        with pytest.raises(ValueError, match=said):
            clock_of("auto", "time", first).read(second)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1e400", "1_000", "abc", "99999999999999999999", "0x10"])
def test_no_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a number|beyond any date|neither a number nor a date"):
        clock_of("auto", "time", "5").read(text)


@example("NAN")
@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    for first in ("5", text):
        with suppress(ValueError):
            assert isinstance(clock_of("auto", "time", first).read(text), int)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("600..1200", Window(600_000_000, 1_200_000_000, "seconds")),
        ("10 min..1200 s", Window(600_000_000, 1_200_000_000, "seconds")),
        (" ..0.5 ", Window(None, 500_000, "seconds")),
        ("1h..", Window(3_600_000_000, None, "seconds")),
        (
            "2023-11-16 18:20..2023-11-16 18:50:00.5",
            Window(1_700_158_800_000_000, 1_700_160_600_500_000, "dates"),
        ),
        ("1700158800..", Window(1_700_158_800_000_000, None, "dates")),
        ("2023-11-16T20:20+02:00..", Window(1_700_158_800_000_000, None, "dates")),
    ],
)
def test_a_window(text: str, window: Window) -> None:
    assert window_from(text) == window


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no window START..END"),
        ("..", "is no window START..END"),
        ("600", "is no window START..END"),
        ("600-1200", "is no window START..END"),
        ("1200..600", "ends before it begins"),
        ("600..600", "ends before it begins"),
        ("600..2023-11-16", "mixes a date and a number"),
        ("soon..later", "'soon' is neither a date nor a number of seconds"),
        ("5 parsecs..", "'5 parsecs' is no time"),
        ("nan..5", "neither a date nor"),
        ("1e300..", "neither a date nor"),
    ],
)
def test_no_window(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace(".", r"\.")) as caught:
        window_from(text)
    assert caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_a_window_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert window_from(text).axis is not None


def test_a_window_of_the_other_kind_of_times_is_refused() -> None:
    with pytest.raises(InputError, match="times of this trace are dates"):
        window_from("0..600").suits("dates")
    with pytest.raises(InputError, match="counted from the beginning"):
        window_from("2023-11-16..").suits("seconds")
    Window().suits("dates")
