"""Parameters of arrival processes: readers of factors, moments and lengths, as topologies and commands state them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node_agent.errors import InputError
from testbed.units import PERIOD, SHARE, TIME, QuantityError, is_factor, parse_factor, parse_quantity

MOST_FACTOR = 1000.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in seconds, or (`relative`) a share (0..1) of the run."""

    value: float
    relative: bool

    def seconds(self, duration_s: float) -> float:
        """The time in seconds, in a run of this length."""
        return self.value * duration_s if self.relative else self.value


START, END = Moment(0.0, relative=True), Moment(1.0, relative=True)


def read_moment(value: object) -> Moment:
    """Read a time such as `20 s`, or a share of the run such as `30 %`. Raises InputError."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return Moment(parse_quantity(value, SHARE), relative=True)
    return Moment(parse_quantity(value, TIME), relative=False)


def read_length(value: object) -> Moment:
    """Read a time above zero, or a share of the run above zero. Raises InputError."""
    found = read_moment(value)
    if found.value <= 0:
        raise InputError(f"{value} is no length: it must be above zero", hint="for example 20 s or 10 %")
    return found


def read_factor(value: object) -> float:
    """Read a factor from x0 to x1000. Raises InputError."""
    if isinstance(value, str) and is_factor(value):
        bare = value.strip()[1:].strip()
        found = 0.0 if _zero(bare) else parse_factor(value)
        if found <= MOST_FACTOR:
            return found
    raise QuantityError(f"{str(value)[:40]!r} is not a factor from x0 to x{MOST_FACTOR:g}", hint="write it as x2.5")


def read_levels(value: object) -> tuple[float, ...]:
    """Read a list of factors, or such a list as text: `x0.5/x3`. Raises InputError."""
    return tuple(read_factor(each) for each in _listed(value))


def read_lengths(value: object) -> tuple[float, ...]:
    """Read a list of times above zero [s], or such a list as text: `8 s/2 s`. Raises InputError."""
    return tuple(parse_quantity(each, PERIOD) for each in _listed(value))


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, str):
        return value.split("/")
    if isinstance(value, list | tuple):
        return value
    raise InputError(f"{str(value)[:40]!r} is no list", hint="write a list such as [x0.5, x3], or x0.5/x3 as text")


def _zero(text: str) -> bool:
    try:
        return math.isclose(float(text), 0.0, abs_tol=0.0)
    except ValueError:
        return False
