"""DTO-O: the step of an offloader's probabilities after its receivers have reported.

Receiver j and the link to it have the marginal cost delta_j = D'_j + Omega_j; dbar is the row's mean of it. With the
relative gradient g_j = (delta_j - dbar) / dbar, the row takes a multiplicative step with Nesterov's momentum. The row
it offers is the one that the momentum leads to, so receivers price that row before it is reached:

    z_j <- beta z_j - eta g_j ;   p_j <- p_j exp(clip(beta z_j - eta g_j, -1, 1)) ;   p_j >= floor ;   sum_j p_j = 1

The step is proportional to p_j, so the relative change of a server's load does not grow with the number of offloaders.
Each row controls its own step: eta grows by a tenth while successive gradients agree. When they oppose, eta and the
momentum shrink. Momentum is dangerous on prices older than one round: such a row takes a short step without it.

The other update is Gallager's (1977), its step scaled by curvature (Bertsekas, Gafni and Gallager 1984). Receiver *
has the least delta, and a_j is the excess of delta_j over it:

    dp_j = min(p_j, eta a_j / (w (K_j + K_*)))   moves from j to *,   K_j = n_j (R_j + D''_j)

Here w is the rate of tasks that leave the offloader, and n_j the number of offloaders of receiver j, all of which may
move at once.

Decision 012: multiplicative steps with Nesterov's momentum (docs/decisions/012-momentum-steps.md).

This module holds the constants of the update and the bounds of rows (..., K); `one_row` holds the update itself, as a
node runs it. The caller keeps the row; the rest of a row's state is its `Momentum`.
"""

from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np

from node_agent.dtoee.queueing import Array, Mask

# Decision 013: a floor of 0.2 % in every row (docs/decisions/013-row-floor.md).
FLOOR = 2e-3  # keeps every receiver probed, so that one which has become cheap is noticed

MOST_ON_FLOORS = 0.1  # share of a row that all floors together may take: see `restrict`
LEAST_MEAN_S = 1e-12  # least mean price of a row: avoids a division by zero where all receivers are free
TINY = 1e-300  # instead of zero in a divisor

Update = Literal["momentum", "gallager"]
# For one offloader K numbers and a number; for n offloaders arrays (n, K) and (n,).
PerReceiver = TypeVar("PerReceiver")
PerOffloader = TypeVar("PerOffloader")


@dataclass(frozen=True, slots=True)
class StepRule:
    """Constants of the update."""

    momentum: float = 0.95  # beta
    kept: float = 0.7  # factor of the velocity, in place of beta, when successive gradients oppose
    shrink: float = 0.7  # factor of the step then
    first_step: float = 0.3  # eta
    least_step: float = 0.01
    largest_step: float = 3.0
    # Decision 014: a step of at most 0.1 on stale prices (docs/decisions/014-stale-prices.md).
    stale_step: float = 0.1
    floor: float = FLOOR
    look_ahead: bool = True  # True: Nesterov's momentum; False: the heavy ball, p exp(z)
    update: Update = "momentum"


class Momentum(NamedTuple, Generic[PerReceiver, PerOffloader]):
    """The state of a row, or of each of n rows, from one step to the next; the row itself is not part of it."""

    velocity: PerReceiver  # z, K numbers or (n, K)
    gradient: PerReceiver  # g of the last step, K numbers or (n, K)
    step: PerOffloader  # eta, a number or (n,)


class Scale(NamedTuple, Generic[PerReceiver, PerOffloader]):
    """The inputs of Gallager's update besides prices, for one row or for n rows."""

    leaving_per_s: PerOffloader  # w, tasks that leave the offloader [task/s], a number or (n,)
    curvature_s2: PerReceiver  # K_j = n_j (R_j + D''_j) [s^2/task], K numbers or (n, K)


def restrict(row: Array, alive: Mask, floor: float) -> Array:
    """Rows (..., K) with sum one: 0 at dead receivers, at least the least share at living ones.

    The least share is min(floor, 0.1 / number of living receivers): with many receivers, floors alone would distort
    the row, so together they get at most `MOST_ON_FLOORS`. It is applied before the row is renormalised.

    Args:
        row: shares >= 0, shape (..., K); they need not sum to one.
        alive: shape (..., K).
        floor: least share of a living receiver.

    >>> restrict(np.array([0.5, 0.5, 0.0]), np.array([True, False, True]), 0.02).round(3).tolist()
    [0.98, 0.0, 0.02]
    """
    living = None if alive.all() else alive  # None, the usual case: no mask is needed
    there = row if living is None else np.where(living, row, 0.0)
    kept = there / np.maximum(np.add.reduce(there, -1, keepdims=True), TINY)
    kept = np.maximum(kept, _least_share(living, row, floor))
    if living is not None:
        kept = np.where(living, kept, 0.0)
    kept /= np.add.reduce(kept, -1, keepdims=True)
    return np.asarray(kept)


def published(row: Array, floor: float) -> Array:
    """Rows (..., K) as tasks follow them: entries that only the floor keeps above 0 become 0; the sum stays one.

    The floor is the least share that `restrict` gives to as many receivers as the row has entries above 0. An entry up
    to twice that share still counts as the floor, since renormalising moves it a little.
    """
    kept = np.where(row <= 2 * _least_share(row > 0, row, floor), 0.0, row)
    return np.asarray(kept / np.maximum(np.add.reduce(kept, -1, keepdims=True), TINY))


def _least_share(alive: Mask | None, row: Array, floor: float) -> Array | float:
    """Least share of every living receiver of rows (..., K): one number, or one per row, shape (..., 1)."""
    width: int = row.shape[-1]
    if floor * width <= MOST_ON_FLOORS:
        return floor
    if alive is None:
        return MOST_ON_FLOORS / width
    receivers = np.maximum(alive.sum(-1, keepdims=True), 1)
    return np.asarray(np.minimum(floor, MOST_ON_FLOORS / receivers), dtype=np.float64)
