"""A rate that changes over a run: of a link, or of a server."""

from bisect import bisect_right
from copy import copy
from typing import Self


class RateCourse:
    """From `times_s[i]` on the rate is `rates[i]` [unit/s], for example bytes or FLOP per second."""

    __slots__ = ("rates", "times_s")

    def __init__(self, rate: float) -> None:
        self.times_s = [float("-inf")]
        self.rates = [rate]

    def change_rate(self, at_s: float, rate: float) -> None:
        """Take another rate from `at_s` [s] on, which is not before the last change."""
        self.times_s.append(at_s)
        self.rates.append(rate)

    def faster(self, factor: float) -> Self:
        """Return a course whose rates are `factor` times as high."""
        other = copy(self)
        other.rates = [rate * factor for rate in self.rates]
        return other

    def span_at(self, at_s: float) -> int:
        """Return the index of the rate at `at_s` [s]."""
        return bisect_right(self.times_s, at_s) - 1 if len(self.times_s) > 1 else 0

    def rate_at(self, at_s: float) -> float:
        """Return the rate at `at_s` [unit/s]."""
        return self.rates[self.span_at(at_s)]

    def amount(self, from_s: float, until_s: float) -> float:
        """Return what is done between two times [unit]."""
        times_s, span, done = self.times_s, self.span_at(from_s), 0.0
        while span + 1 < len(times_s) and times_s[span + 1] < until_s:
            done += (times_s[span + 1] - from_s) * self.rates[span]
            span += 1
            from_s = times_s[span]
        return done + (until_s - from_s) * self.rates[span]

    def end_of(self, from_s: float, amount: float) -> tuple[float, int]:
        """Return when `amount` [unit] that is begun at `from_s` is done [s], and the index of the rate then.

        A change at that very moment no longer counts.
        """
        times_s, rates, span = self.times_s, self.rates, self.span_at(from_s)
        end_s = from_s + amount / rates[span]
        while span + 1 < len(times_s) and end_s > times_s[span + 1]:
            left = (end_s - times_s[span + 1]) * rates[span]
            span += 1
            end_s = times_s[span] + left / rates[span]
        return end_s, span
