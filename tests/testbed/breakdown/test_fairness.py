"""Fairness over devices."""

import pytest

from testbed.breakdown.fairness import fairness_fields, jain_index


def test_jain_is_one_for_equals_and_one_over_n_for_a_lone_one():
    assert jain_index([3.0] * 7) == pytest.approx(1.0)
    assert jain_index([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain_index([1.0, 2.0, 3.0]) == pytest.approx(36 / (3 * 14))
    assert jain_index([]) is None
    assert jain_index([0.0, 0.0]) is None


def test_the_index_is_over_devices_not_over_tasks():
    fields = fairness_fields([("a", 1.0), ("a", 3.0), ("b", 4.0), ("a", 2.0)])
    assert fields == {
        "jain": pytest.approx(36 / (2 * 20)),
        "worst_over_mean": pytest.approx(4 / 3),
        "worst_device": "b",
        "devices": 2,
    }


def test_without_a_task_there_is_nothing():
    assert fairness_fields([]) == {"jain": None, "worst_over_mean": None, "worst_device": None, "devices": 0}
