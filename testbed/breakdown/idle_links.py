"""The time that a message takes over idle links: its transmission and the delays, and nothing else.

The model is that of `testbed.simulation.links` for one message alone, on links that lose and jitter nothing. Bytes
leave at the rate of a TCP transfer, a change of a link affects what is still in the transmitter, and over several links
the segments of a message follow one another. Tests hold both against each other.

Decision 108: what loss and jitter add to an idle link's time counts as waiting
(docs/decisions/108-parts-of-a-delay.md).
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from testbed.breakdown.rate_course import RateCourse
from testbed.network.routes import Ways
from testbed.scenario import LinkShape, Scenario
from testbed.sizes import SEGMENT_BYTES

Path = tuple[str, str]  # sender, receiver
Leg = tuple[str, str]  # one direction of a link: sending end, receiving end


class LinkCourse(RateCourse):
    """The rate [byte/s] and the delay of one direction of a link over a run.

    From `times_s[i]` on the delay is `delays_s[i]`. `ends` are the sending and the receiving end; `lossy` is true if
    the link loses frames at any time.
    """

    __slots__ = ("delays_s", "ends", "lossy")

    def __init__(self, ends: Leg, shape: LinkShape) -> None:
        super().__init__(shape.rate_mbit_per_s * 1e6 / 8)
        self.ends = ends
        self.delays_s = [shape.delay_s]
        self.lossy = shape.loss > 0

    def change(self, at_s: float, shape: LinkShape) -> None:
        """Take another shape from `at_s` [s] on, which is not before the last change."""
        self.change_rate(at_s, shape.rate_mbit_per_s * 1e6 / 8)
        self.delays_s.append(shape.delay_s)
        self.lossy = self.lossy or shape.loss > 0


class IdleLinks:
    """The links of a scenario with all their changes, as a message finds them if it is alone."""

    def __init__(self, scenario: Scenario) -> None:
        courses: dict[tuple[int, str], LinkCourse] = {}
        number: dict[frozenset[str], int] = {}
        for index, link in enumerate(scenario.links):
            number.setdefault(frozenset(link.ends), index)
            for ends, shape in zip((link.ends, link.ends[::-1]), link.shapes, strict=True):
                courses[index, ends[0]] = LinkCourse(ends, shape)
        for event in scenario.events:
            for ends, shape in event.shapes.items():
                courses[number[frozenset(ends)], ends[0]].change(event.at_s, shape)
        self._courses = courses
        self._ways = Ways(scenario)
        self._steady_s: dict[tuple[str, str, int], float] = {}
        self.legs = cache(self._legs)

    def _legs(self, sender: str, receiver: str) -> tuple[LinkCourse, ...]:
        """Return the directions of links that lead from a sender to a receiver; none between nodes at one place."""
        return tuple(self._courses[link, vertex] for vertex, link in self._ways.hops(sender, receiver))

    def transfer_s(self, sender: str, receiver: str, size_bytes: int, sent_s: float) -> float:
        """Return the time [s] of a message of `size_bytes` that is sent at `sent_s` and is the only one."""
        known = self._steady_s.get((sender, receiver, size_bytes))
        if known is not None:
            return known
        legs = self.legs(sender, receiver)
        if any(len(leg.times_s) > 1 for leg in legs):
            return arrival_s(legs, size_bytes, sent_s) - sent_s
        took_s = self._steady_s[sender, receiver, size_bytes] = arrival_s(legs, size_bytes, 0.0)
        return took_s


def arrival_s(legs: Sequence[LinkCourse], size_bytes: int, sent_s: float) -> float:
    """Return when a message that is sent at `sent_s` arrives over idle links [s]."""
    enter_s = sent_s
    for leg, onward in pairwise(legs):
        enter_s = handed_on_s(leg, onward, size_bytes, enter_s)
    if not legs:
        return enter_s
    end_s, span = legs[-1].end_of(enter_s, size_bytes)
    return end_s + legs[-1].delays_s[span]


def handed_on_s(leg: LinkCourse, onward: LinkCourse, size_bytes: int, enter_s: float) -> float:
    """Return when the next link starts with a message that enters `leg` at `enter_s` [s].

    It starts with the first segment, but so late that it does not run out of segments.
    """
    times_s = leg.times_s
    span = leg.span_at(enter_s)
    segment_bytes = min(size_bytes, SEGMENT_BYTES)
    known_s, end_s = enter_s, enter_s + size_bytes / leg.rates[span]  # of the rates at `known_s`
    while True:
        first_s = enter_s + segment_bytes / leg.rates[span] + leg.delays_s[span]
        unhurried_s = end_s + leg.delays_s[span] - (size_bytes - segment_bytes) / onward.rate_at(known_s)
        start_s = max(first_s, unhurried_s, known_s)
        if span + 1 == len(times_s) or times_s[span + 1] > start_s or times_s[span + 1] >= end_s:
            return start_s
        known_s = times_s[span + 1]
        left_bytes = (end_s - known_s) * leg.rates[span]
        span += 1
        end_s = known_s + left_bytes / leg.rates[span]
