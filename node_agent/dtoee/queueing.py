"""The cost of load at one server: mean number of tasks in the system, its derivatives, and the overload penalty.

Pollaczek-Khinchine for a single worker with squared coefficient of variation v of the service time, as a function of
the arrival rate phi at service rate s:

    D(phi)   = phi/s + (1+v) phi^2 / (2 s (s-phi))          [task]
    D'(phi)  = 1/s + (1+v) phi (2s-phi) / (2 s (s-phi)^2)   [s]
    D''(phi) = (1+v) s / (s-phi)^3                          [s^2/task]

v = 0 is M/D/1, v = 1 is M/M/1. Above `RHO_EXTENSION` * s the function goes on as the parabola with the same value,
slope and curvature, so that every plan, also an infeasible one, has a finite convex cost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

RHO_EXTENSION = 0.96


@dataclass(frozen=True, slots=True)
class QueueCost:
    """Cost of load and its first two derivatives; each an array of the broadcast shape of the arguments."""

    tasks: Array  # D [task]
    slope_s: Array  # D' [s]
    curvature_s2: Array  # D'' [s^2/task]


def queue_cost(arrival_per_s: ArrayLike, service_per_s: ArrayLike, variability: ArrayLike = 0.0) -> QueueCost:
    """Pollaczek-Khinchine cost with the quadratic extension beyond `RHO_EXTENSION`.

    Args:
        arrival_per_s: phi >= 0 [task/s].
        service_per_s: s > 0 [task/s].
        variability: v >= 0, squared coefficient of variation of the service time.

    >>> float(queue_cost(5.0, 10.0).tasks)  # M/D/1 at half load: 0.5 + 0.25
    0.75
    """
    phi, s, v = (np.asarray(x, dtype=np.float64) for x in (arrival_per_s, service_per_s, variability))
    inside = np.minimum(phi, RHO_EXTENSION * s)
    beyond = phi - inside
    slack = s - inside
    tasks = inside / s + (1 + v) * inside**2 / (2 * s * slack)
    slope = 1 / s + (1 + v) * inside * (2 * s - inside) / (2 * s * slack**2)
    curvature = (1 + v) * s / slack**3
    return QueueCost(
        tasks + slope * beyond + curvature * beyond**2 / 2,
        slope + curvature * beyond,
        curvature + 0 * beyond,
    )


def overload_penalty(
    arrival_per_s: ArrayLike, service_per_s: ArrayLike, rho_max: float, kappa_s2: float
) -> QueueCost:
    """Exterior-point penalty kappa/2 * max(0, phi - rho_max s)^2, with its derivatives.

    Args:
        rho_max: utilisation above which a server counts as overloaded.
        kappa_s2: weight [s^2/task]; the limit is approached from outside, the violation shrinks like 1/kappa.
    """
    phi, s = (np.asarray(x, dtype=np.float64) for x in (arrival_per_s, service_per_s))
    excess = np.maximum(0.0, phi - rho_max * s)
    return QueueCost(kappa_s2 / 2 * excess**2, kappa_s2 * excess, np.where(excess > 0, kappa_s2, 0.0))
