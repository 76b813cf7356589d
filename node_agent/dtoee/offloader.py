"""DTO-O: how an offloader shifts its probabilities once its receivers have reported.

With delta_j = D'_j + Omega_j the marginal cost of link and receiver j and dbar the row's mean of it, the relative
gradient is g_j = (delta_j - dbar) / dbar, and the row takes a multiplicative step with Nesterov's momentum, which
offers the row that the momentum leads to, so that prices are answered before it is reached:

    z_j <- beta z_j - eta g_j ;   p_j <- p_j exp(clip(beta z_j - eta g_j, -1, 1)) ;   p_j >= floor ;   sum_j p_j = 1

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
11, 16, 13 (18.5, 46.5, 130) with a floor of 0.01 %, and 11, 16, 13 (18.5, 48, 134) with the default one. Rejected as
default, floor 0.01 %: the heavy ball p exp(z) with momentum 0.8, which forgets it when gradients oppose, 10, 24, 15.5
(20, 78, 257); Gallager's rule, 13, 39, 4 (36, 201, beyond 400).

Here are the constants of the update, and the bounds of rows (..., K); `one_row` is the update itself, as a node runs
it. Rows are kept by those who call it; the rest of a row's state is its `Momentum`.
"""

from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np

from node_agent.dtoee.queueing import Array, Mask

# Decision: a floor of 0.2 %, because a receiver that has fallen to the floor and becomes cheap needs a round for every
# factor of about two on its way back; rejected: 0.01 %, about 0.1 % nearer to the optimum while nothing changes, but
# half as many rounds again until a plan is good again after a server has slowed down (`tests.bench.convergence`).
FLOOR = 2e-3  # keeps every receiver probed, so that one which has become cheap is noticed

MOST_ON_FLOORS = 0.1  # of a row, however many receivers it has: see `restrict`
LEAST_MEAN_S = 1e-12  # of a row's price: where all are free there is no direction, but no division by zero either
TINY = 1e-300  # instead of zero in a divisor

Update = Literal["momentum", "gallager"]
# Of one offloader K numbers and a number, of n offloaders arrays (n, K) and (n,).
PerReceiver = TypeVar("PerReceiver")
PerOffloader = TypeVar("PerOffloader")


@dataclass(frozen=True, slots=True)
class StepRule:
    """Constants of the update."""

    momentum: float = 0.95  # beta
    kept: float = 0.7  # of the velocity, in place of beta, when successive gradients oppose
    shrink: float = 0.7  # of the step then
    first_step: float = 0.3  # eta
    least_step: float = 0.01
    largest_step: float = 3.0
    stale_step: float = 0.1  # at 0.15 and load 0.8, the cost swings on prices one round old (`tests.bench.convergence`)
    floor: float = FLOOR
    look_ahead: bool = True  # Nesterov's momentum; without it, the heavy ball's: p exp(z)
    update: Update = "momentum"


class Momentum(NamedTuple, Generic[PerReceiver, PerOffloader]):
    """What a row, or each of n rows, carries from one step to the next, besides itself."""

    velocity: PerReceiver  # v, K numbers or (n, K)
    gradient: PerReceiver  # g of the last step, K numbers or (n, K)
    step: PerOffloader  # eta, a number or (n,)


class Scale(NamedTuple, Generic[PerReceiver, PerOffloader]):
    """What Gallager's update needs besides prices, for one row or for n rows."""

    leaving_per_s: PerOffloader  # w, tasks that leave the offloader [task/s], a number or (n,)
    curvature_s2: PerReceiver  # K_j = n_j (R_j + D''_j) [s^2/task], K numbers or (n, K)


def restrict(row: Array, alive: Mask, floor: float) -> Array:
    """Rows (..., K) with dead receivers at 0 and sum one; before renormalising, every living one holds its least share.

    That share is `floor`, or, of so many receivers that floors alone would distort the row, an equal part of
    `MOST_ON_FLOORS`: min(floor, 0.1 / number of living receivers).

    >>> restrict(np.array([0.5, 0.5, 0.0]), np.array([True, False, True]), 0.02).round(3).tolist()
    [0.98, 0.0, 0.02]
    """
    living = None if alive.all() else alive  # None, the usual case: nothing need be masked
    there = row if living is None else np.where(living, row, 0.0)
    kept = there / np.maximum(np.add.reduce(there, -1, keepdims=True), TINY)
    kept = np.maximum(kept, _least_share(living, row, floor))
    if living is not None:
        kept = np.where(living, kept, 0.0)
    kept /= np.add.reduce(kept, -1, keepdims=True)
    return np.asarray(kept)


def published(row: Array, floor: float) -> Array:
    """Rows (..., K) as they are executed: entries that only the floor keeps alive become 0.

    The floor is the least share that `restrict` gives to as many receivers as the row has entries above 0. A factor of
    two above it still counts as the floor, since renormalising moves it a little.
    """
    kept = np.where(row <= 2 * _least_share(row > 0, row, floor), 0.0, row)
    return np.asarray(kept / np.maximum(np.add.reduce(kept, -1, keepdims=True), TINY))


def _least_share(alive: Mask | None, row: Array, floor: float) -> Array | float:
    """What every living receiver of rows (..., K) keeps: one number, or one per row, (..., 1)."""
    width: int = row.shape[-1]
    if floor * width <= MOST_ON_FLOORS:
        return floor
    if alive is None:
        return MOST_ON_FLOORS / width
    receivers = np.maximum(alive.sum(-1, keepdims=True), 1)
    return np.asarray(np.minimum(floor, MOST_ON_FLOORS / receivers), dtype=np.float64)
