"""The cost of load at servers and on links: mean number of tasks, its derivatives, and the overload penalty.

Kingman's formula for a single worker with squared coefficient of variation v of the service time, as a function of the
arrival rate phi at service rate s, for arrivals of variability a:

    D(phi)   = phi/s + (a+v) phi^2 / (2 s (s-phi))          [task]
    D'(phi)  = 1/s + (a+v) phi (2s-phi) / (2 s (s-phi)^2)   [s]
    D''(phi) = (a+v) s / (s-phi)^3                          [s^2/task]

a = 1 are Poisson arrivals, for which this is the formula of Pollaczek and Khinchine, and exact: v = 0 is M/D/1, v = 1
is M/M/1. Arrivals that come more evenly wait less, a < 1, and bursts wait more. a is held fixed in the derivatives.
Above `RHO_EXTENSION` * s the function continues as the parabola with the same value, slope and curvature. So every plan
has a finite convex cost, even an infeasible one.

The variability a is the variance of the number of arrivals in a window over its mean. Windows last a few times 1 /
(s-phi), the time in which a server works off a task of its backlog.

Decision 097: waiting is priced by the variance of the number of arrivals in a window, not by that of the times between
them (docs/decisions/097-smooth-draws-and-their-price.md).

A link that queues sends one task in x = b/r seconds. Its tasks arrive roughly at random and take the same time each.
So its cost is M/D/1 waiting on top of the transfer time t = d + x, with rho = f x at the flow f:

    D(f)   = t f + rho^2 / (2 (1-rho))              [task]
    D'(f)  = t + x rho (2-rho) / (2 (1-rho)^2)      [s]
    D''(f) = x^2 / (1-rho)^3                        [s^2/task]

with the same extension above `RHO_EXTENSION`. A link whose rate is infinite does not queue: D(f) = t f.

Every formula stands here once, for plain numbers and arrays. `server_cost`, `server_sojourn_s` and
`measured_link_marginal_s` apply them to one server or link, as nodes do in every round.

Decision 017: nodes compute on plain numbers, not arrays (docs/decisions/017-plain-numbers.md).
"""

import math
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

Number = TypeVar("Number", float, Array)

RHO_EXTENSION = 0.96  # utilisation from which a cost continues as a parabola
LEAST_SHARE = 1e-9  # of the service rate: stands for no flow where a mean over the flow is needed


class QueueCost(NamedTuple, Generic[Number]):
    """Cost of load and its first two derivatives: numbers, or arrays of the broadcast shape of the arguments."""

    tasks: Number  # D [task]
    slope_s: Number  # D' [s]
    curvature_s2: Number  # D'' [s^2/task]


def queue_cost(
    arrival_per_s: ArrayLike, service_per_s: ArrayLike, variability: ArrayLike = 0.0,
    arrival_variability: ArrayLike = 1.0,
) -> QueueCost[Array]:  # fmt: skip
    """Mean number of tasks at a server (Kingman), with the quadratic extension beyond `RHO_EXTENSION`.

    Args:
        arrival_per_s: phi >= 0 [task/s]; any shape that broadcasts with the others.
        service_per_s: s > 0 [task/s].
        variability: v >= 0, squared coefficient of variation of the service time [1].
        arrival_variability: a >= 0, variance of the number of arrivals in a window over its mean [1]; Poisson: 1.

    >>> float(queue_cost(5.0, 10.0).tasks)  # M/D/1 at half load: 0.5 + 0.25
    0.75
    """
    phi, s, v, a = (
        np.asarray(x, dtype=np.float64) for x in (arrival_per_s, service_per_s, variability, arrival_variability)
    )
    return _kingman(phi, s, a + v, np.minimum(phi, RHO_EXTENSION * s))


def server_cost(
    arrival_per_s: float, service_per_s: float, variability: float = 0.0, arrival_variability: float = 1.0
) -> QueueCost[float]:
    """`queue_cost` of one server, in plain numbers."""
    inside = min(arrival_per_s, RHO_EXTENSION * service_per_s)
    return _kingman(arrival_per_s, service_per_s, arrival_variability + variability, inside)


def _kingman(phi: Number, s: Number, both: Number, inside: Number) -> QueueCost[Number]:
    beyond = phi - inside
    slack = s - inside
    tasks = inside / s + both * inside * inside / (2 * s * slack)
    slope = 1 / s + both * inside * (2 * s - inside) / (2 * s * slack * slack)
    curvature = both * s / (slack * slack * slack)
    return QueueCost(
        tasks + slope * beyond + curvature * beyond * beyond / 2,
        slope + curvature * beyond,
        curvature + 0 * beyond,
    )


def overload_penalty(
    arrival_per_s: ArrayLike, service_per_s: ArrayLike, rho_max: float, kappa_s2: float
) -> QueueCost[Array]:
    """Exterior-point penalty kappa/2 * max(0, phi - rho_max s)^2 [task], with its derivatives.

    Args:
        arrival_per_s: phi >= 0 [task/s]; any shape that broadcasts with `service_per_s`.
        service_per_s: s > 0 [task/s].
        rho_max: utilisation above which a server counts as overloaded, 0..1.
        kappa_s2: weight [s^2/task]. The limit is approached from outside; the violation shrinks like 1/kappa.
    """
    phi, s = (np.asarray(x, dtype=np.float64) for x in (arrival_per_s, service_per_s))
    excess = np.maximum(0.0, phi - rho_max * s)
    return QueueCost(kappa_s2 / 2 * excess**2, kappa_s2 * excess, np.where(excess > 0, kappa_s2, 0.0))


