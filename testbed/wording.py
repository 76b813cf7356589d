"""Figures in words: the formats of numbers, shares, times and counts in all that people read.

A figure that does not exist is `-`. Its unit follows after a space: `12.5 %`, `40 ms`. `form` is Python's format
specification of the number alone.
"""

from collections.abc import Iterable


def number(value: float | None, form: str, factor: float = 1.0) -> str:
    """A number times `factor`."""
    return "-" if value is None else format(value * factor, form)


def interval(mean: float, low: float | None, high: float | None, form: str, factor: float = 1.0) -> str:
    """A mean with its interval, if there is one, all times `factor`: `12.5 [11.9, 13.0]`."""
    text = number(mean, form, factor)
    if low is None or high is None:
        return text
    return f"{text} [{number(low, form, factor)}, {number(high, form, factor)}]"


def side_by_side(values: Iterable[float | None], form: str, factor: float = 1.0) -> str:
    """Numbers that belong together, such as a share for each stage: `55 / 33 / 12`."""
    return " / ".join(number(value, form, factor) for value in values)


def percent(share: float | None, form: str = ".1f") -> str:
    """A share (0..1) in per cent."""
    return _with_unit(share, form, 1e2, "%")


def rough_percent(share: float) -> str:
    """A share (0..1) in per cent, to two digits: `0.84 %`, `9.8 %`, `62 %`."""
    return percent(share, ".2g" if share < 0.0995 else ".0f")


def seconds(time_s: float | None, form: str = ".3f") -> str:
    """A time [s] in seconds."""
    return _with_unit(time_s, form, 1.0, "s")


def milliseconds(time_s: float | None, form: str = ".0f") -> str:
    """A time [s] in milliseconds."""
    return _with_unit(time_s, form, 1e3, "ms")


def short_time(time_s: float | None) -> str:
    """A time [s] where there is little room: in ms up to ten seconds, else in s."""
    return milliseconds(time_s) if time_s is None or time_s < 9.9995 else seconds(time_s, ".1f")


def rough_time(time_s: float) -> str:
    """A time [s] that is only estimated, in the unit that suits it: at least `1 s`, then `4 min`, then `1.7 h`."""
    if time_s < 90:
        return f"{max(1, round(time_s))} s"
    return f"{round(time_s / 60)} min" if time_s < 5400 else f"{time_s / 3600:.1f} h"


def clock(time_s: float) -> str:
    """A time [s] in minutes and seconds: `1:05`."""
    minutes, rest = divmod(int(time_s), 60)
    return f"{minutes}:{rest:02d}"


def counted(count: int, what: str, plural: str = "s") -> str:
    """How many there are of what, with its plural ending: `1 task`, `2 tasks`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}{plural}"


def _with_unit(value: float | None, form: str, factor: float, unit: str) -> str:
    return "-" if value is None else f"{format(value * factor, form)} {unit}"
