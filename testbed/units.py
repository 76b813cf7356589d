"""Quantities as people write them: `20 Mbit/s`, `2..10 ms`, `0.4 GFLOP/s`, `1 %`, `x0.33`.

A number without a unit is refused where a unit is needed: `delay: 20` in a topology leaves the reader to guess.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from node_agent.errors import InputError
from testbed.unit_advice import unit_advice

_EXPONENT = r"(?:[eE][+-]?\d+)?"
# A range's upper end does not begin with a dot: 0.1...5 could end at 5 or at .5.
_UPPER = rf"\d+(?:\.\d+)?{_EXPONENT}"
_NUMBER = rf"(?:\d+(?:\.\d+)?|\.\d+){_EXPONENT}"
_SPAN = re.compile(rf"({_NUMBER})(?:\.\.({_UPPER}))?\s*(\S.*)?", re.ASCII)
_PLAIN = re.compile(rf"[+-]?{_NUMBER}", re.ASCII)
_LOOKS_NUMERIC = re.compile(r"[+-]?\.?\d", re.ASCII)
_THREE_DOTS = re.compile(rf"({_NUMBER})\s*\.\.\.+\s*(\d+)(.*)", re.ASCII)
# Text behind the first number, in the place of the unit, and advice how to write its likely meaning.
_MISREADINGS = tuple(
    (re.compile(pattern, re.ASCII), advice)
    for pattern, advice in (
        (r"(\.\.|-|–|—|to\b)\s*[.\d]", "two dots without spaces make a range: 2..10 ms"),
        (r".*\.\.", "state the unit once, after the upper end: 2..10 ms"),
        (r"[,'’_]?\d+(?![\d/])|,", "write no separator of thousands, and a decimal point: 1500.5 ms"),
        (r"\.", "write a digit after the decimal point, or leave the point out: 5 ms"),
    )
)
# A non-breaking or thin space is a space, and the Greek letter in μs is the sign of µs.
_TYPOGRAPHY = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u03bc": "\u00b5"})
_NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)\b", re.IGNORECASE)
_MAX_CHARACTERS = 64


class QuantityError(InputError):
    """A text that is not a quantity of the dimension that is needed."""


@dataclass(frozen=True, slots=True)
class Span:
    """A closed range of a quantity in its base unit; `low == high` if the text states a single value."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Dimension:
    """A kind of quantity: its name, its units as multiples of the base unit, and its bounds in the base unit."""

    name: str
    units: Mapping[str, float] = field(hash=False)
    example: str
    maximum: float
    allow_zero: bool = False

    @property
    def bare_name(self) -> str:
        """The name without its article."""
        return self.name.partition(" ")[2]


