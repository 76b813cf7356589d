"""The candidates that a search of placements has found so far, its limit of time, and its observer."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from testbed.placement.candidates import Candidate
from testbed.placement.ranking import NOTHING, Value

EQUAL_S = 2e-5  # what the solver cannot distinguish


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate with its value."""

    candidate: Candidate
    value: Value


class PlacementObserver(Protocol):
    """Is informed of the progress of a search."""

    def looked(self, what: str, number: int, best: RankedCandidate | None) -> None:
        """`number` networks have been computed, the last one in the phase `what`; `best` is the best candidate."""


class SilentPlacement:
    """A PlacementObserver that does nothing."""

    def looked(self, what: str, number: int, best: RankedCandidate | None) -> None:
        """Do nothing."""


class TimeIsUp(Exception):
    """The time limit of a search is over."""


@dataclass
class Findings:
    """The candidates found so far, the best first, and the limit of time.

    Attributes:
        kept: number of candidates to remember.
        limit_s: real time after which `check` raises; None: no limit.
        clock: gives real time [s].
    """

    observer: PlacementObserver
    kept: int
    limit_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    best: list[RankedCandidate] = field(default_factory=list)
    number: int = 0
    phase: str = ""
    _began_s: float = math.nan

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    @property
    def first(self) -> RankedCandidate | None:
        """The best candidate so far."""
        return self.best[0] if self.best else None

    @property
    def value(self) -> Value | None:
        """The value of the best candidate so far."""
        return self.best[0].value if self.best else None

    def add(self, candidate: Candidate, value: Value) -> bool:
        """Remember a candidate if it is one of the best; return True if it is the best one now.

        Of candidates with equal values, which differ in servers that get no tasks, only the first one is kept.
        """
        known = any(each.candidate == candidate or is_equal(each.value, value) for each in self.best)
        if value.key >= NOTHING or known:
            return False
        found = RankedCandidate(candidate, value)
        before = self.first
        self.best = sorted([*self.best, found], key=lambda each: each.value.key)[: self.kept]
        return before is None or value.key < before.value.key

    def check(self) -> None:
        """Count a network that was computed, and inform the observer. Raises TimeIsUp after the limit of time."""
        self.number += 1
        self.observer.looked(self.phase, self.number, self.first)
        if self.limit_s is not None and self.clock() - self._began_s > self.limit_s:
            raise TimeIsUp


def is_equal(one: Value, other: Value) -> bool:
    """True if two values differ by less than the solver can distinguish."""
    return one.key[0] == other.key[0] and abs(one.key[1] - other.key[1]) < EQUAL_S
