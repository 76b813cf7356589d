"""The best rows of a whole network for given thresholds, to a certified gap: a solver that may use what no node knows.

Its steps anticipate how the loads answer. For every tier, with x_ij the relative change of the flow f_ij,

    minimise  sum f_ij delta_ij x_ij + 1/2 sum_j R_j y_j^2 + 1/(2 eta) sum f_ij dbar_i x_ij^2,   y_j = sum_i f_ij x_ij

under sum_j f_ij x_ij = 0, which comes to one linear equation per receiver in y. The step eta adapts to the cost.
"""

from dataclasses import dataclass

import numpy as np

from node_agent.dtoee.offloader import restrict
from node_agent.dtoee.queueing import Array
from node_agent.dtoee.staged import ExitCells, Flows, Prices, Rows, StagedNetwork, Thresholds, exit_cells

EXACT_FLOOR = 1e-9  # of the solver: it looks at every receiver in every round, so that none needs probing
# Receivers of a stage up to which the solver asks how a row's answer to one changes the load of the others; beyond,
# the linear equations would cost more than the steps that they save.
MOST_COUPLED = 2000


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan near the optimum for its thresholds."""

    rows: Rows
    flows: Flows
    prices: Prices
    delay_s: float  # mean delay, penalty included
    gap_s: float  # the optimum is at most this much below `delay_s`, for one threshold per stage


def solve(
    network: StagedNetwork, thresholds: Thresholds, *, rows: Rows | None = None, relative_gap: float = 1e-4,
    most_rounds: int = 2000, hopeless_s: float = np.inf,
) -> Solution:  # fmt: skip
    """The best rows for given thresholds.

    Args:
        thresholds: per early stage (n_h,); where they differ inside a stage, prices and gap are approximate.
        rows: where to start; in proportion to speed if None.
        relative_gap: stop when the certified gap is at most this share of the mean delay.
        most_rounds: stop at the latest; the returned `gap_s` says what has been reached.
        hopeless_s: stop as well once the certificate says that no rows can bring the mean delay below this.
    """
    cells = exit_cells(network.table, thresholds)
    now = tuple(
        restrict(row, tier.exists, EXACT_FLOOR)
        for row, tier in zip(rows or network.speed_rows(), network.tiers, strict=True)
    )
    best = _evaluate(network, now, thresholds, cells)
    step = 1.0
    for _ in range(most_rounds):
        hopeless = best.delay_s - best.gap_s > hopeless_s
        if best.gap_s <= relative_gap * best.delay_s or hopeless or step < 1e-6:
            break
        moved = tuple(_anticipating(network, best, h, step) for h in range(network.stages))
        tried = _evaluate(network, moved, thresholds, cells)
        if tried.delay_s < best.delay_s:
            best, step = tried, min(1e4, step * 1.5)
        else:
            step /= 4
    return best


def _evaluate(network: StagedNetwork, rows: Rows, thresholds: Thresholds, cells: ExitCells) -> Solution:
    flows = network.flows(rows, thresholds, cells)
    prices = network.prices(rows, flows)
    return Solution(rows, flows, prices, network.mean_delay_s(flows), network.gap_s(flows, prices))


def _anticipating(network: StagedNetwork, plan: Solution, h: int, step: float) -> Array:
    """One tier's rows after a multiplicative step on the prices that will hold once all of the tier has moved."""
    tier, size = network.tiers[h], len(network.service_per_s[h])
    rows, flow, delta = plan.rows[h], plan.flows.link_per_s[h], plan.prices.delta_s[h]
    mean = (rows * delta).sum(-1, keepdims=True)
    weight = step * flow / (mean * (1 + step * flow * plan.prices.link_curvature_s2[h] / mean))
    share = weight / np.maximum(weight.sum(-1, keepdims=True), 1e-300)
    target = (share * delta).sum(-1, keepdims=True)
    curvature = plan.prices.stages[h].curvature_s2
    pull = tier.collect(weight * (delta - target), size)
    diagonal = tier.collect(weight, size)
    if size <= MOST_COUPLED:
        coupling = np.diag(diagonal) - tier.carry(share, tier.spread(weight, size), size).T
        change = np.linalg.solve(np.eye(size) + coupling * curvature, -pull)
    else:
        change = -pull / (1 + diagonal * curvature)
    expected = delta + (curvature * change)[tier.receivers]
    gradient = expected - (share * expected).sum(-1, keepdims=True)
    factor = step / (mean * (1 + step * flow * plan.prices.link_curvature_s2[h] / mean))
    moved = rows * np.exp(np.clip(-factor * gradient, -5.0, 2.0))
    return restrict(moved, tier.exists, EXACT_FLOOR)
