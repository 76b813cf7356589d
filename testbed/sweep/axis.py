"""An axis of a sweep: a key of the topology or of policies, and its values as `--set KEY=V1,V2,...` states them.

Commas separate values outside brackets and quotes; each value is YAML. `1..4 /s:4` is a grid of four values from 1 to
4 /s, and `x0.5..x1.5:5` one of five factors. `1..4 /s` alone is the topology's own range, drawn by the seed; in a
sample it is the interval from which values are drawn.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from node_agent.errors import InputError
from testbed.topology.overrides import parse_override
from testbed.topology.overrides.factors import decimal_text
from testbed.units import DIMENSIONS, QuantityError, is_factor, parse_factor, parse_number, parse_quantity

MOST_VALUES = 1000  # of an axis
DIGITS = 6  # significant ones, of values that a grid or a sample computes
_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_SPAN = re.compile(
    rf"(?P<mark>[x×]?)\s*(?P<low>{_NUMBER})\s*\.\.\s*[x×]?\s*(?P<high>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"\s*(?P<unit>[^\d\s.:x×][^:]*?)?\s*(?::\s*(?P<count>\d+))?",
    re.ASCII,
)
_PAIRS = {"[": "]", "{": "}", "(": ")"}
_QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of numbers with a unit, from which values are taken; `mark` is `x` for factors."""

    mark: str
    low: float
    high: float
    unit: str

    def at(self, share: float, *, whole: bool = False) -> str:
        """Return the value at a share (0..1) of the interval, as text; `whole` gives a whole number, all as likely."""
        if whole:
            value: float = min(int(self.low + share * (self.high - self.low + 1)), int(self.high))
        else:
            value = self.low + share * (self.high - self.low)
        text = decimal_text(Decimal(f"{value:.{DIGITS}g}"))
        return f"{self.mark}{text}{' ' if self.unit else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class KeyAxis:
    """A key and the values that it takes, each as text.

    Attributes:
        key: of the topology, `load`, or `policy.PARAMETER`.
        values: what a grid takes; a sample takes each of them equally often.
        interval: what a sample draws from, if the axis states an interval alone.
        whole: True if the interval has whole ends and no unit, so that a sample draws whole numbers.
    """

    key: str
    values: tuple[str, ...]
    interval: Interval | None = None
    whole: bool = False

    @property
    def parameter(self) -> str | None:
        """The policy parameter that the key names; None for any other key."""
        words = self.key.removeprefix("policy.").removeprefix("parameters.")
        own = self.key.startswith("policy.") and words not in ("name", "label", "parameters") and "." not in words
        return words if own else None


def parse_axis(text: str) -> KeyAxis:
    """Read KEY=V1,V2,... Raises InputError if it is none, or states a value twice."""
    stated = parse_override(text)
    return make_axis(stated.key, split_values(stated.value, text))


def make_axis(key: str, items: Sequence[str]) -> KeyAxis:
    """Return the axis of a key with these values and grids. Raises InputError for impossible grids, or repetitions."""
    values: list[str] = []
    for item in items:
        values += _expanded(item, f"{key}={item}")
    if len(values) > MOST_VALUES:
        raise InputError(f"{key} has {len(values)} values", hint=f"{MOST_VALUES} at most")
    if again := next((value for number, value in enumerate(values) if value in values[:number]), None):
        raise InputError(f"{key} takes the value {again} twice", hint="state each value once")
    found = _SPAN.fullmatch(items[0].strip()) if len(items) == 1 else None
    if found is None or found["count"] is not None:
        return KeyAxis(key, tuple(values))
    whole = not found["mark"] and not found["unit"] and all(re.fullmatch(r"\d+", found[end]) for end in ("low", "high"))
    return KeyAxis(key, tuple(values), _interval(found), whole)


def axis_of(key: str, values: Sequence[object] | str) -> KeyAxis:
    """Return the axis of a key with values as Python has them; a text is read as on the command line.

    Raises:
        InputError: as in `parse_axis`.
    """
    if isinstance(values, str):
        return parse_axis(f"{key}={values}")
    if not values:
        raise InputError(f"{key} has no values", hint="state one or more")
    return make_axis(key, [one if isinstance(one, str) else json.dumps(one) for one in values])


def split_values(text: str, whole: str) -> list[str]:
    """Split at commas outside brackets and quotes; `whole` stands in the error.

    >>> split_values("[2, 3, 5],[1, 2, 5]", "model.cut=...")
    ['[2, 3, 5]', '[1, 2, 5]']

    Raises:
        InputError: a value is empty, or a bracket or quote is left open.
    """
    parts, open_brackets, quote = [""], [], ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and not parts[-1].strip(" [{(:,"):
            quote = character
        elif character in _PAIRS:
            open_brackets.append(_PAIRS[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character == "," and not open_brackets:
            parts.append("")
            continue
        parts[-1] += character
    parts = [part.strip() for part in parts]
    if open_brackets or quote:
        raise InputError(f"{whole}: {(open_brackets or [quote])[-1]} is missing", hint="close every bracket and quote")
    if not all(parts):
        raise InputError(f"{whole}: a value is empty", hint="as in theta=1 s,2 s,4 s")
    return parts


def measured(text: str) -> tuple[float, str] | None:
    """Return a value as number and unit: quantities in base units, shares 0..1, factors with the unit `x`; else None.

    >>> measured("250 ms"), measured("x1.5"), measured("3"), measured("[2, 3]")
    ((0.25, 's'), (1.5, 'x'), (3.0, ''), None)
    """
    try:
        if is_factor(text):
            return parse_factor(text), "x"
        return parse_number(text), ""
    except QuantityError:
        pass
    for dimension in DIMENSIONS:
        try:
            value = parse_quantity(text, dimension)
        except QuantityError:
            continue
        return value, next((unit for unit, size in dimension.units.items() if size == 1.0), "")
    return None


def _expanded(item: str, where: str) -> Iterator[str]:
    """The values of a grid, or the value itself."""
    found = _SPAN.fullmatch(item.strip())
    if found is None or found["count"] is None:
        yield item.strip()
        return
    interval, count = _interval(found), int(found["count"])
    if not 2 <= count <= MOST_VALUES:
        raise InputError(f"{where}: a grid of {count} values", hint=f"2 to {MOST_VALUES}")
    if interval.low >= interval.high:
        raise InputError(f"{where}: the grid does not run upwards", hint="state the smaller end first")
    for number in range(count):
        yield interval.at(number / (count - 1))


def _interval(found: re.Match[str]) -> Interval:
    return Interval(
        "x" if found["mark"] else "", float(found["low"]), float(found["high"]), (found["unit"] or "").strip()
    )
