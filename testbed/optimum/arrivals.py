"""The variability of arrivals at every server of a flow model under a plan, for the waits of Kingman's formula.

It is the variance of the number of tasks in a window over its mean (see `node_agent.dtoee.queueing`). The window at
server j lasts `WINDOW` / (s_j - phi_j). Numbers of tasks in a window are followed from the devices through the stages
up to j, all over this window; m is a mean number, V its variance:

    a device             V = m for Poisson arrivals; m times the index of dispersion for bursts
    from node i to j     V_ij = p^2 V_i + R (1 - exp(-p (1-p) m_i / R))    smooth draws, R = `ROUNDING`
                         V_ij = p^2 V_i + p (1-p) m_i                      random draws
    arrivals at j        V = sum_i V_ij,   a = V / m
    departures of j      V = m (w a + (1-w) v),   w = `departing` at (s-phi)^2 phi t / (s^2 rho (a + v))
    tasks that go on     V' = I^2 V + I (1-I) m

A smooth draw gives a receiver p times the tasks of its offloader, up to rounding: R is the variance of that rounding,
and the slope at few tasks that of at most one. Departures are those of Whitt and You (Operations Research 66, 2018): a
busy server makes its departures as even as its service times over short windows, and passes on the variability of its
arrivals over long ones. Exits do not depend on the task before. Streams of different nodes count as independent.

Decision 082: the variability is computed for a plan, and held fixed while a better one is sought
(docs/decisions/082-variability-in-the-bound.md).
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from node_agent.core.config import Draws
from node_agent.dtoee.queueing import Array
from node_agent.dtoee.staged import Flows, Rows, StagedNetwork
from testbed.optimum.flow_model import FlowModel
from testbed.trace.processes.bursty import Bursty

WINDOW = 2.0  # shorter than that of nodes: over long windows these formulas are too even
ROUNDING = 0.19  # variance of the rounding by smooth draws, over many tasks: 1/6 for two receivers, up to 0.2 for more
LEAST = 0.05  # as nodes report it at least
MOST_UTILISATION = 0.95  # where windows stop to grow
ALIKE = 0.05  # windows whose lengths differ by less are taken for one

Dispersion = Callable[[Array, float], Array]  # index of dispersion of devices' tasks, by rate (D,) and window [s]


bursts: Dispersion = Bursty().dispersion  # of the streams that the arrival process `bursty` draws


def poisson(rate_per_s: Array, window_s: float) -> Array:  # noqa: ARG001 - it is 1 at any window
    """Index of dispersion of Poisson streams, (D,): one."""
    return np.ones_like(rate_per_s)


def with_arrivals(
    model: FlowModel, flows: Flows, rows: Rows, *, draws: Draws, dispersion: Dispersion = poisson
) -> FlowModel:
    """The model with the variability of arrivals under a plan.

    Args:
        model: the model; its own variability of arrivals does not matter.
        flows: of the plan.
        rows: of the plan, per tier (n, K).
        draws: how tasks follow the rows.
        dispersion: of the devices' own tasks.
    """
    found = tuple(
        np.clip(each, LEAST, None) for each in variability(model.network, flows, rows, draws, dispersion)
    )  # fmt: skip
    return replace(model, network=replace(model.network, arrival_variability=found))


def variability(
    network: StagedNetwork, flows: Flows, rows: Rows, draws: Draws, dispersion: Dispersion = poisson
) -> tuple[Array, ...]:
    """The variability a of the arrivals, per stage (n_h,); 1 at idle servers. Arguments as in `with_arrivals`."""
    found = []
    for index, (phi, service) in enumerate(zip(flows.arrival_per_s, network.service_per_s, strict=True)):
        slack_per_s = service - np.minimum(phi, MOST_UTILISATION * service)
        steps = np.round(np.log(WINDOW / slack_per_s) / ALIKE)
        at_stage = np.ones(len(phi))
        for step in np.unique(steps[phi > 0]):
            here = (steps == step) & (phi > 0)
            passed = _followed(network, flows, rows, draws, dispersion, index, math.exp(step * ALIKE))
            at_stage[here] = passed[here]
        found.append(at_stage)
    return tuple(found)


def _followed(
    network: StagedNetwork, flows: Flows, rows: Rows, draws: Draws, dispersion: Dispersion, last: int, window_s: float
) -> Array:  # fmt: skip
    """The variability of arrivals at the stage of index `last`, (n,), over windows of one length [s]."""
    mean = network.device_rate_per_s * window_s
    variance = mean * dispersion(network.device_rate_per_s, window_s)
    for index in range(last + 1):
        tier, size = network.tiers[index], len(network.service_per_s[index])
        sent = drawn(np.where(tier.exists, rows[index], 0.0), mean[:, None], variance[:, None], draws)
        arrived = flows.arrival_per_s[index] * window_s
        ratio = tier.collect(sent, size) / np.where(arrived > 0, arrived, 1.0)
        if index < last:
            remaining = flows.remaining[index]
            leaving = _departures(network, index, flows.arrival_per_s[index], ratio, window_s)
            mean = remaining * arrived
            variance = remaining**2 * leaving * arrived + remaining * (1 - remaining) * arrived
    return ratio


def drawn(share: Array, mean: Array, variance: Array, draws: Draws) -> Array:
    """Variance of the number of tasks that draws send to a receiver with this share, from the number of all tasks."""
    if draws == "random":
        return share**2 * variance + share * (1 - share) * mean
    return share**2 * variance - ROUNDING * np.expm1(-share * (1 - share) * mean / ROUNDING)


def _departures(network: StagedNetwork, index: int, phi: Array, arrivals: Array, window_s: float) -> Array:
    """Variance over mean of the number of departures in a window, (n,)."""
    v, service = network.variability[index], network.service_per_s[index]
    rho = np.minimum(phi / service, MOST_UTILISATION)
    both = np.maximum(arrivals + v, LEAST)
    part = np.array([departing(float(x)) for x in (1 - rho) ** 2 * service * window_s / both])
    return part * arrivals + (1 - part) * v


def departing(window: float) -> float:
    """The share w of the arrivals' variability in that of the departures, 0..1; Whitt and You (2018).

    Args:
        window: length of the window in units of the queue's relaxation time.

    >>> departing(0.0), round(departing(1.0), 3), round(departing(1e4), 3)
    (0.0, 0.667, 1.0)
    """
    if window < 1e-6:
        return 0.0
    if window > 1e3:
        return 1.0 - 1 / (2 * window)
    root = math.sqrt(window)
    within, density = math.erf(root / math.sqrt(2)), math.exp(-window / 2) / math.sqrt(2 * math.pi)
    return ((window * window + 2 * window - 1) * within + 2 * root * density * (1 + window) - window**2) / (2 * window)
