"""DTO-EE on a whole network at once: synchronous rounds as the nodes play them, all rows of a tier in one operation.

`shift` is `one_row.shift` for the rows of n offloaders at once, (n, K), each with a step of its own: the tests hold the
two against each other. `Sweeps.round` gives every row the step that its node would take on the same prices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from node_agent.dtoee.offloader import LEAST_MEAN_S, TINY, StepRule, restrict
from node_agent.dtoee.queueing import Array, Mask
from node_agent.dtoee.staged import Prices, Rows, StagedNetwork, Thresholds, exit_cells


@dataclass(frozen=True, slots=True)
class RowState:
    """Rows on their way: probabilities p, velocity v and last gradient g, each (n, K), and the steps eta, (n,)."""

    row: Array
    velocity: Array
    gradient: Array
    step: Array

    @classmethod
    def at_rest(cls, row: Array, rule: StepRule) -> "RowState":
        """Rows without momentum, as at the start of a slot, when all prices have jumped: a warm start."""
        return cls(row, np.zeros_like(row), np.zeros_like(row), np.full(len(row), rule.first_step))


@dataclass(frozen=True, slots=True)
class Scale:
    """What Gallager's update needs besides prices."""

    leaving_per_s: Array  # w, tasks that leave each offloader [task/s], (n,)
    curvature_s2: Array  # K_j = n_j (R_j + D''_j) [s^2/task], (n, K)


def shift(
    state: RowState, delta_s: Array, alive: Mask, rule: StepRule, *, stale: bool | Mask = False,
    scale: Scale | None = None,
) -> RowState:  # fmt: skip
    """One DTO-O step.

    Args:
        state: the rows before.
        delta_s: marginal costs D'_j + Omega_j [s], shape (n, K); entries of dead receivers are ignored.
        alive: shape (n, K), bool; the others get probability 0. At least one in every row must be alive.
        rule: constants of the update.
        stale: a price is older than one round; one truth, or one per row (n,).
        scale: needed by the update "gallager" only.

    Returns:
        The rows after; they sum to one, and every living receiver holds its least share, as in `restrict`.
    """
    row = restrict(state.row, alive, rule.floor)
    delta = np.where(alive, delta_s, 0.0)
    mean = np.maximum(np.add.reduce(row * delta, -1, keepdims=True), LEAST_MEAN_S)
    gradient = np.where(alive, (delta - mean) / mean, 0.0)
    pace = _pace(state, np.add.reduce(row * gradient * state.gradient, -1), stale, rule)
    push = pace.taken * gradient
    if rule.update == "gallager":
        if scale is None:
            raise ValueError("the update 'gallager' needs a scale")
        moved, velocity = _to_the_cheapest(row, delta, alive, pace.taken, scale), np.zeros_like(row)
    else:
        velocity = pace.kept * state.velocity
        velocity -= push
        ahead = pace.momentum * velocity - push if rule.look_ahead else velocity
        moved = row * np.exp(np.minimum(np.maximum(ahead, -1.0), 1.0))  # np.clip takes longer
    return RowState(restrict(moved, alive, rule.floor), velocity, gradient, pace.step)


class _Pace(NamedTuple):
    """How fast rows go; all but `step` have a last axis to multiply rows (n, K) with."""

    step: Array  # eta, (n,)
    taken: Array  # the step of this round: shorter where prices are stale
    momentum: Array  # beta, or 0 where prices are stale
    kept: Array  # share of the velocity that stays


def _pace(state: RowState, agreement: Array, stale: bool | Mask, rule: StepRule) -> _Pace:
    """Steps and momentum of this round, given how successive gradients agree (n,)."""
    opposed, grown = agreement < 0, state.gradient.any(-1)
    steps = np.where(
        opposed,
        np.maximum(rule.least_step, state.step * rule.shrink),
        np.where(grown, np.minimum(rule.largest_step, state.step * 1.1), state.step),
    )
    outdated = np.asarray(stale)
    momenta = np.where(outdated, 0.0, rule.momentum)
    return _Pace(
        steps,
        np.where(outdated, np.minimum(steps, rule.stale_step), steps)[..., None],
        momenta[..., None],
        np.where(opposed, np.minimum(rule.kept, momenta), momenta)[..., None],
    )


def _to_the_cheapest(row: Array, delta: Array, alive: Mask, step: Array | float, scale: Scale) -> Array:
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


class Sweeps:
    """A network on its way to the optimum: `rows`, `thresholds`, and `flows`, `prices`, `gap_s` of the present plan."""

    def __init__(
        self, network: StagedNetwork, rows: Rows, thresholds: Thresholds, rule: StepRule | None = None
    ) -> None:
        """Start at rest from `rows`."""
        self.network = network
        self.rule = rule or StepRule()
        self.thresholds = thresholds
        self.rounds = 0
        self._states = [
            RowState.at_rest(restrict(row, tier.exists, self.rule.floor), self.rule)
            for row, tier in zip(rows, network.tiers, strict=True)
        ]
        self._offloaders = [
            tier.collect(tier.exists.astype(np.float64), len(service))[tier.receivers]
            for tier, service in zip(network.tiers, network.service_per_s, strict=True)
        ]
        self._cells = exit_cells(network.table, thresholds)
        self._price()

    @property
    def rows(self) -> Rows:
        """The plan now."""
        return tuple(state.row for state in self._states)

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
        used = prices or self.prices
        for h, tier in enumerate(self.network.tiers):
            before = self._states[h]
            after = shift(
                before, used.delta_s[h], tier.exists, self.rule, stale=prices is not None, scale=self._scale(h, used)
            )
            self._states[h] = after if awake is None else _merge(awake[h], after, before)
        self.rounds += 1
        self._price()

    def adopt(self, thresholds: Thresholds, rows: Rows | None = None) -> None:
        """Go on with other thresholds, and with other rows, at rest, if any are given."""
        self.thresholds = thresholds
        self._cells = exit_cells(self.network.table, thresholds)
        if rows is not None:
            self._states = [RowState.at_rest(row, self.rule) for row in rows]
        self._price()

    def enter(self, network: StagedNetwork) -> None:
        """Go on from the same rows in a network whose rates have changed: a warm start."""
        self.network = network
        self._states = [RowState.at_rest(state.row, self.rule) for state in self._states]
        self._price()

    def _price(self) -> None:
        self.flows = self.network.flows(self.rows, self.thresholds, self._cells)
        self.prices = self.network.prices(self.rows, self.flows)

    def _scale(self, h: int, prices: Prices) -> Scale | None:
        if self.rule.update != "gallager":
            return None
        curvature = prices.stages[h].curvature_s2[self.network.tiers[h].receivers] + prices.link_curvature_s2[h]
        return Scale(self.flows.leaving_per_s[h], self._offloaders[h] * curvature)


def _merge(awake: Mask, after: RowState, before: RowState) -> RowState:
    here = awake[:, None]
    return RowState(
        np.where(here, after.row, before.row),
        np.where(here, after.velocity, before.velocity),
        np.where(here, after.gradient, before.gradient),
        np.where(awake, after.step, before.step),
    )
