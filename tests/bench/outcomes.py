"""Thresholds chosen by seen and by expected outcomes, on the shipped models: `python -m tests.bench outcomes`.

No network: going on costs a fixed price at each of two early exits. Thresholds are chosen by one half of a model's
samples and judged by the other half, whose best single threshold for both exits is the rival. Takes a minute.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.expected_outcomes import expected
from node_agent.dtoee.thresholds import Onward, best_jump
from node_agent.models.bundles.loading import load_bundle
from testbed.cells.intervals import estimate
from tests.bench.table import Row, main, row

CUTS = {"glyphs": (2, 3, 5), "glyphs-deep": (2, 3, 7), "glosses": (1, 2, 4), "smollm": (10, 20, 30)}
PRICES_S = ((0.1, 0.15), (0.2, 0.3), (0.3, 0.5))  # of going on from the first exit, and from the second
THETAS_S = (0.5, 2.0, 5.0, 10.0)
HALVES = 10  # random divisions of the samples into halves
SINGLE = np.arange(0.1, 1.0, 0.05)
MOST_ROUNDS = 8


def rows() -> Iterator[Row]:
    """The utility that each kind of outcome gains on the best single threshold, by model and theta."""
    for name in CUTS:
        pairs = list(halves(name))
        for theta_s in THETAS_S:
            for kind in ("seen", "expected"):
                gains = [
                    gained_s(expected(known) if kind == "expected" else known, judge, prices_s, theta_s) * 1e3
                    for known, judge in pairs for prices_s in PRICES_S
                ]  # fmt: skip
                found = estimate(gains)
                yield row(f"{name}: theta {theta_s:g} s, {kind} outcomes: utility gained", found.mean, "ms",
                          rival="the best single threshold of the judging half")  # fmt: skip


def halves(name: str) -> Iterator[tuple[ExitTable, ExitTable]]:
    """Random halves of the samples of a model, its exit table and those of devices together."""
    bundle = load_bundle(name)
    table, scores = bundle.exit_table(CUTS[name]), bundle.scores(CUTS[name])
    score = np.vstack([table.confidence, scores.confidence])
    right = np.vstack([table.correct, scores.prediction == np.reshape(bundle.labels, (-1, 1))])
    chance = np.random.default_rng(1)
    for _ in range(HALVES):
        order = chance.permutation(len(score))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        yield ExitTable(score[first], right[first]), ExitTable(score[second], right[second])


def gained_s(known: ExitTable, judge: ExitTable, prices_s: tuple[float, float], theta_s: float) -> float:
    """Utility of the thresholds chosen by `known`, less that of the best single one for `judge`, on `judge` [s]."""
    best = max(utility_s(judge, (c, c), prices_s, theta_s) for c in SINGLE)
    return utility_s(judge, chosen(known, prices_s, theta_s), prices_s, theta_s) - best


def chosen(table: ExitTable, prices_s: tuple[float, float], theta_s: float) -> tuple[float, float]:
    """The thresholds at which no move of a single one helps, as nodes find them."""
    thresholds = [0.8, 0.8]
    for _ in range(MOST_ROUNDS):
        before = tuple(thresholds)
        thresholds[1] = _moved(table, 2, thresholds, (prices_s[1], 0.0), theta_s)
        thresholds[0] = _moved(table, 1, thresholds, prices_s, theta_s)
        if before == tuple(thresholds):
            break
    return thresholds[0], thresholds[1]


def _moved(table: ExitTable, stage: int, now: Sequence[float], price_s: tuple[float, float], theta_s: float) -> float:
    """The best threshold of a stage; `price_s` is that of its one receiver, and beyond it [s]."""
    one = np.ones(1)
    onward = Onward(one, 0 * one, price_s[0] * one, price_s[1] * one, 0 * one, ([(1.0, tuple(now[stage:]))],))
    paths = [(1.0, tuple(now[: stage - 1]))]
    return best_jump(
        table, stage, paths, 1.0, onward, now[stage - 1], theta_s=theta_s, eps_s=0.0, most_steps=None
    )  # fmt: skip


def utility_s(table: ExitTable, thresholds: Sequence[float], prices_s: Sequence[float], theta_s: float) -> float:
    """theta times the accuracy, less the prices of the tasks that go on [s]."""
    share, accuracy = table.outcome(thresholds)
    going_on = 1 - np.cumsum(share)[:-1]
    return theta_s * accuracy - float(going_on @ np.asarray(prices_s))


if __name__ == "__main__":
    main(rows, __doc__)
