"""DTO-O: how an offloader shifts its probabilities once its receivers have reported.

With delta_j = D'_j + Omega_j the marginal cost of link and receiver j and dbar the row's mean of it, the relative
gradient is g_j = (delta_j - dbar) / dbar, and the row takes a multiplicative step with Nesterov's momentum, which
offers the row that the momentum leads to, so that prices are answered before it is reached:

    v_j <- beta v_j - eta g_j ;   p_j <- p_j exp(clip(beta v_j - eta g_j, -1, 1)) ;   p_j >= floor ;   sum_j p_j = 1

The step is proportional to p_j, so the relative change of a server's load does not grow with the number of offloaders.
Each row controls its own step: eta grows by a tenth while successive gradients agree; when they oppose, it shrinks and
the momentum with it. Prices older than one round make momentum dangerous: such a row steps without it, and short.

The other update is Gallager's (1977), its step scaled by curvature (Bertsekas, Gafni and Gallager 1984): with a_j the
excess of delta_j over the least one, at receiver *,

    dp_j = min(p_j, eta a_j / (w (K_j + K_*)))   moves from j to *,   K_j = n_j (R_j + D''_j)

where w is the rate of tasks that leave the offloader and n_j the number of offloaders of receiver j, all of which may
move at once.

Decision: multiplicative steps with Nesterov's momentum. Rounds from computing-first rows to within 5 % (1 %) of the
optimum at loads 0.5, 0.7, 0.8, medians of eight networks of 50 devices and 6-5-4 servers (`tests.bench.convergence`):
11, 16, 13 (18.5, 46.5, 130). Rejected as default: the heavy ball p exp(v) with momentum 0.8, which forgets it when
gradients oppose, 10, 24, 15.5 (20, 78, 257); Gallager's rule, 13, 39, 4 (36, 201, beyond 400).

Rows may have leading axes: (K,) is one offloader, (n, K) are n of them, each with a step of its own.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from node_agent.dtoee.queueing import Array, Mask

# Decision: a floor of 0.2 %, because a receiver that has fallen to the floor and becomes cheap needs a round for every
# factor of about two on its way back; rejected: 0.01 %, up to 0.4 % nearer to the optimum while nothing changes, and
# several hundred milliseconds of mean delay worse in the seconds after a server slows down.
FLOOR = 2e-3  # keeps every receiver probed, so that one which has become cheap is noticed

Update = Literal["momentum", "gallager"]


@dataclass(frozen=True, slots=True)
class StepRule:
    """Constants of the update."""

    momentum: float = 0.95  # beta
    kept: float = 0.7  # of the velocity, in place of beta, when successive gradients oppose
    shrink: float = 0.7  # of the step then
    first_step: float = 0.3  # eta
    least_step: float = 0.01
    largest_step: float = 3.0
    stale_step: float = 0.1  # at 0.15 and load 0.8, prices one round old let the cost swing to several times itself
    floor: float = FLOOR
    look_ahead: bool = True  # Nesterov's momentum; without it, the heavy ball's: p exp(v)
    update: Update = "momentum"


@dataclass(frozen=True, slots=True)
class RowState:
    """Rows on their way: probabilities p, velocity v and last gradient g, each (..., K), and the steps eta, (...)."""

    row: Array
    velocity: Array
    gradient: Array
    step: Array | float

    @classmethod
    def at_rest(cls, row: Array, rule: StepRule) -> "RowState":
        """A row without momentum, as at the start of a slot, when all prices have jumped: a warm start."""
        return cls(row, np.zeros_like(row), np.zeros_like(row), np.full(row.shape[:-1], rule.first_step))


@dataclass(frozen=True, slots=True)
class Scale:
    """What Gallager's update needs besides prices."""

    leaving_per_s: Array | float  # w, tasks that leave the offloader [task/s], (...)
    curvature_s2: Array  # K_j = n_j (R_j + D''_j) [s^2/task], (..., K)


