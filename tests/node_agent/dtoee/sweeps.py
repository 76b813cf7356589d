"""DTO-EE on a whole network at once: synchronous rounds as the nodes play them, all rows of a tier in one operation.

`shift` is `one_row.shift` for the rows of n offloaders at once, (n, K), each with a step of its own: the tests hold the
two against each other. `Sweeps.round` gives every row the step that its node would take on the same prices.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from node_agent.dtoee.offloader import LEAST_MEAN_S, TINY, Momentum, Scale, StepRule, restrict
from node_agent.dtoee.queueing import Array, Mask
from node_agent.dtoee.staged import (
    Flows,
    Prices,
    Rows,
    StagedNetwork,
    Thresholds,
    exit_cells,
)

Moved = tuple[Array, Momentum[Array, Array]]  # rows of a tier and their momentum


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
        """Bound on the excess of the mean delay over the least one for these thresholds [s]: `StagedNetwork.gap_s`."""
        return self.network.gap_s(self.flows, self.prices)

    @property
    def delay_s(self) -> float:
        """Mean delay of the present plan, penalty included [s]."""
        return self.network.mean_delay_s(self.flows)

    def round(self, awake: Sequence[Mask] | None = None, *, prices: Prices | None = None) -> None:
        """Play a synchronous round: every row steps on the present prices, then flows and prices follow.

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
        """Continue with other thresholds; other rows, if given, start at rest."""
        self.thresholds = thresholds
        self._cells = exit_cells(self.network.table, thresholds)
        if rows is not None:
            self._start(rows)
        self._price()

    def enter(self, network: StagedNetwork) -> None:
        """Continue from the same rows in a network whose rates have changed: a warm start."""
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


def at_rest(rows: Array, rule: StepRule) -> Momentum[Array, Array]:
    """No momentum for rows (n, K), as at the start of a slot, when all prices have jumped: a warm start."""
    return Momentum(np.zeros_like(rows), np.zeros_like(rows), np.full(len(rows), rule.first_step))


def shift(
    rows: Array, momentum: Momentum[Array, Array], delta_s: Array, alive: Mask, rule: StepRule, *,
    stale: bool | Mask = False, scale: Scale[Array, Array] | None = None,
) -> tuple[Array, Momentum[Array, Array]]:  # fmt: skip
    """The rows after a DTO-O step, and their momentum.

    Args:
        rows: the rows before, (n, K).
        momentum: what they carry from the step before.
        delta_s: marginal costs D'_j + Omega_j [s], shape (n, K); entries of dead receivers are ignored.
        alive: shape (n, K), bool; the others get probability 0. At least one in every row must be alive.
        rule: constants of the update.
        stale: a price is older than one round; one truth, or one per row (n,).
        scale: needed by the update "gallager" only.

    Returns:
        The rows after, and their momentum; rows sum to one, and every living receiver holds its least share, as in
        `restrict`.
    """
    living = None if alive.all() else alive
    row = restrict(rows, alive, rule.floor)
    delta = delta_s if living is None else np.where(living, delta_s, 0.0)
    mean = np.maximum(np.add.reduce(row * delta, -1, keepdims=True), LEAST_MEAN_S)
    gradient = delta - mean
    gradient /= mean
    if living is not None:
        gradient = np.where(living, gradient, 0.0)
    pace = _pace(momentum, np.add.reduce(row * gradient * momentum.gradient, -1), stale, rule)
    push = pace.taken * gradient
    if rule.update == "gallager":
        if scale is None:
            raise ValueError("the update 'gallager' needs a scale")
        moved, velocity = _to_the_cheapest(row, delta, alive, pace.taken, scale), np.zeros_like(row)
    else:
        velocity = pace.kept * momentum.velocity
        velocity -= push
        ahead = pace.momentum * velocity - push if rule.look_ahead else velocity
        moved = row * np.exp(np.minimum(np.maximum(ahead, -1.0), 1.0))  # np.clip takes longer
    return restrict(moved, alive, rule.floor), Momentum(velocity, gradient, pace.step)


class _Pace(NamedTuple):
    """The speed of rows; all but `step` have a last axis, so that they can be multiplied with rows (n, K)."""

    step: Array  # eta, (n,)
    taken: Array  # the step of this round: shorter where prices are stale
    momentum: Array  # beta, or 0 where prices are stale
    kept: Array  # share of the velocity that stays


def _pace(before: Momentum[Array, Array], agreement: Array, stale: bool | Mask, rule: StepRule) -> _Pace:
    """Steps and momentum of this round, given how successive gradients agree (n,)."""
    opposed, grown = agreement < 0, before.gradient.any(-1)
    steps = np.where(
        opposed,
        np.maximum(rule.least_step, before.step * rule.shrink),
        np.where(grown, np.minimum(rule.largest_step, before.step * 1.1), before.step),
    )
    outdated = np.asarray(stale)
    momenta = np.where(outdated, 0.0, rule.momentum)
    return _Pace(
        steps,
        np.where(outdated, np.minimum(steps, rule.stale_step), steps)[..., None],
        momenta[..., None],
        np.where(opposed, np.minimum(rule.kept, momenta), momenta)[..., None],
    )


def _to_the_cheapest(row: Array, delta: Array, alive: Mask, step: Array | float, scale: Scale[Array, Array]) -> Array:
    """Gallager's move before the floor: every row's mass goes from dearer receivers to the cheapest."""
    least = np.where(alive, delta, np.inf).argmin(-1)[..., None]
    excess = np.where(alive, delta - np.take_along_axis(delta, least, -1), 0.0)
    curvature = scale.curvature_s2 + np.take_along_axis(scale.curvature_s2, least, -1)
    leaving = scale.leaving_per_s[..., None]
    reach = step * excess / np.maximum(leaving * curvature, TINY)
    moved = np.minimum(row, reach)
    after = row - moved
    gained = np.take_along_axis(after, least, -1) + moved.sum(-1, keepdims=True)
    np.put_along_axis(after, least, gained, -1)
    return np.asarray(after)
