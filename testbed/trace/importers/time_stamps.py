"""Time stamps of other people's traces: seconds, their fractions, or ISO dates, as whole microseconds."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from node_agent.errors import InputError
from testbed.trace.importers.contract import TICKS_PER_S, Axis, TimeUnit
from testbed.units import TIME, QuantityError, parse_quantity

MOST_TICKS = 4 * 10**17  # 12,000 years: more is a wrong unit
_PER_S: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# Numbers from here on count from 1970, in ever smaller units; smaller ones are seconds.
_LEAST_OF: tuple[tuple[float, TimeUnit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (0.0, "s"))
_LEAST_EPOCH_S = 1e8  # March 1973: larger numbers of seconds are dates
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUFFIX = re.compile(r"[_\s(\[](s|sec|seconds|ms|msec|us|ns)[)\]]?$", re.IGNORECASE)
_UNITS: dict[str, TimeUnit] = {
    "s": "s", "sec": "s", "seconds": "s", "ms": "ms", "msec": "ms", "us": "us", "ns": "ns",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clock:
    """The way in which a column states times."""

    axis: Axis
    unit: TimeUnit
    read: Callable[[str], int]

    @property
    def words(self) -> str:
        """The reading in words, for people."""
        if self.unit == "iso":
            return "dates, without a zone taken as UTC"
        return f"{self.unit} since 1970" if self.axis == "dates" else f"{self.unit} since the beginning"


def clock_of(unit: TimeUnit, name: str, first: str) -> Clock:
    """Return the clock of a column, by the stated unit, the name of the column, or its first value.

    Raises:
        ValueError: the first value is no time.
    """
    number = _number(first)
    if unit == "auto":
        suffix = _SUFFIX.search(name)
        if number is None:
            unit = "iso"
        elif suffix is not None:
            unit = _UNITS[suffix[1].lower()]
        else:
            unit = next(each for least, each in _LEAST_OF if abs(number) >= least)
    if unit == "iso":
        zoned = _date(first).tzinfo is not None
        return Clock("dates", "iso", lambda text: _ticks(_date(text, zoned=zoned)))
    if number is None:
        raise ValueError("not a number")
    per_s = _PER_S[unit]
    axis: Axis = "dates" if abs(number) * per_s >= _LEAST_EPOCH_S else "seconds"
    return Clock(axis, unit, _reader(per_s))


def _reader(per_s: float) -> Callable[[str], int]:
    factor = TICKS_PER_S * per_s

    def read(text: str) -> int:
        number = _number(text)
        if number is None:
            raise ValueError("not a number")
        ticks = number * factor
        if not -MOST_TICKS < ticks < MOST_TICKS:
            raise ValueError("beyond any date: is its unit right?")
        return round(ticks)

    return read


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _date(text: str, *, zoned: bool | None = None) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    except ValueError:
        raise ValueError("neither a number nor a date such as 2023-11-16 18:15:46.68") from None
    if text.strip().endswith(" UTC"):
        found = found.replace(tzinfo=UTC)
    if zoned is not None and (found.tzinfo is not None) != zoned:
        raise ValueError(f"a date with{'out' if zoned else ''} a zone, after dates with{'' if zoned else 'out'} one")
    return found


def _ticks(date: datetime) -> int:
    since = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * TICKS_PER_S + since.microseconds


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a source's time: [start, end), in microseconds on its axis; None: open."""

    start: int | None = None
    end: int | None = None
    axis: Axis | None = None  # None: both ends are open

    def suits(self, axis: Axis) -> None:
        """Raise InputError if the window is stated on the other axis."""
        if self.axis is not None and self.axis != axis:
            dates = "--window '2023-11-16 18:20..2023-11-16 18:50'"
            seconds = "--window 600..1200, or '10 min..20 min'"
            found = "dates" if axis == "dates" else "counted from the beginning"
            raise InputError(f"the times of this trace are {found}", hint=dates if axis == "dates" else seconds)


ALL_TIMES = Window()


def window_from(text: str) -> Window:
    """Read a window, `START..END`: dates, seconds, or times with a unit; either end may be missing.

    Raises:
        InputError: the text is no window.

    >>> window_from("10 min..1200")
    Window(start=600000000, end=1200000000, axis='seconds')
    """
    start_text, dots, end_text = (part.strip() for part in text.partition(".."))
    hint = "for example 600..1200, '10 min..20 min' or '2023-11-16 18:20..2023-11-16 18:50'"
    if not dots or not (start_text or end_text):
        raise InputError(f"{text[:60]!r} is no window START..END", hint=hint)
    ends = [_end(part, hint) if part else None for part in (start_text, end_text)]
    axes = {end[1] for end in ends if end is not None}
    if len(axes) > 1:
        raise InputError(f"{text[:60]!r} mixes a date and a number of seconds", hint=hint)
    start, end = (None if found is None else found[0] for found in ends)
    if start is not None and end is not None and not start < end:
        raise InputError(f"the window {text[:60]!r} ends before it begins", hint=hint)
    return Window(start, end, axes.pop())


def _end(text: str, hint: str) -> tuple[int, Axis]:
    number = _number(text)
    try:
        if number is not None:
            return _checked(round(number * TICKS_PER_S)), "dates" if number >= _LEAST_EPOCH_S else "seconds"
        if re.fullmatch(r"[\d.eE+-]+\s*[a-zµ]+", text):
            return _checked(round(parse_quantity(text, TIME) * TICKS_PER_S)), "seconds"
        return _ticks(_date(text)), "dates"
    except QuantityError as error:
        raise InputError(f"{text[:60]!r} is no time: {error}", hint=error.hint) from None
    except (ValueError, OverflowError):
        raise InputError(f"{text[:60]!r} is neither a date nor a number of seconds", hint=hint) from None


def _checked(ticks: int) -> int:
    if not abs(ticks) < MOST_TICKS:
        raise ValueError("beyond any date")
    return ticks
