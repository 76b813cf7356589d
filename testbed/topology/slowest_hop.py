"""The longest time that a small message takes between neighbouring stages of a scenario."""

from testbed.network.routes import Ways
from testbed.scenario import Scenario
from testbed.trace.following import traced_courses, usual_delay_s


def longest_hop_s(scenario: Scenario) -> float:
    """Return the longest time [s] that a small message takes from one stage to the next, events included.

    A link that follows a network trace counts with its `usual_delay_s`, which ignores rare spikes.
    """
    slowest_s = _slowest_s(scenario)
    if not scenario.switches:  # each hop is one link
        return max(slowest_s, default=0.0)
    ways = Ways(scenario)
    hops = ((name, receiver) for name, receivers in scenario.offload_to.items() for receiver in receivers)
    return max((sum(slowest_s[link] for link in ways.links(*hop)) for hop in hops), default=0.0)


def _slowest_s(scenario: Scenario) -> list[float]:
    """Return the longest delay [s] of each link during the run, plus four standard deviations of jitter."""
    shapes = {frozenset(link.ends): list(link.shapes) for link in scenario.links}
    for event in scenario.incidents:
        for ends, shape in event.shapes.items():
            shapes[frozenset(ends)].append(shape)
    courses = traced_courses(scenario)
    return [
        max(usual_delay_s(courses[ends], scenario.duration_s) for ends in (link.ends, link.ends[::-1]))
        if link.traces
        else max(shape.delay_s + 4 * shape.jitter_s for shape in shapes[frozenset(link.ends)])
        for link in scenario.links
    ]
