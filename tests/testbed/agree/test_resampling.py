"""Intervals from blocks: by hand, against NumPy, and how often they contain the true value."""

import numpy as np
import pytest

from testbed.agree.resampling import (
    FEWEST_BLOCKS,
    Values,
    _quantile,
    compare_values,
    mean_of,
    resample,
    taken,
)
from testbed.cells.intervals import estimate


def values(value, block=None):
    value = np.array(value, dtype=np.float64)
    return Values(value, np.arange(value.size) if block is None else np.array(block, dtype=np.int64))


def drawn(random, blocks, per_block=8, *, extra=0.0):
    """Tasks of both sides: a common part per block (scale 1), and a part of each task's own (scale 0.1)."""
    common = random.normal(10.0, 1.0, blocks).repeat(per_block)
    block = np.arange(blocks).repeat(per_block)
    live, simulated = (common + random.normal(0.0, 0.1, common.size) for _ in range(2))
    return Values(live + extra, block), Values(simulated, block)


def test_statistics_by_hand():
    some = values([1.0, 2.0, 6.0])
    assert (taken("mean", some), taken("sum", some), taken(0.5, some)) == (3.0, 9.0, 2.0)
    assert taken(0.75, some) == pytest.approx(4.0)  # half-way between the second and the third
    assert taken("mean", values([])) is None


def test_one_repeat_by_hand():
    # Live is 2 above simulated in every block, so the difference is 2 in every resample.
    simulated = [1.0, 2.0, 3.0, 4.0, 5.0]
    figure = compare_values("mean", "slots", [(values(np.add(simulated, 2.0)), values(simulated))])
    assert (figure.live, figure.simulated, figure.basis, figure.units) == (5.0, 3.0, "slots", 5)
    assert (figure.difference.mean, figure.difference.low, figure.difference.high) == pytest.approx((2.0, 2.0, 2.0))
    assert figure.ratio.mean == pytest.approx(5 / 3)
    # The means of resamples lie between 1 and 5, hence the ratios between 7/5 and 3; chance hardly reaches the ends.
    assert 7 / 5 < figure.ratio.low < 5 / 3 < figure.ratio.high < 3.0


def test_a_block_is_drawn_as_a_whole():
    """Ten tasks in each of five blocks: with one value per block, tasks add no knowledge."""
    simulated = [1.0, 2.0, 3.0, 4.0, 5.0]
    one = mean_of("slots", [values(simulated)])
    ten = mean_of("slots", [values(np.repeat(simulated, 10), np.repeat(np.arange(5), 10))])
    assert ten.units == 5
    assert (ten.estimate.low, ten.estimate.high) == pytest.approx((one.estimate.low, one.estimate.high))


def test_quantiles_of_resamples_are_those_of_numpy():
    random = np.random.default_rng(3)
    ordered, times = np.sort(random.gamma(2.0, size=40)), random.integers(0, 4, 40)
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        assert _quantile(ordered, np.cumsum(times), q) == pytest.approx(np.quantile(ordered.repeat(times), q))
    assert np.isnan(_quantile(ordered, np.cumsum(times * 0), 0.5))


def test_a_quantile_has_an_interval():
    live, simulated = drawn(np.random.default_rng(1), 40, extra=1.0)
    figure = compare_values(0.95, "slots", [(live, simulated)])
    assert figure.live == np.percentile(live.value, 95)
    assert figure.simulated == np.percentile(simulated.value, 95)
    assert figure.difference.low < figure.difference.mean < figure.difference.high
    assert figure.difference.low > 0.7
    assert figure.difference.high < 1.3


def test_the_difference_is_paired():
    """A common part of both sides cancels in their difference, but not in their means."""
    live, simulated = drawn(np.random.default_rng(1), 40, extra=0.5)
    paired = compare_values("mean", "slots", [(live, simulated)]).difference
    alone = mean_of("slots", [live]).estimate
    assert alone.high - alone.low > 0.4  # 2 * 1.96 / sqrt(40) = 0.62
    assert paired.high - paired.low < 0.05  # 2 * 1.96 * 0.1 * sqrt(2 / 320) = 0.031
    assert paired.low < 0.5 < paired.high


def test_intervals_shrink_with_more_tasks():
    """Four times as many slots: half as wide."""

    def width(blocks):
        random = np.random.default_rng(11)
        one = [compare_values("mean", "slots", [drawn(random, blocks)]).difference for _ in range(20)]
        return np.mean([each.high - each.low for each in one])

    assert width(100) == pytest.approx(width(25) / 2, rel=0.12)


def test_intervals_hold_the_truth_nearly_as_often_as_they_say():
    random = np.random.default_rng(7)
    found = [compare_values("mean", "slots", [drawn(random, 20, extra=0.03)]).difference for _ in range(300)]
    assert 0.88 <= np.mean([one.low <= 0.03 <= one.high for one in found]) <= 0.98


def test_three_repeats_are_resampled_themselves():
    pairs = [(values([1.0 + shift, 3.0 + shift]), values([1.0, 3.0])) for shift in (0.1, 0.2, 0.6)]
    figure = compare_values("mean", "slots", pairs)
    assert (figure.basis, figure.units) == ("repeats", 3)
    assert (figure.live, figure.simulated) == (pytest.approx(2.3), 2.0)
    assert figure.difference == estimate([taken("mean", live) - 2.0 for live, _ in pairs])
    assert figure.ratio == estimate([taken("mean", live) / 2.0 for live, _ in pairs])
    single = mean_of("slots", [live for live, _ in pairs])
    assert (single.basis, single.units, single.estimate.mean) == ("repeats", 3, pytest.approx(2.3))


def test_two_repeats_are_taken_together():
    one = values([1.0, 2.0, 3.0]), values([0.0, 1.0, 2.0])
    other = values([4.0, 6.0, 8.0]), values([4.0, 5.0, 6.0])
    figure = compare_values("mean", "slots", [one, other])
    assert (figure.live, figure.simulated, figure.basis) == (4.0, 3.0, "slots")
    assert figure.units == 6, "blocks of one number in two repeats are two blocks"
    assert compare_values("sum", "slots", [one, other]).live == 12.0  # of a run: (6 + 18) / 2


@pytest.mark.parametrize(
    ("live", "simulated"),
    [
        (range(FEWEST_BLOCKS - 1), range(FEWEST_BLOCKS - 1)),  # too few blocks
        ([0.0] * 9, [0.0] * 9),  # without any loss, nothing is known about its spread
    ],
)
def test_where_resampling_says_nothing_there_is_no_interval(live, simulated):
    figure = compare_values("sum", "slots", [(values(live), values(simulated))])
    assert (figure.difference.mean, figure.difference.low, figure.basis, figure.units) == (0.0, None, None, 0)
    assert resample("mean", [values(live)]) == (None, 0)


def test_a_side_without_values_has_no_figure():
    figure = compare_values("mean", "slots", [(values([1.0]), values([]))])
    assert (figure.live, figure.simulated, figure.difference, figure.ratio) == (1.0, None, None, None)
    assert mean_of("slots", [values([])]).estimate is None
    nothing = compare_values("mean", "slots", [(values([1.0] * 9), values([0.0] * 9))])
    assert (nothing.ratio, nothing.difference.mean) == (None, 1.0)


def test_resamples_that_hold_nothing_of_a_side_do_not_count():
    """Only one block of twenty holds simulated values: a third of the resamples lack it."""
    figure = compare_values("mean", "slots", [(values(range(20)), values([5.0, 7.0], [3, 3]))])
    assert figure.difference.mean == pytest.approx(9.5 - 6.0)
    assert figure.difference.low < 3.5 < figure.difference.high
