"""DTO-O: how an offloader shifts its probabilities once its receivers have reported.

With delta_j = t_j + Omega_j the marginal cost of receiver j and dbar the row's mean of it, the relative gradient is
g_j = (delta_j - dbar) / dbar, and the row takes a multiplicative step with momentum:

    v_j <- beta v_j - eta g_j ;   p_j <- p_j exp(clip(v_j, -1, 1)) ;   p_j >= floor ;   sum_j p_j = 1

The step is proportional to p_j, so the relative change of a server's load does not grow with the number of offloaders.
Each row controls its own step: eta grows while successive gradients agree and halves, forgetting the momentum, when
they oppose. Prices older than one round make momentum dangerous: such a row steps without it, and short.

Decision: exponentiated gradient with momentum, because it needs about a quarter of the rounds of Gallager's rule to
come within 1 % of the optimum at load .5 and needs no bound on the number of offloaders; rejected as default:
Gallager's rule, curvature-scaled steps.
"""

from dataclasses import dataclass

import numpy as np

from node_agent.dtoee.queueing import Array, Mask

# Decision: a floor of 0.2 %, because a receiver that has fallen to the floor and becomes cheap needs a round for every
# factor of about two on its way back; rejected: 0.01 %, up to 0.4 % nearer to the optimum while nothing changes, and
# several hundred milliseconds of mean delay worse in the seconds after a server slows down.
FLOOR = 2e-3  # keeps every receiver probed, so that one which has become cheap is noticed


@dataclass(frozen=True, slots=True)
class StepRule:
    """Constants of the update."""

    momentum: float = 0.8
    first_step: float = 1.0
    least_step: float = 0.01
    largest_step: float = 3.0
    stale_step: float = 0.3
    floor: float = FLOOR


@dataclass(frozen=True, slots=True)
class RowState:
    """A row on its way: probabilities p, velocity v and last gradient g, each of shape (K,), and the step eta."""

    row: Array
    velocity: Array
    gradient: Array
    step: float

    @classmethod
    def at_rest(cls, row: Array, rule: StepRule) -> "RowState":
        """A row without momentum, as at the start of a slot, when all prices have jumped."""
        return cls(row, np.zeros_like(row), np.zeros_like(row), rule.first_step)


def shift(state: RowState, delta_s: Array, alive: Mask, rule: StepRule, *, stale: bool = False) -> RowState:
    """One DTO-O step.

    Args:
        state: the row before.
        delta_s: marginal costs t_j + Omega_j [s], shape (K,); entries of dead receivers are ignored.
        alive: shape (K,), bool; the others get probability 0. At least one must be alive.
        rule: constants of the update.
        stale: a price is older than one round.

    Returns:
        The row after; it sums to one and holds at least `rule.floor` (before renormalising) at every living receiver.
    """
    row = restrict(state.row, alive, rule.floor)
    delta = np.where(alive, delta_s, 0.0)
    mean = float(row @ delta)
    gradient = np.where(alive, (delta - mean) / mean, 0.0)
    step, velocity = state.step, state.velocity
    if float(row @ (gradient * state.gradient)) < 0:
        step, velocity = max(rule.least_step, step / 2), np.zeros_like(velocity)
    elif state.gradient.any():
        step = min(rule.largest_step, step * 1.1)
    velocity = -min(step, rule.stale_step) * gradient if stale else rule.momentum * velocity - step * gradient
    moved = restrict(row * np.exp(np.clip(velocity, -1.0, 1.0)), alive, rule.floor)
    return RowState(moved, velocity, gradient, step)


def restrict(row: Array, alive: Mask, floor: float) -> Array:
    """The row with dead receivers at 0, living ones at `floor` or more, and sum one.

    >>> restrict(np.array([0.5, 0.5, 0.0]), np.array([True, False, True]), 0.25).round(3).tolist()
    [0.8, 0.0, 0.2]
    """
    living = np.where(alive, row, 0.0)
    total = living.sum()
    kept = np.where(alive, np.maximum(living / total if total > 0 else living, floor), 0.0)
    return np.asarray(kept / kept.sum())


def published(row: Array, floor: float) -> Array:
    """The row as it is executed: entries that only the floor keeps alive become 0.

    A factor of two above the floor still counts as the floor, since renormalising moves it a little.
    """
    kept = np.where(row <= 2 * floor, 0.0, row)
    return np.asarray(kept / kept.sum()) if kept.any() else row
