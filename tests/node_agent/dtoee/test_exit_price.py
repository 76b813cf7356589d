"""Exit by price: the worth of going on by score, and the threshold of a task whose price differs from the mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from node_agent.dtoee import thresholds
from node_agent.dtoee.exit_price import WorthCurve, non_increasing, worth_curve
from node_agent.dtoee.thresholds import NEVER, Onward
from tests.node_agent.dtoee.network import exit_table

EVERYTHING = [(4.0, ())]
POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(-2, 2), st.floats(0.01, 5)), min_size=1, max_size=30)


def onward(local_s: float = 0.2, paths=([(1.0, (0.7,))],)) -> Onward:
    """One receiver with the price `local_s` [s] of its own queue."""
    one = np.ones(1)
    return Onward(one, 0.02 * one, local_s * one, 0.3 * one, 0.0 * one, paths)


class TestNonIncreasing:
    @given(POINTS)
    def test_the_curve_is_the_closest_one_that_does_not_rise(self, points):
        score, worth_s, weight = map(np.array, zip(*sorted(points), strict=True))
        curve = non_increasing(score.tolist(), worth_s.tolist(), weight.tolist())
        best = isotonic_regression(worth_s, weights=weight, increasing=False).x
        assert sorted(set(np.round(curve.worth_s, 9))) == sorted(set(np.round(best, 9)))
        assert list(curve.worth_s) == sorted(curve.worth_s, reverse=True)
        assert list(curve.score) == sorted(curve.score)

    def test_points_that_rise_are_pooled_by_weight(self):
        curve = non_increasing([0.1, 0.5, 0.9], [0.4, 0.1, 0.4], [1.0, 1.0, 2.0])
        assert curve.score == pytest.approx((0.1, (0.5 + 1.8) / 3))
        assert curve.worth_s == pytest.approx((0.4, (0.1 + 0.8) / 3))


class TestWorthCurve:
    curve = WorthCurve((0.2, 0.6, 0.8), (0.5, 0.3, 0.1))

    def test_a_task_leaves_where_it_is_worth_at_most_the_price(self):
        assert self.curve.threshold(0.3) == pytest.approx(0.6)
        assert self.curve.threshold(0.2) == pytest.approx(0.7)
        assert self.curve.at(0.7) == pytest.approx(0.2)
        assert self.curve.threshold(0.5) == 0.0  # no score is worth more
        assert self.curve.threshold(0.05) == NEVER  # every score is worth more

    @given(st.floats(0.11, 0.49))
    def test_the_threshold_of_a_price_is_worth_that_price(self, price_s):
        assert self.curve.at(self.curve.threshold(price_s)) == pytest.approx(price_s)

    def test_a_dearer_receiver_lowers_the_threshold_and_a_cheaper_one_raises_it(self):
        assert self.curve.moved(0.6, 0.1) == pytest.approx(0.4)
        assert self.curve.moved(0.6, -0.1) == pytest.approx(0.7)
        assert self.curve.moved(0.6, 9.0) == 0.0
        assert self.curve.moved(0.6, -9.0) == NEVER

    def test_at_the_mean_price_and_where_all_or_none_leave_the_threshold_stays(self):
        assert self.curve.moved(0.65, 0.0) == 0.65
        assert self.curve.moved(0.0, -1.0) == 0.0
        assert self.curve.moved(NEVER, 1.0) == NEVER


class TestCurveOfATable:
    table = exit_table(3, rows=4000)

    def test_at_the_best_threshold_going_on_is_worth_its_price(self):
        """The rule of the threshold and the rule of the price agree at the mean price."""
        for local_s in (0.1, 0.2, 0.4):
            ahead = onward(local_s)
            best = 0.8
            for _ in range(10):
                best = thresholds.best_jump(
                    self.table, 1, EVERYTHING, 4.0, ahead, best, theta_s=3.0, eps_s=0.0, most_steps=None
                )
            curve = worth_curve(self.table, 1, EVERYTHING, ahead, 3.0)
            points = thresholds.grid(self.table, 1)
            place = int(np.searchsorted(points, best))
            near_s = 0.02 + local_s
            assert points[max(0, place - 2)] <= curve.threshold(near_s) <= points[min(len(points) - 1, place + 2)]

    def test_the_curve_keeps_the_mean_worth_of_the_tasks_that_arrive(self):
        paths = [(3.0, (0.5,)), (1.0, (0.9,))]
        ahead = onward(paths=([(1.0, ())],))
        weights = thresholds.row_weights(self.table, paths)
        worth_s = thresholds.worth_of_going_on(self.table, 2, ahead, 2.0)
        curve = worth_curve(self.table, 2, paths, ahead, 2.0)
        assert curve.worth_s[0] > float(weights @ worth_s) > curve.worth_s[-1]
        fitted = np.interp(self.table.confidence[:, 1], curve.score, curve.worth_s)
        assert float(weights @ fitted) == pytest.approx(float(weights @ worth_s), abs=0.05)


def test_following_prices_that_swing_saves_half_the_density_times_their_variance():
    """Scores uniform over 0..1 and worth 1 - z: density 1 per second around the threshold."""
    curve, score = WorthCurve((0.0, 1.0), (1.0, 0.0)), np.linspace(0, 1, 2001)
    near_s, swing_s = 0.5, 0.2
    single = priced = 0.0
    for price_s in (near_s - swing_s, near_s + swing_s):
        saved = 1 - score - price_s
        threshold = curve.threshold(near_s)
        single += float(saved[score < threshold].sum()) / len(score) / 2
        priced += float(saved[score < curve.moved(threshold, price_s - near_s)].sum()) / len(score) / 2
    assert priced - single == pytest.approx(swing_s**2 / 2, rel=0.02)
