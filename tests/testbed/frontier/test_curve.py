"""Pareto sets, and the monotone curve through them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.frontier.curve import Curve, undominated

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 10)), min_size=1, max_size=30)


def knee(accuracy):
    """A cost [s] that rises without bound near an accuracy of 0.905."""
    return 0.12 + 0.004 / (0.905 - accuracy)


@given(PAIRS)
def test_the_pareto_set_is_what_no_point_beats(pairs):
    accuracy, cost = np.array(pairs).T
    kept = undominated(accuracy, cost).tolist()
    assert (np.diff(accuracy[kept]) > 0).all()
    assert (np.diff(cost[kept]) > 0).all()
    for index in range(len(pairs)):
        beaten = [other for other in kept if accuracy[other] >= accuracy[index] and cost[other] <= cost[index]]
        assert beaten
        assert index not in kept or beaten == [index]


@settings(deadline=None)  # the first call loads scipy
@given(PAIRS)
def test_the_curve_is_monotone_and_goes_through_its_points(pairs):
    accuracy, cost = np.array(pairs).T
    curve = Curve.through(accuracy, cost, by_ratio=True)
    assert curve.cost_at(curve.accuracy) == pytest.approx(curve.cost)
    at = np.linspace(curve.accuracy[0], curve.accuracy[-1], 50)
    assert (np.diff(curve.cost_at(at)) >= -1e-9 * curve.cost[-1]).all()


@pytest.mark.parametrize("by_ratio", [True, False])
def test_between_points_the_curve_is_near_the_truth(by_ratio):
    accuracy = np.linspace(0.78, 0.89, 7)
    curve = Curve.through(accuracy, knee(accuracy), by_ratio=by_ratio)
    at = np.linspace(0.78, 0.89, 111)
    straight = np.interp(at, accuracy, knee(accuracy))
    assert np.abs(curve.cost_at(at) / knee(at) - 1).mean() < 0.5 * np.abs(straight / knee(at) - 1).mean()
    heights = np.linspace(curve.height[0], curve.height[-1], 50)
    back = curve.cost_at(curve.accuracy_at(heights))
    assert back == pytest.approx(np.exp(heights) if by_ratio else heights, rel=0.02)


def test_a_single_point_is_a_curve():
    curve = Curve.through(np.array([0.8]), np.array([0.3]), by_ratio=True)
    assert curve.cost_at(np.array([0.8, 0.8])).tolist() == pytest.approx([0.3, 0.3])
