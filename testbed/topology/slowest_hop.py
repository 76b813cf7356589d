"""How long a small message takes at most between neighbouring stages of a scenario."""

from testbed.network.routes import Ways
from testbed.scenario import Scenario
from testbed.trace.following import traced_courses, usual_delay_s


def longest_hop_s(scenario: Scenario) -> float:
    """What a small message takes at most from one stage to the next, whatever the events do to the links [s].

    A link that follows a network trace counts as it is for most of the time: see `usual_delay_s`.
    """
    slowest_s = _slowest_s(scenario)
    if not scenario.switches:  # each hop is one link
        return max(slowest_s, default=0.0)
    ways = Ways(scenario)
    hops = ((name, receiver) for name, receivers in scenario.offload_to.items() for receiver in receivers)
    return max((sum(slowest_s[link] for link in ways.links(*hop)) for hop in hops), default=0.0)


def _slowest_s(scenario: Scenario) -> list[float]:
    """By link, the longest delay that it has during the run, with four deviations of jitter [s]."""
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
