"""DTO-R: the marginal cost a receiver reports, one step of the backward recursion.

    B_j  = sum_k p_jk (t_jk + Omega_k)                 cost-to-go of a task that continues       [s]
    Omega_j = D'_j + pen'_j + I_j B_j                  marginal cost of one more task at j       [s]
    m_j  = D'_j + pen'_j + I_j min_k (t_jk + m_k)      the same if all rows downstream were ideal [s]
    R_j  = D''_j + I_j^2 (sum_k p_jk sqrt(R_k))^2      bound on the second derivative     [s^2/task]

with t_jk the transfer time of the link and I_j the remaining ratio (0 at the last stage). Gallager (1977); the
service-chain form is Zhang and Yeh (2023). The gradient of the total delay with respect to p_ij is then
w_i (t_ij + Omega_j), and sum_i phi_i (Omega_i - m_i) over the devices bounds how far a plan is from the optimum.
"""

from dataclasses import dataclass

import numpy as np

from node_agent.dtoee.queueing import Array, overload_penalty, queue_cost


@dataclass(frozen=True, slots=True)
class Load:
    """A server's own state: arrival rate [task/s], service rate [task/s], variability of service, remaining ratio."""

    arrival_per_s: float
    service_per_s: float
    variability: float
    remaining_ratio: float


@dataclass(frozen=True, slots=True)
class Overload:
    """The exterior penalty's parameters: the utilisation kept from outside, and its weight [s^2/task].

    Decision: the weight stays fixed; a violation that it leaves is absorbed by the distance between `rho_max` and
    instability. Rejected: growing it in outer steps, each of which makes all prices jump.
    """

    rho_max: float = 0.9
    kappa_s2: float = 10.0


@dataclass(frozen=True, slots=True)
class Downstream:
    """What an offloader knows of its K receivers; every field has shape (K,)."""

    link_s: Array  # t, transfer time of a task
    marginal_s: Array  # Omega
    best_s: Array  # m
    curvature_s2: Array  # R


@dataclass(frozen=True, slots=True)
class MarginalCost:
    """What a receiver reports: Omega, m, D' + pen', B (all [s]) and R [s^2/task]."""

    marginal_s: float
    best_s: float
    local_s: float
    onward_s: float
    curvature_s2: float


def marginal_cost(load: Load, overload: Overload, row: Array, downstream: Downstream | None) -> MarginalCost:
    """One step of the recursion above.

    Args:
        load: the server's own load.
        overload: the penalty.
        row: offloading probabilities p, shape (K,); ignored at the last stage.
        downstream: its receivers, or None at the last stage.
    """
    queue = queue_cost(load.arrival_per_s, load.service_per_s, load.variability)
    penalty = overload_penalty(load.arrival_per_s, load.service_per_s, overload.rho_max, overload.kappa_s2)
    local = float(queue.slope_s + penalty.slope_s)
    curvature = float(queue.curvature_s2 + penalty.curvature_s2)
    if downstream is None:
        return MarginalCost(local, local, local, 0.0, curvature)
    onward, best_onward = cost_to_go(row, downstream)
    remaining = load.remaining_ratio
    return MarginalCost(
        marginal_s=local + remaining * onward,
        best_s=local + remaining * best_onward,
        local_s=local,
        onward_s=onward,
        curvature_s2=curvature + (remaining * float(row @ np.sqrt(downstream.curvature_s2))) ** 2,
    )


def cost_to_go(row: Array, downstream: Downstream) -> tuple[float, float]:
    """B under the row p, and the least cost-to-go that any row could have under ideal plans downstream [s]."""
    return (
        float(row @ (downstream.link_s + downstream.marginal_s)),
        float(np.min(downstream.link_s + downstream.best_s)),
    )
