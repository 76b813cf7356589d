"""Bootstrap intervals: against known answers, and how often they contain the true value."""

import numpy as np
import pytest

from testbed.cells.intervals import estimate


def test_by_hand():
    assert estimate([2.0]) == estimate([2.0])
    assert (estimate([2.0]).mean, estimate([2.0]).low, estimate([2.0]).high) == (2.0, None, None)
    same = estimate([3.0, 3.0, 3.0])
    assert (same.mean, same.low, same.high) == (3.0, 3.0, 3.0)
    # Of two values, the resampled means are 0 and 1 with probability 1/4 each: both lie beyond the 2.5 % quantiles.
    two = estimate([0.0, 1.0])
    assert (two.mean, two.low, two.high) == (0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="hence no mean"):
        estimate([])


def test_the_same_values_always_give_the_same_interval():
    values = np.random.default_rng(3).normal(size=12).tolist()
    assert estimate(values) == estimate(values)
    shifted = estimate([value + 10 for value in values])
    assert shifted.low == pytest.approx(estimate(values).low + 10)


def test_the_interval_agrees_with_scipy():
    from scipy import stats

    values = np.random.default_rng(5).gamma(2.0, size=30)
    ours = estimate(values.tolist())
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_it_holds_the_true_mean_nearly_as_often_as_it_says():
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        found = estimate(random.normal(1.0, 1.0, 20).tolist())
        hits += found.low <= 1.0 <= found.high
    assert 0.88 <= hits / 400 <= 0.98