def shift(
    state: RowState, delta_s: Array, alive: Mask, rule: StepRule, *, stale: bool | Mask = False,
    scale: Scale | None = None,
) -> RowState:  # fmt: skip
    """One DTO-O step.

    Args:
        state: the rows before.
        delta_s: marginal costs D'_j + Omega_j [s], shape (..., K); entries of dead receivers are ignored.
        alive: shape (..., K), bool; the others get probability 0. At least one in every row must be alive.
        rule: constants of the update.
        stale: a price is older than one round; one truth, or one per row (...).
        scale: needed by the update "gallager" only.

    Returns:
        The rows after; they sum to one and hold at least `rule.floor` (before renormalising) at every living receiver.
    """
    row = restrict(state.row, alive, rule.floor)
    delta = np.where(alive, delta_s, 0.0)
    mean = (row * delta).sum(-1, keepdims=True)
    gradient = np.where(alive, (delta - mean) / mean, 0.0)
    agreement = (row * gradient * state.gradient).sum(-1)
    opposed, grown = agreement < 0, state.gradient.any(-1)
    step = np.asarray(state.step, dtype=np.float64)
    step = np.where(
        opposed,
        np.maximum(rule.least_step, step * rule.shrink),
        np.where(grown, np.minimum(rule.largest_step, step * 1.1), step),
    )
    outdated = np.asarray(stale)
    taken = np.where(outdated, np.minimum(step, rule.stale_step), step)[..., None]
    if rule.update == "gallager":
        if scale is None:
            raise ValueError("the update 'gallager' needs a scale")
        moved, velocity = _to_the_cheapest(row, delta, alive, taken, scale), np.zeros_like(row)
    else:
        momentum = np.where(outdated, 0.0, rule.momentum)[..., None]
        velocity = np.where(opposed[..., None], np.minimum(rule.kept, momentum), momentum) * state.velocity
        velocity -= taken * gradient
        ahead = momentum * velocity - taken * gradient if rule.look_ahead else velocity
        moved = row * np.exp(np.clip(ahead, -1.0, 1.0))
    return RowState(restrict(moved, alive, rule.floor), velocity, gradient, step)


def _to_the_cheapest(row: Array, delta: Array, alive: Mask, step: Array, scale: Scale) -> Array:
    """Gallager's move before the floor: every row's mass goes from dearer receivers to the cheapest."""
    least = np.where(alive, delta, np.inf).argmin(-1)[..., None]
    excess = np.where(alive, delta - np.take_along_axis(delta, least, -1), 0.0)
    curvature = scale.curvature_s2 + np.take_along_axis(scale.curvature_s2, least, -1)
    leaving = np.asarray(scale.leaving_per_s, dtype=np.float64)[..., None]
    reach = step * excess / np.maximum(leaving * curvature, 1e-300)
    moved = np.minimum(row, reach)
    after = row - moved
    gained = np.take_along_axis(after, least, -1) + moved.sum(-1, keepdims=True)
    np.put_along_axis(after, least, gained, -1)
    return np.asarray(after)


def restrict(row: Array, alive: Mask, floor: float) -> Array:
    """Rows (..., K) with dead receivers at 0, living ones at `floor` or more, and sum one.

    >>> restrict(np.array([0.5, 0.5, 0.0]), np.array([True, False, True]), 0.25).round(3).tolist()
    [0.8, 0.0, 0.2]
    """
    living = np.where(alive, row, 0.0)
    total = living.sum(-1, keepdims=True)
    kept = np.where(alive, np.maximum(living / np.where(total > 0, total, 1.0), floor), 0.0)
    return np.asarray(kept / kept.sum(-1, keepdims=True))


def published(row: Array, floor: float) -> Array:
    """Rows (..., K) as they are executed: entries that only the floor keeps alive become 0.

    A factor of two above the floor still counts as the floor, since renormalising moves it a little.
    """
    kept = np.where(row <= 2 * floor, 0.0, row)
    total = kept.sum(-1, keepdims=True)
    return np.where(total > 0, kept / np.where(total > 0, total, 1.0), row)
