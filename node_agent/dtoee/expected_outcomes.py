"""The probability that each exit is right on a row of the exit table, in place of the one outcome that was seen.

On each row, the outcome of an exit is a coin toss. A threshold chosen by some thousand tosses follows their chance:
theta seconds depend on each. The scores of a row hold most of the knowledge about its tosses. So each exit's outcome is
replaced by its mean, given the scores z of all exits of the row, a logistic regression:

    P(exit h is right) = 1 / (1 + exp(-(b_0 + sum_l b_l logit(z_l))))

with a weak normal prior on the b_l (Tipping 2001; solved by Newton's method). Sums over rows keep their means and lose
most of their variance (Rao and Blackwell). Scores need not be calibrated.

Decision 099: thresholds are chosen by expected outcomes (docs/decisions/099-expected-outcomes.md).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array

LEAST_SCORE = 0.005  # scores are taken within LEAST_SCORE..1 - LEAST_SCORE, so that their logits stay finite
PRIOR = 1.0  # precision of the prior of each coefficient, for logits of standard deviation one
NEWTON_STEPS = 30
SETTLED = 1e-8


@lru_cache(maxsize=16)
def expected(table: ExitTable) -> ExitTable:
    """The table with P(exit h is right), shape (N, H), in place of the outcomes; the same scores.

    The result is kept with its table: equal calls return the same object.
    """
    features = _features(table.confidence)
    outcomes = table.correct.astype(np.float64)
    chances = [_regression(features, outcomes[:, column]) for column in range(table.stages)]
    return ExitTable(table.confidence, np.column_stack(chances))


def _features(scores: Array) -> Array:
    """One, and the standardised logit of each score, shape (N, H + 1)."""
    within = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    logits = np.log(within / (1 - within))
    spread = logits.std(axis=0)
    standard = (logits - logits.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.column_stack([np.ones(len(scores)), standard])


def _regression(features: Array, outcomes: Array) -> Array:
    """The fitted probability of each row, shape (N,): Newton's method on the penalised likelihood."""
    coefficients = np.zeros(features.shape[1])
    prior = np.full(features.shape[1], PRIOR)
    for _ in range(NEWTON_STEPS):
        chance = _logistic(features @ coefficients)
        slope = features.T @ (outcomes - chance) - prior * coefficients
        bent = (features * (chance * (1 - chance))[:, None]).T @ features + np.diag(prior)
        step = np.linalg.solve(bent, slope)
        coefficients += np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < SETTLED:
            break
    return _logistic(features @ coefficients)


def _logistic(value: Array) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -40.0, 40.0))))
