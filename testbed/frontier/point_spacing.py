"""The error of a lead that comes from gaps between points: curves run through points, and are guessed in between.

Each inner point is left out in turn. A gap of twice the width has at least four times the error of a smooth curve, so
a third of the change estimates the error of the present gap (Richardson's extrapolation). The errors of all points
are summed as squares.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from testbed.cells.intervals import Estimate
from testbed.frontier.leads import EqualAccuracy, Points, lead


def spacing_error(first: Points, theirs: Points, *, by_ratio: bool) -> float | None:
    """Estimate the error by gaps of the reduction at equal accuracy, a share, or of the difference of costs.

    Points of a seed stand in the order of their theta or threshold. None without a lead at equal accuracy.

    Args:
        first: points of the first policy.
        theirs: points of the other one.
        by_ratio: true if all costs are above zero: the error is that of the reduction.
    """
    whole = _mean(first, theirs, by_ratio=by_ratio)
    if whole is None:
        return None
    fewer = [(points, theirs) for points in _without_one(first)] + [(first, points) for points in _without_one(theirs)]
    means = [_mean(ours, others, by_ratio=by_ratio) for ours, others in fewer]
    return math.hypot(*(mean - whole for mean in means if mean is not None)) / 3


def spacing_notes(by_policy: Mapping[str, Points], *, by_ratio: bool) -> Iterator[str]:
    """Sentences on the leads of the first policy whose error by gaps is greater than half their interval."""
    (label, first), *others = by_policy.items()
    for other, theirs in others:
        found = lead(other, first, theirs, by_ratio=by_ratio).at_equal_accuracy
        error = spacing_error(first, theirs, by_ratio=by_ratio)
        if found is None or error is None:
            continue
        known = _figure(found)
        if known.low is not None and known.high is not None and error > (known.high - known.low) / 2:
            by = f"{100 * error:.1f} percentage points" if by_ratio else f"{error:.3g}"
            yield (
                f"{label} and {other} have too few points for their lead at equal accuracy: the gaps between them may "
                f"move it by about {by}, more than its interval says; state more --points"
            )


def _mean(first: Points, theirs: Points, *, by_ratio: bool) -> float | None:
    found = lead("", first, theirs, by_ratio=by_ratio).at_equal_accuracy
    return None if found is None else _figure(found).mean


def _figure(found: EqualAccuracy) -> Estimate:
    return found.difference if found.reduction is None else found.reduction


def _without_one(points: Points) -> Iterator[Points]:
    """The points without one of each seed that is neither the first nor the last."""
    fewest = min((len(accuracy) for accuracy, _ in points.values()), default=0)
    for left_out in range(1, fewest - 1):
        yield {
            seed: (np.delete(accuracy, left_out), np.delete(cost, left_out))
            for seed, (accuracy, cost) in points.items()
        }
