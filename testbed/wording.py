"""Figures and names as text: the formats of numbers, shares, times, counts and words in everything that people read.

A missing figure (None) is `-`. A unit follows after a space: `12.5 %`, `40 ms`. `form` is Python's format specification
of the number.
"""

from collections.abc import Iterable


def printable(text: str) -> str:
    """The text with `?` in place of control codes, which a file may hold."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shortened(text: str, most: int) -> str:
    """The printable text, with at most `most` characters; one that is cut ends in an ellipsis."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def number(value: float | None, form: str, factor: float = 1.0) -> str:
    """Format a number times `factor`."""
    return "-" if value is None else format(value * factor, form)


def interval(mean: float, low: float | None, high: float | None, form: str, factor: float = 1.0) -> str:
    """Format a mean with its interval, if there is one, all times `factor`: `12.5 [11.9, 13.0]`."""
    text = number(mean, form, factor)
    if low is None or high is None:
        return text
    return f"{text} [{number(low, form, factor)}, {number(high, form, factor)}]"


def side_by_side(values: Iterable[float | None], form: str, factor: float = 1.0) -> str:
    """Format numbers that belong together, such as a share for each stage: `55 / 33 / 12`."""
    return " / ".join(number(value, form, factor) for value in values)


def percent(share: float | None, form: str = ".1f") -> str:
    """Format a share (0..1) in per cent: `12.5 %`."""
    return _with_unit(share, form, 1e2, "%")


def rough_percent(share: float) -> str:
    """Format a share (0..1) in per cent, to two digits: `0.84 %`, `9.8 %`, `62 %`."""
    return percent(share, ".2g" if share < 0.0995 else ".0f")


def seconds(time_s: float | None, form: str = ".3f") -> str:
    """Format a time [s] in seconds: `1.250 s`."""
    return _with_unit(time_s, form, 1.0, "s")


def milliseconds(time_s: float | None, form: str = ".0f") -> str:
    """Format a time [s] in milliseconds: `40 ms`."""
    return _with_unit(time_s, form, 1e3, "ms")


def short_time(time_s: float | None) -> str:
    """Format a time [s] in little room: in ms up to ten seconds, else in s."""
    return milliseconds(time_s) if time_s is None or time_s < 9.9995 else seconds(time_s, ".1f")


def rough_time(time_s: float) -> str:
    """Format an estimated time [s] in a suitable unit: at least `1 s`, then `4 min`, then `1.7 h`."""
    if time_s < 90:
        return f"{max(1, round(time_s))} s"
    return f"{round(time_s / 60)} min" if time_s < 5400 else f"{time_s / 3600:.1f} h"


def clock(time_s: float) -> str:
    """Format a time [s] in minutes and seconds: `1:05`."""
    minutes, rest = divmod(int(time_s), 60)
    return f"{minutes}:{rest:02d}"


def joules(energy_j: float | None) -> str:
    """Format an energy [J] with three digits in a suitable unit: `430 mJ`, `12.5 J`, `1.20 kJ`."""
    if energy_j is None:
        return "-"
    for factor, unit in ((1e-6, "MJ"), (1e-3, "kJ"), (1.0, "J"), (1e3, "mJ")):
        if abs(energy_j) * factor >= 0.9995 or unit == "mJ":
            break
    value = energy_j * factor
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def counted(count: int, what: str, plural: str = "s") -> str:
    """Format a count of things with their plural ending: `1 task`, `2 tasks`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}{plural}"


def _with_unit(value: float | None, form: str, factor: float, unit: str) -> str:
    return "-" if value is None else f"{format(value * factor, form)} {unit}"
