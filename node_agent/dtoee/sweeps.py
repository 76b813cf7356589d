"""DTO-EE on a whole network at once: synchronous rounds as the nodes would play them, and a solver to certified gaps.

`Sweeps.round` gives every row the step that its node would take on the same prices (`offloader.shift`), all rows of a
tier in one array operation. `solve` looks for the optimum itself, for given thresholds, and may use what no node knows:
its steps anticipate how the loads answer. For every tier, with x_ij the relative change of the flow f_ij,

    minimise  sum f_ij delta_ij x_ij + 1/2 sum_j R_j y_j^2 + 1/(2 eta) sum f_ij dbar_i x_ij^2,   y_j = sum_i f_ij x_ij

under sum_j f_ij x_ij = 0, which comes to one linear equation per receiver in y. The step eta adapts to the cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node_agent.dtoee.offloader import Momentum, Scale, StepRule, at_rest, restrict, shift
from node_agent.dtoee.queueing import Array, Mask
from node_agent.dtoee.staged import (
    ExitCells,
    Flows,
    Prices,
    Rows,
    StagedNetwork,
    Thresholds,
    exit_cells,
)

Moved = tuple[Array, Momentum[Array, Array]]  # rows of a tier and their momentum

EXACT_FLOOR = 1e-9  # of the solver: it looks at every receiver in every round, so that none needs probing
# Receivers of a stage up to which the solver asks how a row's answer to one changes the load of the others; beyond,
# the linear equations would cost more than the steps that they save.
MOST_COUPLED = 2000


class Sweeps:
    """A network on its way to the optimum: `rows`, `thresholds`, and `flows`, `prices`, `gap_s` of the present plan."""

    rows: Rows
    flows: Flows
    prices: Prices
    _momenta: list[Momentum[Array, Array]]

    def __init__(
        self, network: StagedNetwork, rows: Rows, thresholds: Thresholds, rule: StepRule | None = None
    ) -> None:
        """Start at rest from `rows`."""
        self.network = network
        self.rule = rule or StepRule()
        self.thresholds = thresholds
        self.rounds = 0
        floor = self.rule.floor
        self._start(tuple(restrict(row, tier.exists, floor) for row, tier in zip(rows, network.tiers, strict=True)))
        self._offloaders = [
            tier.collect(tier.exists.astype(np.float64), len(service))[tier.receivers]
            for tier, service in zip(network.tiers, network.service_per_s, strict=True)
        ]
        self._cells = exit_cells(network.table, thresholds)
        self._price()

    @property
    def gap_s(self) -> float:
        """How far the mean delay may be above the least one for these thresholds [s]; see `StagedNetwork.gap_s`."""
        return self.network.gap_s(self.flows, self.prices)

    @property
    def delay_s(self) -> float:
        """Mean delay of the present plan, penalty included [s]."""
        return self.network.mean_delay_s(self.flows)

    def round(self, awake: Sequence[Mask] | None = None, *, prices: Prices | None = None) -> None:
        """One synchronous round: every row steps on the present prices, then flows and prices are those of the result.

        Args:
            awake: per tier (n,), the rows that take part; the others miss the round. All, if None.
            prices: stale prices to step on instead of the present ones; the rows then take the stale step.
        """
        used, stale = prices or self.prices, prices is not None
        rows = list(self.rows)
        for index, tier in enumerate(self.network.tiers):
            row, momentum, scale = rows[index], self._momenta[index], self._scale(index, used)
            moved, carried = shift(row, momentum, used.delta_s[index], tier.exists, self.rule, stale=stale, scale=scale)
            if awake is not None:
                moved, carried = _merged(awake[index], (moved, carried), (row, momentum))
            rows[index], self._momenta[index] = moved, carried
        self.rows = tuple(rows)
        self.rounds += 1
        self._price()

    def adopt(self, thresholds: Thresholds, rows: Rows | None = None) -> None:
        """Go on with other thresholds, and with other rows, at rest, if any are given."""
        self.thresholds = thresholds
        self._cells = exit_cells(self.network.table, thresholds)
        if rows is not None:
            self._start(rows)
        self._price()

    def enter(self, network: StagedNetwork) -> None:
        """Go on from the same rows in a network whose rates have changed: a warm start."""
        self.network = network
        self._start(self.rows)
        self._price()

    def _start(self, rows: Rows) -> None:
        self.rows = rows
        self._momenta = [at_rest(row, self.rule) for row in rows]

    def _price(self) -> None:
        self.flows = self.network.flows(self.rows, self.thresholds, self._cells)
        self.prices = self.network.prices(self.rows, self.flows)

    def _scale(self, index: int, prices: Prices) -> Scale[Array, Array] | None:
        if self.rule.update != "gallager":
            return None
        tier, curvature_s2 = self.network.tiers[index], prices.stages[index].curvature_s2
        bent = curvature_s2[tier.receivers] + prices.link_curvature_s2[index]
        return Scale(self.flows.leaving_per_s[index], self._offloaders[index] * bent)


def _merged(awake: Mask, after: Moved, before: Moved) -> Moved:
    here = awake[:, None]
    (rows, momentum), (old_rows, old) = after, before
    return np.where(here, rows, old_rows), Momentum(
        np.where(here, momentum.velocity, old.velocity),
        np.where(here, momentum.gradient, old.gradient),
        np.where(awake, momentum.step, old.step),
    )


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan near the optimum for its thresholds."""

    rows: Rows
    flows: Flows
    prices: Prices
    delay_s: float  # mean delay, penalty included
    gap_s: float  # the optimum is at most this much below `delay_s`, for one threshold per stage
    found_in_round: int  # the later rounds, if there were any, found nothing better


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
    best = _evaluate(network, now, thresholds, cells, 0)
    step = 1.0
    for number in range(1, most_rounds + 1):
        hopeless = best.delay_s - best.gap_s > hopeless_s
        if best.gap_s <= relative_gap * best.delay_s or hopeless or step < 1e-6:
            break
        moved = tuple(_anticipating(network, best, index, step) for index in range(network.stages))
        tried = _evaluate(network, moved, thresholds, cells, number)
        if tried.delay_s < best.delay_s:
            best, step = tried, min(1e4, step * 1.5)
        else:
            step /= 4
    return best


def _evaluate(network: StagedNetwork, rows: Rows, thresholds: Thresholds, cells: ExitCells, number: int) -> Solution:
    flows = network.flows(rows, thresholds, cells)
    prices = network.prices(rows, flows)
    return Solution(rows, flows, prices, network.mean_delay_s(flows), network.gap_s(flows, prices), number)


def _anticipating(network: StagedNetwork, plan: Solution, index: int, step: float) -> Array:
    """Rows of `tiers[index]` after a multiplicative step on the prices that will hold once all of it has moved."""
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
