"""The bounds of assertions: numbers with the units of their figure, read exactly and written so that they read back."""

import re
from collections.abc import Mapping
from decimal import Decimal, DecimalException

from node_agent.errors import InputError
from node_agent.suggest import advice
from testbed.assertions.known_figures import KnownFigure, ValueKind
from testbed.units import ENERGY, SHARE, TIME, Dimension, QuantityError, parse_number, parse_quantity

_ENERGY = Dimension("an energy", ENERGY.units, "5 J", maximum=1e18, allow_zero=True)
_RATIO = Dimension("a share", SHARE.units, "2 %", maximum=1e6, allow_zero=True)
_DIMENSIONS: Mapping[ValueKind, Dimension] = {"time": TIME, "share": SHARE, "ratio": _RATIO, "energy": _ENERGY}
_NOUNS: Mapping[ValueKind, str] = {
    "time": "a time", "share": "a share", "ratio": "a share", "energy": "an energy", "count": "a count",
    "number": "a number",
}  # fmt: skip
_MINUS = ("-", "\u2212")
_PARTS = re.compile(r"([0-9.eE+-]*[0-9])\s*(\D+)")
_PLAIN = re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?", re.ASCII)
MOST_DIGITS = 30
LONG_S = 10.0  # from here on, people read times in seconds


def read_bound(text: str, figure: KnownFigure) -> float:
    """Read the bound of a number, in the unit of summary.json: seconds, 0 to 1, joules, or a plain number.

    Raises:
        InputError: it is no number, its unit is none of the figure's, or it is a share outside 0 to 1.
    """
    words = text.strip()
    negative = words.startswith(_MINUS)
    if words.startswith(("+", *_MINUS)):
        words = words[1:].strip()
    size = parse_number(words) if _PLAIN.fullmatch(words) else _with_unit(words, figure)
    value = -size if negative else size
    dimension = _DIMENSIONS.get(figure.kind)
    if dimension is not None and size > dimension.maximum and figure.kind != "share":
        limit = write_number(dimension.maximum, figure.kind)
        raise InputError(f"{text} is too large for {dimension.name}", hint=f"the most is {limit}")
    if figure.kind == "share" and not 0 <= value <= 1:
        likely = f"{abs(value):g} % or " if 1 < abs(value) <= 100 else ""
        raise InputError(f"{text}: {figure.path} is a share from 0 to 1", hint=f"write {likely}a number from 0 to 1")
    return value + 0.0  # no negative zero


def read_word(text: str, figure: KnownFigure) -> str:
    """Read the bound of a figure that is a word. Raises InputError if it can never be that word."""
    if text not in figure.words:
        raise InputError(f"{figure.path} is never {text!r}", hint=advice(text, figure.words))
    return text


def write_number(value: float, kind: ValueKind) -> str:
    """Write a number of a kind with its unit, exactly: `read_bound` reads it back."""
    exact = Decimal(repr(value + 0.0))
    if kind == "time":
        return f"{_plain(exact)} s" if abs(value) >= LONG_S else f"{_plain(exact * 1000)} ms"
    if kind in ("share", "ratio"):
        return f"{_plain(exact * 100)} %"
    return f"{_plain(exact)} J" if kind == "energy" else _plain(exact)


def round_number(value: float, kind: ValueKind, digits: int = 4) -> str:
    """Write a number of a kind with its unit, rounded to `digits` significant digits; counts stay whole."""
    if kind == "count" and value == int(value):
        return str(int(value))
    scale = {"time": 1.0 if abs(value) >= LONG_S else 1e3, "share": 1e2, "ratio": 1e2}.get(kind, 1.0)
    shown = float(f"{value * scale:.{digits}g}")
    return write_number(shown / scale if scale == 1.0 else float(Decimal(repr(shown)) / Decimal(repr(scale))), kind)


def _with_unit(words: str, figure: KnownFigure) -> float:
    dimension = _DIMENSIONS.get(figure.kind)
    noun = _NOUNS[figure.kind]
    if dimension is None:
        raise InputError(f"{words!r}: {figure.path} is {noun}, a plain number", hint="write a number without unit")
    try:
        value = parse_quantity(words, dimension)
    except QuantityError as error:
        raise InputError(f"{figure.path} is {noun}: {error}", hint=error.hint) from None
    found = _PARTS.fullmatch(words)
    if found is None:
        return value
    try:
        # 57 x 0.01 is above 0.57 in binary; a figure of exactly 57 % must reach a bound of 57 %.
        return float(Decimal(found[1]) * Decimal(repr(dimension.units.get(found[2].strip(), 0.0))))
    except DecimalException:
        return value


def _plain(value: Decimal) -> str:
    """Write a number in digits without idle zeros, or with an exponent if there would be too many."""
    text = format(value, "f")
    if len(text) > MOST_DIGITS:
        return str(value.normalize())
    return text.rstrip("0").rstrip(".") if "." in text else text
