"""The error of a lead by gaps between points, on synthetic policies whose frontiers are equal."""

import numpy as np
import pytest

from testbed.frontier.leads import lead
from testbed.frontier.point_spacing import spacing_error, spacing_notes
from tests.testbed.frontier.test_curve import knee

FEW = np.array([0.70, 0.80, 0.88, 0.89])
OTHERS = np.array([0.70, 0.75, 0.84, 0.89])
MANY = np.linspace(0.70, 0.89, 25)


def exact(accuracy, seeds=5):
    """Points on the frontier `knee`, whose costs have a factor in common on each seed."""
    return {seed: (accuracy, (1 + seed / 100) * knee(accuracy)) for seed in range(seeds)}


def true_error(first, theirs):
    """The lead of equal frontiers, which is all error."""
    return abs(lead("other", exact(first), exact(theirs), by_ratio=True).at_equal_accuracy.reduction.mean)


@pytest.mark.parametrize(("first", "theirs"), [(FEW, OTHERS), (FEW, MANY), (MANY, OTHERS)])
def test_the_error_of_gaps_is_not_underestimated(first, theirs):
    assert spacing_error(exact(first), exact(theirs), by_ratio=True) >= true_error(first, theirs) > 0


def test_a_lead_that_comes_from_gaps_has_a_note():
    (note,) = spacing_notes({"a": exact(FEW), "b": exact(OTHERS)}, by_ratio=True)
    assert note.startswith("a and b have too few points")
    assert note.endswith("state more --points")


def test_dense_points_have_no_note():
    chance = np.random.default_rng(1)
    noisy = {
        seed: (accuracy, cost * np.exp(chance.normal(0, 0.01, len(cost))))
        for seed, (accuracy, cost) in exact(MANY).items()
    }
    assert list(spacing_notes({"a": exact(MANY), "b": noisy}, by_ratio=True)) == []


def test_ranges_apart_have_no_error():
    assert spacing_error(exact(FEW[:2]), exact(FEW[2:]), by_ratio=True) is None
    assert list(spacing_notes({"a": exact(FEW[:2]), "b": exact(FEW[2:])}, by_ratio=True)) == []
