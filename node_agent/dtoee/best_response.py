"""The row of an offloader right after a receiver's price has jumped: the best response if all others respond alike.

The next round comes too late for the tasks of the meantime, and a step that ignores the other offloaders floods the
receiver that seems cheapest. So each offloader assumes that all of them scale their flow to a receiver like itself: at
the share p instead of p0, receiver j gets the arrivals phi_j p / p0. With the price f_j of the way there and of all
that lies beyond its queue, the row equalises

    f_j + D'_j(phi_j p_j / p0_j) = mu   where p_j > 0,   sum_j p_j = 1.

D' inverts in closed form: with y = s - phi,  D' = 1/s + (a+v) (s^2 - y^2) / (2 s y^2).  mu is found by bisection.
This is the equilibrium of one stage at the prices of the last round (Wardrop, with marginal costs), reached without a
message.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from node_agent.dtoee.offloader import TINY
from node_agent.dtoee.one_row import restrict
from node_agent.dtoee.queueing import RHO_EXTENSION, server_cost

HALVINGS = 60  # of the interval that holds mu


class Priced(NamedTuple):
    """A receiver, as its offloader prices it."""

    alive: bool  # False: it gets nothing
    other_s: float  # f, price of the way there and of all beyond its own queue [s]
    arrival_per_s: float  # phi, arrivals from all offloaders under the row p0 [task/s]
    service_per_s: float  # s, its service rate now [task/s]
    variability: float  # v, squared coefficient of variation of the service time [1]
    arrival_variability: float = 1.0  # a, of the number of arrivals in a window [1]; Poisson: 1


def best_response(row: Sequence[float], receivers: Sequence[Priced], floor: float) -> list[float]:
    """The row after the others have responded alike: K numbers that sum to one.

    Args:
        row: p0, the row under which the arrival rates hold, K numbers that sum to one.
        receivers: the K receivers; at least one that is alive has a positive share.
        floor: least share of a living receiver, as in `offloader.restrict`.

    >>> slow, fast = Priced(True, 0.0, 5.0, 10.0, 0.0), Priced(True, 0.0, 5.0, 20.0, 0.0)
    >>> [round(p, 3) for p in best_response([0.5, 0.5], [slow, fast], 0.001)]  # the slow one was half busy
    [0.086, 0.914]
    """
    lives = [known.alive for known in receivers]
    start = restrict(row, lives, floor)
    prices = [known.other_s + _slope_s(known, 0.0) for known in receivers]
    low = min(price for price, known in zip(prices, receivers, strict=True) if known.alive)
    high = max(
        known.other_s + _slope_s(known, known.arrival_per_s / max(p, TINY))
        for p, known in zip(start, receivers, strict=True) if known.alive
    )  # fmt: skip
    for _ in range(HALVINGS):
        mu = (low + high) / 2
        total = sum([_share(mu, p, known) for p, known in zip(start, receivers, strict=True)])
        low, high = (low, mu) if total >= 1 else (mu, high)
    shares = [_share(high, p, known) for p, known in zip(start, receivers, strict=True)]
    return restrict(shares, lives, floor)


def _slope_s(known: Priced, arrival_per_s: float) -> float:
    varied = known.variability, known.arrival_variability
    return server_cost(arrival_per_s, known.service_per_s, *varied).slope_s


def _share(mu: float, p: float, known: Priced) -> float:
    """Share at which the price of a receiver is mu; 1 at most, 0 if it is dearer even without load."""
    if not known.alive:
        return 0.0
    arrival_per_s = arrivals_at(mu - known.other_s, known.service_per_s, known.variability, known.arrival_variability)
    if known.arrival_per_s <= 0:
        return 1.0 if arrival_per_s > 0 else 0.0
    return min(1.0, p * arrival_per_s / known.arrival_per_s)


def arrivals_at(
    slope_s: float, service_per_s: float, variability: float = 0.0, arrival_variability: float = 1.0
) -> float:
    """Arrival rate at which the marginal time D' of a server is `slope_s` [task/s]; 0 if it exceeds that without load.

    The inverse of the slope of `queueing.queue_cost`, its extension included.

    Args:
        slope_s: D' [s].
        service_per_s: s > 0 [task/s].
        variability: v [1].
        arrival_variability: a [1].

    >>> round(arrivals_at(0.25, 10.0), 9)  # M/D/1 at half load: D' = 0.25 s
    5.0
    """
    s, bent = service_per_s, max(arrival_variability + variability, TINY)
    if slope_s <= 1 / s:
        return 0.0
    slack = math.sqrt(bent * s / (2 * (slope_s - 1 / s) + bent / s))
    if slack >= (1 - RHO_EXTENSION) * s:
        return s - slack
    edge = server_cost(RHO_EXTENSION * s, s, variability, arrival_variability)
    return RHO_EXTENSION * s + (slope_s - edge.slope_s) / edge.curvature_s2
