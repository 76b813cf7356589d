"""The frontier of one policy on one seed: the points that no other beats, and a monotone curve through them.

A point is the accuracy that a run reached and what it cost: mean delay, or another figure that should be small. Between
points the curve is the monotone cubic of Fritsch and Carlson (SIAM J. Numer. Anal. 17, 1980). If all costs are above
zero, it is one in the logarithm of the cost.

Decision 111: frontiers are compared by monotone curves on each seed
(docs/decisions/111-frontiers-at-equal-accuracy.md).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
STEPS = 1000  # at which the curve is turned around


def undominated(accuracy: Array, cost: Array) -> npt.NDArray[np.int64]:
    """The indices of the Pareto set, by ascending accuracy: no other point is as accurate at no more cost.

    Args:
        accuracy: of each point, (n,).
        cost: of each point, (n,).
    """
    kept: list[int] = []
    least = np.inf
    for index in np.lexsort((cost, -accuracy)).tolist():
        if cost[index] < least:
            kept.append(index)
            least = cost[index]
    return np.array(kept[::-1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Curve:
    """A frontier: accuracies (n,) and costs (n,), both strictly ascending.

    Attributes:
        accuracy: of the points on the frontier, 0..1.
        cost: of the same points.
        by_ratio: true if costs are compared by their ratio; all are above zero then.
    """

    accuracy: Array
    cost: Array
    by_ratio: bool

    @classmethod
    def through(cls, accuracy: Array, cost: Array, *, by_ratio: bool) -> "Curve":
        """The frontier of these points, (n,) each, at least one."""
        kept = undominated(accuracy, cost)
        return cls(accuracy[kept], cost[kept], by_ratio)

    @property
    def height(self) -> Array:
        """The costs as the curve sees them: their logarithms if they are compared by ratio, (n,)."""
        return np.log(self.cost) if self.by_ratio else self.cost

    def cost_at(self, accuracy: Array) -> Array:
        """The cost of these accuracies (m,), each between the least and the most of the curve."""
        height = _monotone(self.accuracy, self.height, accuracy)
        return np.asarray(np.exp(height) if self.by_ratio else height, dtype=np.float64)

    def accuracy_at(self, height: Array) -> Array:
        """The accuracy at these heights (m,), each between the least and the most of the curve: the same curve."""
        at = np.unique(np.concatenate([np.linspace(self.accuracy[0], self.accuracy[-1], STEPS), self.accuracy]))
        return np.asarray(np.interp(height, _monotone(self.accuracy, self.height, at), at), dtype=np.float64)


def _monotone(x: Array, y: Array, at: Array) -> Array:
    """The monotone cubic through the points (x, y) at `at`; with two points a line, with one the point."""
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - loads slowly

    if len(x) < 3:
        return np.interp(at, x, y)
    return np.asarray(PchipInterpolator(x, y)(at), dtype=np.float64)
