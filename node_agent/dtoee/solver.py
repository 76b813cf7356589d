"""The best rows of a whole network for given thresholds, to a certified gap: a solver that knows the whole network.

Its steps anticipate the change of the loads. For every tier, with x_ij the relative change of the flow f_ij,

    minimise  sum f_ij delta_ij x_ij + 1/2 sum_j R_j y_j^2 + 1/(2 eta) sum f_ij dbar_i x_ij^2,   y_j = sum_i f_ij x_ij

under sum_j f_ij x_ij = 0. This reduces to one linear equation per receiver in y. The step eta adapts to the cost.
"""

from dataclasses import dataclass

import numpy as np

from node_agent.dtoee.offloader import restrict
from node_agent.dtoee.queueing import Array
from node_agent.dtoee.staged import (
    ExitCells,
    Flows,
    Prices,
    Rows,
    StagedNetwork,
    Thresholds,
    exit_cells,
)

EXACT_FLOOR = 1e-9  # least share in a row: the solver sees every receiver in every round, so none needs probing
# Up to this number of receivers in a stage, a step accounts for the effect of one receiver's change on the others'
# loads. Beyond it, the linear equations would cost more than the steps that they save.
MOST_COUPLED = 2000


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan near the optimum for its thresholds."""

    rows: Rows
    flows: Flows
    prices: Prices
    delay_s: float  # mean delay, penalty included [s]
    gap_s: float  # the optimum is at most this far below `delay_s` [s]; holds with one threshold per stage


def solve(
    network: StagedNetwork, thresholds: Thresholds, *, rows: Rows | None = None, relative_gap: float = 1e-4,
    most_rounds: int = 2000, hopeless_s: float = np.inf,
) -> Solution:  # fmt: skip
    """The best rows for given thresholds.

    Args:
        network: the whole network.
        thresholds: per early stage (n_h,); where they differ inside a stage, prices and gap are approximate.
        rows: start here, per tier (n, K); None starts in proportion to the receivers' speeds.
        relative_gap: stop when the certified gap is at most this share of the mean delay.
        most_rounds: stop after this number of rounds; the `gap_s` of the result may then be larger.
        hopeless_s: stop once the certificate proves that no rows have a mean delay below this [s].
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
        moved = tuple(_anticipating(network, best, index, step) for index in range(network.stages))
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


def _anticipating(network: StagedNetwork, plan: Solution, index: int, step: float) -> Array:
    """Rows of `tiers[index]` after a multiplicative step on the prices expected once the whole tier has moved."""
    tier, size = network.tiers[index], len(network.service_per_s[index])
    rows, flow, delta = plan.rows[index], plan.flows.link_per_s[index], plan.prices.delta_s[index]
    mean = (rows * delta).sum(-1, keepdims=True)
    weight = step * flow / (mean * (1 + step * flow * plan.prices.link_curvature_s2[index] / mean))
    share = weight / np.maximum(weight.sum(-1, keepdims=True), 1e-300)
    target = (share * delta).sum(-1, keepdims=True)
    curvature = plan.prices.stages[index].curvature_s2
    pull = tier.collect(weight * (delta - target), size)
    diagonal = tier.collect(weight, size)
    if size <= MOST_COUPLED:
        coupling = np.diag(diagonal) - tier.carry(share, tier.spread(weight, size), size).T
        change = np.linalg.solve(np.eye(size) + coupling * curvature, -pull)
    else:
        change = -pull / (1 + diagonal * curvature)
    expected = delta + (curvature * change)[tier.receivers]
    gradient = expected - (share * expected).sum(-1, keepdims=True)
    factor = step / (mean * (1 + step * flow * plan.prices.link_curvature_s2[index] / mean))
    moved = rows * np.exp(np.clip(-factor * gradient, -5.0, 2.0))
    return restrict(moved, tier.exists, EXACT_FLOOR)
