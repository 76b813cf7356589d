"""The time that a faster server or link would save, by the formulas with which DTO-EE prices load.

A server with the arrival rate phi and the service rate s holds D(phi, s) tasks on average
(`node_agent.dtoee.queueing`), a link with the flow f likewise. By Little's law, the time that all tasks of a span T
spend there is D T. So a faster one saves (D(phi, s) - D(phi, MORE s)) T, for small steps the price phi dD/ds of
capacity. Rates and variabilities are those of the recorded tasks between two events of the scenario.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from node_agent.dtoee.queueing import RHO_EXTENSION, link_cost, server_cost
from testbed.explain.queues import MORE, LinkQueue, ServerQueue
from testbed.scenario import Scenario

WINDOW_SERVICES = 20  # length of a window of arrivals, in services
LEAST_WINDOWS = 10
Span = tuple[float, float]  # from, until [s]
Times = npt.NDArray[np.float64]


def spans_of(scenario: Scenario) -> list[Span]:
    """Return the spans of the counted time between which the scenario changes something."""
    inside = {event.at_s for event in scenario.incidents if scenario.warm_up_s < event.at_s < scenario.duration_s}
    times_s = [scenario.warm_up_s, *sorted(inside), scenario.duration_s]
    return [(from_s, until_s) for from_s, until_s in pairwise(times_s) if until_s > from_s]


def server_price_s(queue: ServerQueue, spans: Sequence[Span]) -> float | None:
    """Return the time that all tasks together save if a server is MORE times as fast [s].

    None if it was full in some span: the formulas hold for queues that have settled, and a full one never does.
    """
    arrivals_s, services_s = np.array(queue.arrivals_s), np.array(queue.services_s)
    saved_s = 0.0
    for from_s, until_s in spans:
        within = (arrivals_s >= from_s) & (arrivals_s < until_s)
        if not within.any() or (mean_s := float(services_s[within].mean())) <= 0:
            continue
        span_s = until_s - from_s
        if float(services_s[within].sum()) >= RHO_EXTENSION * span_s:
            return None
        arrival_per_s, variability = int(within.sum()) / span_s, float(services_s[within].var()) / mean_s**2
        evenness = arrival_variability(arrivals_s[within] - from_s, span_s, mean_s)
        now, faster = (server_cost(arrival_per_s, each / mean_s, variability, evenness).tasks for each in (1.0, MORE))
        saved_s += (now - faster) * span_s
    return saved_s


def arrival_variability(arrivals_s: Times, span_s: float, service_s: float) -> float:
    """Return the variance of the number of arrivals in a window over its mean; 1 if there are too few windows.

    Args:
        arrivals_s: when tasks arrived, from 0 to `span_s` [s].
        span_s: the length of the span [s].
        service_s: mean service time; a window is WINDOW_SERVICES of them [s].
    """
    windows = int(span_s / (WINDOW_SERVICES * service_s))
    if windows < LEAST_WINDOWS:
        return 1.0
    counts, _ = np.histogram(arrivals_s, bins=windows, range=(0.0, span_s))
    mean = float(counts.mean())
    return float(counts.var()) / mean if mean else 1.0


def link_price_s(queue: LinkQueue, spans: Sequence[Span]) -> float | None:
    """Return the time that all messages together save if a link is MORE times as fast [s]; None as for servers."""
    entered_s = np.array([entered_s for entered_s, _ in queue.sent])
    sending_s = np.array([sending_s for _, sending_s in queue.sent])
    saved_s = 0.0
    for from_s, until_s in spans:
        within = (entered_s >= from_s) & (entered_s < until_s)
        if not within.any():
            continue
        span_s, mean_s = until_s - from_s, float(sending_s[within].mean())
        if mean_s * int(within.sum()) >= RHO_EXTENSION * span_s:
            return None
        flow_per_s = int(within.sum()) / span_s
        now, faster = (float(link_cost(flow_per_s, mean_s / each, each / mean_s).tasks) for each in (1.0, MORE))
        saved_s += (now - faster) * span_s
    return saved_s
