"""Links that follow a network trace during a run: their shapes over time, mean shapes, and usual delays."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from testbed.scenario import Direction, LinkShape, Scenario

Course = Sequence[tuple[float, LinkShape]]  # (start [s], shape) in order of time, the first at 0 s

USUAL_SHARE = 0.95  # of the time


def traced_courses(scenario: Scenario) -> Mapping[Direction, Course]:
    """Return the course of each direction of the links that follow a trace.

    Both directions share one object if they follow the same trace.
    """
    courses: dict[Direction, list[tuple[float, LinkShape]]] = {}
    for link in scenario.links:
        if link.traces:
            courses[link.ends] = courses[link.ends[::-1]] = [(0.0, link.shapes[0])]
            if link.down_shape is not None:
                courses[link.ends[::-1]] = [(0.0, link.down_shape)]
    for event in scenario.events:
        if event.traced and event.at_s < scenario.duration_s:
            direction, shape = next(iter(event.shapes.items()))  # both directions share one course, or there is one
            courses[direction].append((event.at_s, shape))
    return dict(courses)


def mean_shape(course: Course, begin_s: float, end_s: float) -> LinkShape:
    """Return the means over [begin, end) of a course, weighted by time.

    Decision 051: the mean rate is the volume over time, not the mean time per byte
    (docs/decisions/051-arithmetic-mean-of-traced-rates.md).
    """
    edges_s = [at_s for at_s, _ in course[1:]]
    parts = [
        (min(until_s, end_s) - max(at_s, begin_s), shape)
        for (at_s, shape), until_s in zip(course, (*edges_s, math.inf), strict=True)
        if at_s < end_s and until_s > begin_s
    ]

    def mean(name: str) -> float:
        return math.fsum(length_s * getattr(shape, name) for length_s, shape in parts) / (end_s - begin_s)

    queue_packets = course[0][1].queue_packets
    return LinkShape(mean("rate_mbit_per_s"), mean("delay_s"), mean("jitter_s"), mean("loss"), queue_packets)


def usual_delay_s(course: Course, duration_s: float) -> float:
    """Return the delay [s] that a frame does not exceed for 95 % of the time, plus four deviations of jitter.

    Transmission time is not included. Decision 052: rounds wait for the usual delay of a link, not for its longest
    (docs/decisions/052-usual-delay-of-traced-links.md).
    """
    times_s = (*(at_s for at_s, _ in course), duration_s)
    found = sorted(
        (shape.delay_s + 4 * shape.jitter_s, end_s - begin_s)
        for (begin_s, end_s), (_, shape) in zip(pairwise(times_s), course, strict=True)
    )
    passed_s = 0.0
    for delay_s, length_s in found:
        passed_s += length_s
        if passed_s >= USUAL_SHARE * duration_s:
            return delay_s
    return found[-1][0]
