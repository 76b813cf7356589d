"""The checks of a policy's answers, with their messages. A wrong answer is never replaced by a likely one."""

import math
import reprlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from node_agent.dtoee.queueing import Array, Mask
from node_agent.errors import TestbedError
from node_agent.problem import Problem
from node_agent.wire import MOST_THRESHOLD, Assignment

ROW_TOLERANCE = 1e-6  # of a row's sum
LEAST_PERIOD_S: Final = 0.001  # least time between two reports of a queue; with 0, time would not pass

LEAST_SHARE = 1e-6  # of the rate of a link
_shown = reprlib.Repr()
_shown.maxlist = _shown.maxtuple = _shown.maxdict = 8
_shown.maxstring = _shown.maxother = 80


class WrongAnswer(TestbedError):
    """An answer or an attribute that a policy may not give.

    Decision 020: a wrong answer fails the run; it is not invalid input (docs/decisions/020-wrong-answers.md).
    """

    def __init__(self, member: str, value: object, must: str) -> None:
        """`member` is the method or attribute that gave `value`, `must` describes the values that it may give."""
        self.member, self.what = member, f"gave {shown(value)}"
        super().__init__(f"{member} {self.what}", hint=f"it must give {must}")


def shown(value: object) -> str:
    """A value as messages show it: short, on one line."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return " ".join(_shown.repr(plain).split())


def numbers_of(value: object) -> Array | None:
    """The value as an array of floats; None if it is not an array of numbers or booleans."""
    try:
        found = np.asarray(value)
    except Exception:  # whatever an object of the user's own raises
        return None
    return found.astype(np.float64) if found.dtype.kind in "biuf" else None


def number(member: str, value: object, least: float, most: float, must: str) -> float:
    """The value as a number from `least` to `most`. Raises WrongAnswer for others, NaN and values of other types."""
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) \
            and least <= value <= most:  # fmt: skip
        return float(value)
    raise WrongAnswer(member, value, must)


def finite(member: str, value: object) -> float:
    """The value as a finite number. Raises WrongAnswer for others."""
    return number(member, value, -1e300, 1e300, "a finite number")


def threshold(member: str, value: object) -> float:
    """The value as a confidence threshold, from 0 to `MOST_THRESHOLD`. Raises WrongAnswer for others."""
    return number(member, value, 0, MOST_THRESHOLD, f"a threshold in 0..{MOST_THRESHOLD:g}; above 1 it means never")


def whole(member: str, value: object, least: int, most: int, must: str) -> int:
    """The value as a whole number from `least` to `most`. Raises WrongAnswer for others."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= value <= most:
        return int(value)
    raise WrongAnswer(member, value, must)


def rounds(member: str, value: object) -> int:
    """The value as a number of rounds or turns, from 1. Raises WrongAnswer for others."""
    return whole(member, value, 1, 2**53, "a whole number from 1 on")


def choices(member: str, value: object) -> int:
    """The value as a number of candidates, 0 for all. Raises WrongAnswer for others."""
    return whole(member, value, 0, 2**53, "a whole number from 0 on")


def flag(member: str, value: object) -> bool:
    """The value as True or False. Raises WrongAnswer for others."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise WrongAnswer(member, value, "True or False")


def share(member: str, value: object) -> float:
    """The value as a share above 0, at most 1. Raises WrongAnswer for others."""
    return number(member, value, LEAST_SHARE, 1, f"a share from {LEAST_SHARE:g} to 1")


def period_s(member: str, value: object) -> float | None:
    """The value as a time between two reports [s], None for no reports. Raises WrongAnswer for others."""
    if value is None:
        return None
    return number(member, value, LEAST_PERIOD_S, 1e9, f"None, or a time from {LEAST_PERIOD_S:g} s on")


def row(member: str, value: object, count: int) -> Array:
    """The value as probabilities (count,) that sum to one, in an array of its own. Raises WrongAnswer for others."""
    found = numbers_of(value)
    if found is not None and found.shape == (count,):
        shares = found.tolist()  # arrays of a few numbers take longer to check than lists
        if not shares or (min(shares) >= 0 and abs(sum(shares) - 1) < ROW_TOLERANCE):
            return found
    raise WrongAnswer(member, value, f"{count} probabilities that sum to one")


def weights(value: object, alive: Mask) -> Array:
    """The value as the weights of a row (K,), with zeros at dead receivers, whose entries have no meaning.

    All are zero if only dead receivers have positive weights.

    Raises:
        WrongAnswer: there are not K numbers, a living receiver's is negative or not finite, or none is positive.
    """
    found, count = numbers_of(value), len(alive)
    if found is None or found.shape != (count,):
        numbers = "one number, as there is one receiver" if count == 1 else f"{count} numbers, one for each receiver"
        raise WrongAnswer("weights", value, numbers)
    living = found[alive]
    if not (np.isfinite(living).all() and (living >= 0).all()):
        raise WrongAnswer("weights", value, "finite numbers that are not negative, one for each receiver")
    if not (living > 0).any() and not (found[~alive] > 0).any():
        raise WrongAnswer("weights", value, "at least one number above zero")
    return np.where(alive, found, 0.0)


def assignments(value: object, problem: Problem) -> dict[str, Assignment]:
    """The value as a central plan: assignments by node, with shares over its own receivers that sum to one, or none.

    A node without shares keeps its row; a node whose threshold is None keeps its threshold.

    Raises:
        WrongAnswer: the value is not such a plan.
    """
    if not isinstance(value, Mapping):
        raise WrongAnswer("plan", value, "a dict of Assignment by node")
    for node, told in value.items():
        if node not in problem.places:
            raise WrongAnswer("plan", node, "what nodes of the problem are to do")
        if not isinstance(told, Assignment) or not isinstance(told.shares, Mapping):
            raise WrongAnswer("plan", told, f"an Assignment to {node}")
        whole("plan", told.slot, 0, 2**53, f"{node} the number of a slot")
        if told.shares:
            receivers = problem.places[node].receivers
            if not told.shares.keys() <= set(receivers):
                raise WrongAnswer("plan", told.shares, f"{node} shares over its receivers: {', '.join(receivers)}")
            found = numbers_of(list(told.shares.values()))
            if found is None or not (found.min() >= 0 and abs(found.sum() - 1) < ROW_TOLERANCE):
                raise WrongAnswer("plan", told.shares, f"{node} probabilities that sum to one")
        if told.threshold is not None:
            threshold("plan", told.threshold)
    return dict(value)


def is_finite(value: object) -> bool:
    """False for NaN and infinity, True for every other value of a parameter."""
    return not isinstance(value, float) or math.isfinite(value)