def sojourn_s(
    arrival_per_s: ArrayLike, service_per_s: ArrayLike, variability: ArrayLike = 0.0,
    arrival_variability: ArrayLike = 1.0,
) -> Array:  # fmt: skip
    """Mean time in the system T = D(phi) / phi [s], 1/s at phi = 0; arguments as in `queue_cost`.

    >>> round(float(sojourn_s(0.0, 10.0)), 6), float(sojourn_s(5.0, 10.0, 1.0))
    (0.1, 0.2)
    """
    phi, s = (np.asarray(x, dtype=np.float64) for x in (arrival_per_s, service_per_s))
    some = np.maximum(phi, LEAST_SHARE * s)
    return np.asarray(queue_cost(some, s, variability, arrival_variability).tasks / some)


def server_sojourn_s(
    arrival_per_s: float, service_per_s: float, variability: float = 0.0, arrival_variability: float = 1.0
) -> float:
    """`sojourn_s` of one server, in plain numbers."""
    some = max(arrival_per_s, LEAST_SHARE * service_per_s)
    return server_cost(some, service_per_s, variability, arrival_variability).tasks / some


def link_cost(flow_per_s: ArrayLike, transfer_s: ArrayLike, rate_per_s: ArrayLike = np.inf) -> QueueCost[Array]:
    """Mean number of tasks on a link, with derivatives; the module's docstring has the formulas.

    Args:
        flow_per_s: f >= 0 [task/s]; any shape that broadcasts with the others.
        transfer_s: t = d + b/r, the time of a task that does not wait [s].
        rate_per_s: r/b > 0 [task/s]; infinite where the link does not queue.

    >>> float(link_cost(5.0, 0.1, 10.0).tasks), float(link_cost(5.0, 0.1).tasks)
    (0.75, 0.5)
    """
    flow, transfer = np.asarray(flow_per_s, dtype=np.float64), np.asarray(transfer_s, dtype=np.float64)
    waiting = _link_waiting(flow, 1 / np.asarray(rate_per_s, dtype=np.float64))
    return QueueCost(transfer * flow + waiting.tasks, transfer + waiting.slope_s, waiting.curvature_s2)


def _link_waiting(flow_per_s: Array, transmission_s: Array) -> QueueCost[Array]:
    load = flow_per_s * transmission_s
    return _waiting(load, transmission_s, np.minimum(load, RHO_EXTENSION))


def _waiting(load: Number, transmission_s: Number, inside: Number) -> QueueCost[Number]:
    beyond, slack = load - inside, 1 - inside
    slope, curvature = inside * (2 - inside) / (2 * slack * slack), 1 / (slack * slack * slack)
    return QueueCost(
        inside * inside / (2 * slack) + (slope + curvature * beyond / 2) * beyond,
        transmission_s * (slope + curvature * beyond),
        transmission_s * transmission_s * curvature,
    )


def transmission_s(task_s: ArrayLike, small_s: ArrayLike, flow_per_s: ArrayLike) -> Array:
    """Time x = b/r that a task occupies its link [s], from the times that a live node can measure.

    A task takes y = task_s - small_s longer than a small message: its transmission and its waiting behind others.
    Therefore y f = rho (2 - rho) / (2 (1 - rho)), which gives rho = 1 + y f - sqrt(1 + (y f)^2) and x = rho / f. The
    form computed here also holds at f = 0, where x = y. The result is never negative.

    Args:
        task_s: mean time of a task over the link while `flow_per_s` crossed it, waiting included [s].
        small_s: d, the mean time of a message of negligible size [s].
        flow_per_s: the measured flow f [task/s], not the planned one.

    >>> round(float(transmission_s(0.16, 0.01, 5.0)), 6)  # rho = 1/2: x = 0.1, and 0.05 of waiting
    0.1
    """
    task, small, flow = (np.asarray(x, dtype=np.float64) for x in (task_s, small_s, flow_per_s))
    extra = np.maximum(task - small, 0.0)
    return np.asarray(_transmission(extra, extra * flow, np.sqrt(1 + (extra * flow) ** 2)))


def _transmission(extra_s: Number, load: Number, root: Number) -> Number:
    return 2 * extra_s / (1 + load + root)


def link_marginal_s(small_s: ArrayLike, transmission_s: ArrayLike, flow_per_s: ArrayLike) -> Array:
    """Marginal link time D'(f) = d + x + the slope of the waiting [s].

    Args:
        small_s: d, the mean time of a message of negligible size [s].
        transmission_s: x, from the function of that name [s].
        flow_per_s: the planned flow f [task/s].

    >>> round(float(link_marginal_s(0.01, 0.1, 5.0)), 6)  # 0.11 + 0.1 * 0.5 * 1.5 / (2 * 0.25)
    0.26
    """
    small, busy, flow = (np.asarray(x, dtype=np.float64) for x in (small_s, transmission_s, flow_per_s))
    return np.asarray(small + busy + _link_waiting(flow, busy).slope_s)


def measured_link_marginal_s(task_s: float, small_s: float, flow_per_s: float, planned_per_s: float) -> float:
    """`link_marginal_s` of one link [s], in plain numbers, with `transmission_s` from its measured times.

    Args:
        task_s: mean time of a task over the link while `flow_per_s` crossed it, waiting included [s].
        small_s: mean time of a message of negligible size [s].
        flow_per_s: the flow while these times were measured [task/s].
        planned_per_s: the flow to be priced [task/s].
    """
    extra_s = max(task_s - small_s, 0.0)
    load = extra_s * flow_per_s
    busy_s = _transmission(extra_s, load, math.sqrt(1 + load * load))
    planned = planned_per_s * busy_s
    return small_s + busy_s + _waiting(planned, busy_s, min(planned, RHO_EXTENSION)).slope_s
