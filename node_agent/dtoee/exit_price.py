"""Exit by price: a task leaves if going on is worth less, at its score, than it costs now.

A threshold c weighs accuracy against a mean price. Queues swing around their means: while they are short, a task with a
score above c may go on for little; while they are long, one below c had better leave. So each task compares its worth
with the price of its receiver:

    leave  if  w(z) <= w(c) + (price now - mean price)                                              [s]

- z: score of the task at this exit; c: threshold of this server, which the rounds move and announce;
- w(z): time that going on is worth at score z, `thresholds.worth_of_going_on`, as a non-increasing curve;
- price now: cost of the receiver for a task that is sent now, its link included;
- mean price: sum_k p_k delta_k over the row and the prices of the last round.

At the best threshold w(c) is the mean price of link and receiver, so the rule is "theta times the accuracy gained is at
most the price". At the mean price it is that of the threshold. Prices that swing by sigma around their mean save
about f sigma^2 / 2 a task, where f is the density of w at the threshold [1/s].

The curve is an isotonic regression: the closest non-increasing one to the worth of the exit table's rows, found by
pooling adjacent violators (Ayer et al. 1955). Between the means of its pools it is linear.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.thresholds import NEVER, Onward, Paths, ranked, row_weights, worth_of_going_on

MOST_BINS = 40  # rows next to one another are pooled into at most so many bins of equal weight first


class WorthCurve(NamedTuple):
    """Time that going on is worth, by score: non-increasing and linear between knots, constant outside them."""

    score: tuple[float, ...]  # ascending, at least one
    worth_s: tuple[float, ...]  # descending, of the same length

    def at(self, score: float) -> float:
        """The worth at `score` [s]."""
        return float(np.interp(score, self.score, self.worth_s))

    def threshold(self, price_s: float) -> float:
        """The least score at which going on is worth at most `price_s`; NEVER if it is worth more at every score."""
        if self.worth_s[0] <= price_s:
            return 0.0
        for (low, high), (before_s, after_s) in zip(pairwise(self.score), pairwise(self.worth_s), strict=True):
            if after_s <= price_s:
                return low + (high - low) * (before_s - price_s) / (before_s - after_s)
        return NEVER

    def moved(self, threshold: float, dearer_s: float) -> float:
        """The threshold of a task whose price lies `dearer_s` above the mean price that `threshold` belongs to [s]."""
        if dearer_s == 0 or not 0 < threshold <= 1:
            return threshold
        return self.threshold(self.at(threshold) + dearer_s)


def worth_curve(table: ExitTable, stage: int, paths: Paths, onward: Onward, theta_s: float) -> WorthCurve:
    """The worth of going on at `stage`, by score, of the tasks that arrive over `paths`.

    Args:
        table: the exit table, one column per stage.
        stage: this server's stage, 1..H-1.
        paths: arriving flows [task/s], with the thresholds that their tasks have passed.
        onward: its receivers.
        theta_s: seconds of mean delay that one unit (100 points) of accuracy is worth.
    """
    rows, weights = ranked(table, stage), row_weights(table, paths)
    weight = weights[rows.order]
    worth_s = worth_of_going_on(table, stage, onward, theta_s)[rows.order]
    bins = np.minimum((MOST_BINS * (np.cumsum(weight) - weight / 2)).astype(np.intp), MOST_BINS - 1)
    total = np.bincount(bins, weight, MOST_BINS)
    filled = total > 0
    means = [np.bincount(bins, weight * each, MOST_BINS)[filled] / total[filled] for each in (rows.confidence, worth_s)]
    return non_increasing(means[0].tolist(), means[1].tolist(), total[filled].tolist())


def non_increasing(score: Sequence[float], worth_s: Sequence[float], weight: Sequence[float]) -> WorthCurve:
    """The closest non-increasing curve, by weighted squares, through points of ascending score.

    Args:
        score: ascending, at least one.
        worth_s: their worth [s].
        weight: their weights, above 0.
    """
    pools: list[tuple[float, float, float]] = []  # weight, mean score, mean worth
    for point in zip(weight, score, worth_s, strict=True):
        pools.append(point)
        while len(pools) > 1 and pools[-1][2] >= pools[-2][2]:
            (w2, z2, v2), (w1, z1, v1) = pools.pop(), pools.pop()
            total = w1 + w2
            pools.append((total, (w1 * z1 + w2 * z2) / total, (w1 * v1 + w2 * v2) / total))
    return WorthCurve(tuple(z for _, z, _ in pools), tuple(v for _, _, v in pools))
