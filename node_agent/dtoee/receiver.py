"""DTO-R: the marginal cost that a receiver reports, one step of the backward recursion.

    B_j  = sum_k p_jk (D'_jk + Omega_k)                   cost-to-go of a task that continues          [s]
    Omega_j = D'_j + pen'_j + (1-I_j) ret_j + I_j B_j     marginal cost of one more task at j          [s]
    m_j  = D'_j + pen'_j + (1-I_j) ret_j + I_j min_k (D'_jk + m_k)   the same under ideal rows downstream [s]
    R_j  = D''_j + pen''_j + I_j^2 (sum_k p_jk sqrt(D''_jk + R_k))^2   bound on the second derivative  [s^2/task]

D'_jk is the marginal time of the link; it equals the transfer time t_jk where the link does not queue. ret_j is the
time in which a result returns, I_j the remaining ratio (0 at the last stage). The recursion is Gallager's (1977); its
form for service chains is from Zhang and Yeh (2023, arXiv 2310.06141).

The total delay has the gradient w_i (D'_ij + Omega_j) with respect to p_ij, and phi_j (B_j - ret_j) with respect to
I_j. The sum over the devices of phi_i (Omega_i - m_i) bounds the distance of a plan from the optimum.

`marginal_cost` is one node's step, on plain numbers and lists of K; `stage_cost` is that step for many nodes at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

import numpy as np

from node_agent.dtoee.queueing import Array, Mask, Number, overload_penalty, queue_cost, server_cost


@dataclass(frozen=True, slots=True)
class Load:
    """A server's own state."""

    arrival_per_s: float  # phi [task/s]
    service_per_s: float  # s [task/s]
    variability: float  # v, squared coefficient of variation of the service time [1]
    remaining_ratio: float  # I, 0..1
    return_s: float = 0.0  # ret, mean time of a result from this server to its device [s]
    arrival_variability: float = 1.0  # a, variance of the number of arrivals in a window over its mean [1]


@dataclass(frozen=True, slots=True)
class StageLoad:
    """The `Load` of n servers: arrays (n,), or all of one other shape."""

    arrival_per_s: Array
    service_per_s: Array
    variability: Array
    remaining_ratio: Array
    return_s: Array | float = 0.0
    arrival_variability: Array | float = 1.0


@dataclass(frozen=True, slots=True)
class Overload:
    """The parameters of the exterior penalty.

    Decision 015: the weight of the penalty stays fixed (docs/decisions/015-fixed-penalty.md).
    """

    rho_max: float = 0.9  # utilisation above which a server counts as overloaded, 0..1
    kappa_s2: float = 10.0  # weight [s^2/task]


@dataclass(frozen=True, slots=True)
class Downstream:
    """The receivers of n offloaders, K each; every field has shape (n, K)."""

    link_marginal_s: Array  # D'_jk, marginal time of the link [s]; its transfer time where it does not queue
    marginal_s: Array  # Omega [s]
    best_s: Array  # m [s]
    curvature_s2: Array  # R [s^2/task]
    link_curvature_s2: Array | float = 0.0  # D''_jk [s^2/task]
    exists: Mask | None = None  # False where a padded entry stands for no receiver; None: all exist


class Ahead(NamedTuple):
    """The K receivers of one offloader, links included: K numbers each."""

    delta_s: Sequence[float]  # D'_jk + Omega_k [s]
    best_s: Sequence[float]  # D'_jk + m_k [s]
    curvature_s2: Sequence[float]  # D''_jk + R_k [s^2/task]


class MarginalCost(NamedTuple, Generic[Number]):
    """The prices that a receiver reports: numbers for one receiver, arrays (n,) for n of them."""

    marginal_s: Number  # Omega [s]
    best_s: Number  # m [s]
    local_s: Number  # D' + pen' [s]
    onward_s: Number  # B [s]
    curvature_s2: Number  # R [s^2/task]


StageCost = MarginalCost[Array]


def marginal_cost(load: Load, overload: Overload, row: Sequence[float], ahead: Ahead | None) -> MarginalCost[float]:
    """The prices of one server: one step of the recursion in the module's docstring.

    Args:
        load: the server's own load.
        overload: the penalty's parameters.
        row: offloading probabilities p, K of them; ignored at the last stage.
        ahead: its receivers, or None at the last stage.
    """
    queue = server_cost(load.arrival_per_s, load.service_per_s, load.variability, load.arrival_variability)
    excess = max(0.0, load.arrival_per_s - overload.rho_max * load.service_per_s)
    local = queue.slope_s + overload.kappa_s2 * excess
    curvature = queue.curvature_s2 + (overload.kappa_s2 if excess > 0 else 0.0)
    if ahead is None:
        own = local + load.return_s
        return MarginalCost(own, own, local, 0.0, curvature)
    onward, best_onward = cost_to_go(row, ahead)
    spread = sum([p * math.sqrt(bent) for p, bent in zip(row, ahead.curvature_s2, strict=True)])
    return _recursion(local, curvature, load.remaining_ratio, load.return_s, onward, best_onward, spread)


def stage_cost(load: StageLoad, overload: Overload, rows: Array, downstream: Downstream | None) -> StageCost:
    """`marginal_cost` of n servers at once: `load` of shape (n,), rows and downstream of shape (n, K)."""
    queue = queue_cost(load.arrival_per_s, load.service_per_s, load.variability, load.arrival_variability)
    penalty = overload_penalty(load.arrival_per_s, load.service_per_s, overload.rho_max, overload.kappa_s2)
    local, curvature = queue.slope_s + penalty.slope_s, queue.curvature_s2 + penalty.curvature_s2
    if downstream is None:
        own = local + load.return_s
        return StageCost(own, own, local, np.zeros_like(local), curvature)
    onward, best_onward = costs_to_go(rows, downstream)
    spread = (rows * np.sqrt(downstream.link_curvature_s2 + downstream.curvature_s2)).sum(-1)
    return_s = np.asarray(load.return_s, dtype=np.float64)
    return _recursion(local, curvature, load.remaining_ratio, return_s, onward, best_onward, spread)


def _recursion(
    local: Number, curvature: Number, remaining: Number, return_s: Number, onward: Number, best_onward: Number,
    spread: Number,
) -> MarginalCost[Number]:  # fmt: skip
    own = local + (1 - remaining) * return_s
    return MarginalCost(
        own + remaining * onward,
        own + remaining * best_onward,
        local,
        onward,
        curvature + remaining * spread * (remaining * spread),
    )


def cost_to_go(row: Sequence[float], ahead: Ahead) -> tuple[float, float]:
    """B under the row p, and the least cost-to-go of any row under ideal plans downstream [s]."""
    return sum([p * delta_s for p, delta_s in zip(row, ahead.delta_s, strict=True)]), min(ahead.best_s)


def costs_to_go(rows: Array, downstream: Downstream) -> tuple[Array, Array]:
    """`cost_to_go` of n rows (n, K) at once [s], two arrays (n,); rows hold 0 where no receiver exists."""
    delta, best = downstream.link_marginal_s + downstream.marginal_s, downstream.link_marginal_s + downstream.best_s
    if downstream.exists is not None:
        delta, best = np.where(downstream.exists, delta, 0.0), np.where(downstream.exists, best, np.inf)
    return (rows * delta).sum(-1), best.min(-1)