TIME = Dimension(
    "a time",
    {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0},
    "5 ms",
    maximum=1e9,
    allow_zero=True,
)
PERIOD = Dimension("a time", TIME.units, "5 s", maximum=1e9)
BIT_RATE = Dimension(
    "a bit rate",
    {"Mbit/s": 1.0, "kbit/s": 1e-3, "bit/s": 1e-6, "Gbit/s": 1e3, "Tbit/s": 1e6},
    "20 Mbit/s",
    maximum=1e7,
)
COMPUTE_RATE = Dimension(
    "a compute capacity",
    {"FLOP/s": 1.0, "kFLOP/s": 1e3, "MFLOP/s": 1e6, "GFLOP/s": 1e9, "TFLOP/s": 1e12},
    "0.4 GFLOP/s",
    maximum=1e18,
)
MEMORY = Dimension(
    "a memory size",
    {
        "B": 1.0,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "512 MiB",
    maximum=2.0**50,
)
TASK_RATE = Dimension("a task rate", {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}, "3 /s", maximum=1e6)
SHARE = Dimension("a share", {"%": 0.01}, "1 %", maximum=1.0, allow_zero=True)
POWER = Dimension("a power", {"W": 1.0, "mW": 1e-3, "kW": 1e3}, "2.7 W", maximum=1e6, allow_zero=True)
ENERGY = Dimension(
    "an energy",
    {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "MJ": 1e6, "Wh": 3600.0, "mWh": 3.6, "kWh": 3.6e6},
    "2 kJ",
    maximum=1e12,
)
BYTE_ENERGY = Dimension(
    "an energy per byte",
    {
        "J/byte": 1.0,
        "mJ/byte": 1e-3,
        "uJ/byte": 1e-6,
        "µJ/byte": 1e-6,
        "nJ/byte": 1e-9,
        "mJ/bit": 8e-3,
        "uJ/bit": 8e-6,
        "µJ/bit": 8e-6,
        "nJ/bit": 8e-9,
    },
    "500 nJ/byte",
    maximum=1e3,
    allow_zero=True,
)
ENERGY_PRICE = Dimension(
    "a price of energy", {"s/J": 1.0, "ms/J": 1e-3, "s/kJ": 1e-3}, "0.1 s/J", maximum=1e6, allow_zero=True
)

DIMENSIONS = (TIME, BIT_RATE, COMPUTE_RATE, MEMORY, TASK_RATE, SHARE, POWER, ENERGY, BYTE_ENERGY, ENERGY_PRICE)


def parse_span(text: object, dimension: Dimension) -> Span:
    """Read a quantity or a range such as `2..10 ms`; both ends share the unit.

    Returns the ends in the dimension's base unit (seconds, Mbit/s, FLOP/s, bytes, tasks per second, 0..1, watts,
    joules, joules per byte, seconds per joule).

    Raises:
        QuantityError: `text` is no such quantity, or out of bounds; the hint says how to write it.
    """
    words = _as_text(text, dimension)
    match = _SPAN.fullmatch(words)
    if match is None:
        raise _not_a_quantity(words, dimension)
    low_text, high_text, unit = match.groups()
    if unit is None:
        raise _needs_unit(words, dimension)
    if (misread := _misread(words, unit)) is not None:
        raise QuantityError(f"{_short(words)!r} is not {dimension.name}", hint=misread)
    factor = dimension.units.get(unit)
    if factor is None:
        raise _unknown_unit(unit, dimension, float(low_text), None if high_text is None else float(high_text))
    low = _bounded(float(low_text) * factor, words, dimension)
    high = low if high_text is None else _bounded(float(high_text) * factor, words, dimension)
    if low > high:
        raise QuantityError(f"the range {words!r} runs downwards", hint=f"write {high_text}..{low_text} {unit}")
    return Span(low, high)


def parse_quantity(text: object, dimension: Dimension) -> float:
    """Read a single quantity, not a range, and return it in the dimension's base unit.

    Raises:
        QuantityError: as in `parse_span`, or `text` is a range.
    """
    span = parse_span(text, dimension)
    if isinstance(text, str) and ".." in text:
        raise QuantityError(
            f"a range ({text.strip()}) is not allowed here", hint=f"write one value, such as {dimension.example}"
        )
    return span.low


def parse_factor(text: str) -> float:
    """Read a factor such as `x0.33`, which multiplies the value that the topology states.

    Raises:
        QuantityError: `text` is no factor above 0 and up to 1e6.
    """
    match = re.fullmatch(rf"[x×]\s*({_NUMBER})", text.translate(_TYPOGRAPHY).strip(), re.ASCII)
    value = float(match[1]) if match else math.nan
    if not 0 < value <= 1e6:
        message = f"{_short(text)!r} is not a factor above zero and up to 1e6"
        raise QuantityError(message, hint="write a factor such as x0.5")
    return value


def is_factor(text: object) -> bool:
    """True if `text` is meant as a factor (`x0.33`), not as a quantity."""
    return isinstance(text, str) and text.strip().startswith(("x", "×"))


def parse_parameter(value: object) -> float | int | bool | str:
    """Read a policy's parameter: a number, a bool, a quantity with a unit (into its base unit), or any other text.

    Text that begins with a number must be a quantity, so that `2 sec` is refused, not passed on as a word.

    Raises:
        QuantityError: the value is none of these.
    """
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise QuantityError("a parameter must be a finite number", hint="leave it out to use the default")
        return value
    if not isinstance(value, str):
        raise QuantityError("a parameter must be a number, true, false or text", hint="for example threshold: 0.8")
    if not _LOOKS_NUMERIC.match(value.strip()):
        return value
    words = value.translate(_TYPOGRAPHY).strip()
    match = _SPAN.fullmatch(words)
    for dimension in DIMENSIONS:
        if match is not None and match[3] in dimension.units:
            return parse_quantity(words, dimension)
    raise QuantityError(f"{_short(words)!r} begins with a number but is not a quantity", hint=_parameter_hint(match))


def _parameter_hint(match: re.Match[str] | None) -> str:
    if match is not None and match[3]:
        for dimension in DIMENSIONS:
            if advice := unit_advice(match[3], tuple(dimension.units), float(match[1]), None):
                return f"{advice} for example 2 s, 50 Mbit/s or 1 %"
    return "for example 2 s, 50 Mbit/s or 1 %"


def parse_number(text: str) -> float:
    """Read a number without unit as topologies state it: no `1_000`, no `nan`, no digits but 0-9.

    Raises:
        QuantityError: `text` is no such number.
    """
    if not _PLAIN.fullmatch(text.strip()) or not math.isfinite(value := float(text)):
        raise QuantityError(f"{_short(text)!r} is not a number", hint="for example 0.8")
    return value


def format_quantity(value: float, dimension: Dimension) -> str:
    """Write `value` (base unit) with the largest unit that keeps the number at or above one; it reads back equal."""
    units = sorted(dimension.units.items(), key=lambda item: -item[1])
    for unit, factor in units:
        number = value / factor
        if number >= 1 and number * factor == value:
            return f"{number!r} {unit}".replace(".0 ", " ")
    base = next((unit for unit, factor in units if factor == 1.0), None)
    if base is not None:
        return f"{value!r} {base}".replace(".0 ", " ")
    unit, factor = units[0]
    return f"{value / factor!r} {unit}".replace(".0 ", " ")


def quantity_pattern(dimension: Dimension, *, spans: bool = True) -> str:
    """Return a regular expression (ECMA dialect, for the JSON Schema) of the texts that `parse_span` reads."""
    units = "|".join(re.escape(unit).replace("µ", "[µμ]") for unit in dimension.units)
    span = rf"(\.\.{_UPPER})?" if spans else ""
    return rf"^\s*{_NUMBER}{span}\s*({units})\s*$"


def _as_text(value: object, dimension: Dimension) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise QuantityError(f"{dimension.name} is needed here", hint=f"for example {dimension.example}")
    if not isinstance(value, str):
        if not math.isfinite(value):
            raise QuantityError(f"{dimension.name} must be a finite number", hint=f"for example {dimension.example}")
        if value < 0:
            raise QuantityError(
                f"{dimension.name} must not be negative: {value}", hint=f"for example {dimension.example}"
            )
        raise _needs_unit(str(value), dimension)
    return value.translate(_TYPOGRAPHY).strip()


def _not_a_quantity(words: str, dimension: Dimension) -> QuantityError:
    hint = f"for example {dimension.example}"
    shown = _short(words)
    if _NOT_FINITE.match(words):
        return QuantityError(f"{dimension.name} must be a finite number: {shown!r}", hint=hint)
    if words.startswith(("-", "−")):
        return QuantityError(f"{dimension.name} must not be negative: {shown!r}", hint=hint)
    return QuantityError(f"{shown!r} is not {dimension.name}", hint=hint)


def _needs_unit(words: str, dimension: Dimension) -> QuantityError:
    units = ", ".join(dimension.units)
    hint = f"for example {dimension.example} (units: {units})"
    if "s" in dimension.units:
        hint += "; a bare number means seconds only in options such as --duration"
    return QuantityError(f"{words} has no unit; {dimension.name} needs one", hint=hint)


def _unknown_unit(unit: str, dimension: Dimension, low: float, high: float | None) -> QuantityError:
    advice = unit_advice(unit, tuple(dimension.units), low, high) or f"for example {dimension.example}"
    return QuantityError(
        f"{_short(unit)!r} is not a unit of {dimension.bare_name}",
        hint=f"{advice} (units: {', '.join(dimension.units)})",
    )


def _misread(words: str, unit: str) -> str | None:
    """Return advice for a number that readers may take for different values; None if `unit` is just a unit."""
    if (dots := _THREE_DOTS.fullmatch(words)) is not None:
        low, high, rest = dots.groups()
        return f"two dots make a range: {low}..{high}{rest} or {low}..0.{high}{rest}"
    return next((advice for pattern, advice in _MISREADINGS if pattern.match(unit)), None)


def _bounded(value: float, words: str, dimension: Dimension) -> float:
    shown = _short(words)
    if not value <= dimension.maximum:
        limit = format_quantity(dimension.maximum, dimension)
        raise QuantityError(f"{shown!r} is too large for {dimension.name}", hint=f"the most is {limit}")
    if value == 0 and not dimension.allow_zero:
        raise QuantityError(f"{dimension.name} must be above zero: {shown!r}", hint=f"for example {dimension.example}")
    return value


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
