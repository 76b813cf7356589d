"""How far one policy's frontier lies ahead of another's: at equal accuracy, and at equal cost, on the same seeds.

On every seed, the curves of both policies (`testbed.frontier.curve`) are compared over the range that both cover, and
the difference is averaged over it. Chance that both policies share on a seed cancels. The interval is the bootstrap
over seeds of `testbed.cells.intervals`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from testbed.cells.intervals import Estimate, estimate
from testbed.frontier.curve import Array, Curve

STEPS = 201  # of the common range at which curves are compared

Points = Mapping[int, tuple[Array, Array]]
"""By seed: accuracy (n,) and cost (n,) of the policy's runs."""


@dataclass(frozen=True, slots=True)
class EqualAccuracy:
    """Costs at equal accuracy; a positive figure means that the first policy costs less.

    Attributes:
        reduction: 1 - cost of the first / cost of the other; None if a cost is zero.
        difference: cost of the other - cost of the first, in the figure's unit.
        low: lower end of the accuracies compared, mean over seeds, 0..1.
        high: upper end of the accuracies compared, mean over seeds, 0..1.
    """

    reduction: Estimate | None
    difference: Estimate
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EqualCost:
    """Accuracy at equal cost; a positive figure means that the first policy is more accurate.

    Attributes:
        gain: accuracy of the first - accuracy of the other; 0.01 is one point.
        low: lower end of the costs compared, mean over seeds, in the figure's unit.
        high: upper end of the costs compared, mean over seeds, in the figure's unit.
    """

    gain: Estimate
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Lead:
    """The frontier of the first policy against that of another.

    Attributes:
        other: label of the other policy.
        seeds: number of seeds on which both have points.
        at_equal_accuracy: costs at equal accuracy; None without a common range.
        at_equal_cost: accuracy at equal cost; None without a common range.
        trouble: why a figure is missing, in words; empty if none is.
    """

    other: str
    seeds: int
    at_equal_accuracy: EqualAccuracy | None
    at_equal_cost: EqualCost | None
    trouble: str = ""


def lead(other: str, first: Points, theirs: Points, *, by_ratio: bool) -> Lead:
    """Compare the first policy's frontier with another's.

    Args:
        other: label of the other policy.
        first: points of the first policy.
        theirs: points of the other one.
        by_ratio: true if all costs are above zero.
    """
    seeds = sorted(first.keys() & theirs.keys())
    if not seeds:
        return Lead(other, 0, None, None, "no seed on which both have a point")
    pairs = [(_curve(first[seed], by_ratio), _curve(theirs[seed], by_ratio)) for seed in seeds]
    accuracy, cost = _equal_accuracy(pairs), _equal_cost(pairs)
    lacking = [
        f"the {what} reached do not overlap on {apart} of {len(seeds)} seeds"
        for what, found, apart in (
            ("accuracies", accuracy, sum(_shared(a.accuracy, b.accuracy) is None for a, b in pairs)),
            ("costs", cost, sum(_shared(a.height, b.height) is None for a, b in pairs)),
        )
        if found is None
    ]
    return Lead(other, len(seeds), accuracy, cost, "; ".join(lacking))


def _curve(points: tuple[Array, Array], by_ratio: bool) -> Curve:
    return Curve.through(*points, by_ratio=by_ratio)


def _shared(first: Array, other: Array) -> tuple[float, float] | None:
    """The range that two ascending arrays both cover; None if there is none."""
    low, high = max(first[0], other[0]), min(first[-1], other[-1])
    return (float(low), float(high)) if low <= high else None


def _equal_accuracy(pairs: Sequence[tuple[Curve, Curve]]) -> EqualAccuracy | None:
    spans, reductions, differences = [], [], []
    for first, other in pairs:
        span = _shared(first.accuracy, other.accuracy)
        if span is None:
            return None
        at = np.linspace(*span, STEPS)
        ours, theirs = first.cost_at(at), other.cost_at(at)
        spans.append(span)
        differences.append(float((theirs - ours).mean()))
        if first.by_ratio:
            reductions.append(float((1 - ours / theirs).mean()))
    low, high = np.mean(spans, axis=0).tolist()
    return EqualAccuracy(estimate(reductions) if reductions else None, estimate(differences), low, high)


def _equal_cost(pairs: Sequence[tuple[Curve, Curve]]) -> EqualCost | None:
    spans, gains = [], []
    for first, other in pairs:
        span = _shared(first.height, other.height)
        if span is None:
            return None
        at = np.linspace(*span, STEPS)
        spans.append((math.exp(span[0]), math.exp(span[1])) if first.by_ratio else span)
        gains.append(float((first.accuracy_at(at) - other.accuracy_at(at)).mean()))
    low, high = np.mean(spans, axis=0).tolist()
    return EqualCost(estimate(gains), low, high)
