"""Spreading: how evenly draws follow weights that stay, that change, and that come and go."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from node_agent.core.offloading.spreading import (
    Credits,
    RandomSpreading,
    SmoothSpreading,
    inclusions,
    spreading,
)
from node_agent.errors import InvalidState

weights_of_some = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1.0)), min_size=1, max_size=12).filter(any)


def smooth(weights: list[float], seed: int = 1) -> SmoothSpreading:
    """Return a smooth spreading that follows `weights`."""
    spread = SmoothSpreading(len(weights), random.Random(seed))
    spread.follow(weights)
    return spread


@settings(max_examples=150)
@given(weights_of_some, st.integers(1, 300))
def test_at_any_time_each_receiver_has_its_share_to_less_than_one_task(weights, draws):
    credits = Credits(len(weights))
    shares = inclusions(weights, 1)
    credits.follow(shares)
    got = np.zeros(len(weights))
    bound = 1 - 1 / max(2, 2 * np.count_nonzero(weights) - 2)
    for done in range(1, draws + 1):
        got[credits.draw()] += 1
        assert np.abs(got - done * np.array(shares)).max() <= bound + 1e-6
    assert not got[np.array(weights) == 0].any()


def test_drawing_the_greatest_credit_would_not_keep_the_bound():
    shares = [0.52, 0.404, 0.035, 0.032, 0.008, 0.001]
    greedy, credits = [0.0] * len(shares), Credits(len(shares))
    credits.follow(shares)
    most_greedy = most = 0.0
    for _ in range(400):
        greedy = [credit + share for credit, share in zip(greedy, shares, strict=True)]
        greedy[greedy.index(max(greedy))] -= 1
        credits.draw()
        most_greedy, most = max(most_greedy, *map(abs, greedy)), max(most, *map(abs, credits.credits))
    assert most < 0.9 + 1e-6
    assert most_greedy > 1


@settings(max_examples=60)
@given(st.lists(weights_of_some, min_size=2, max_size=8), st.integers(0, 2**32))
def test_changes_of_the_weights_keep_every_credit_small(rows, seed):
    """A receiver that comes back, or whose share changes, is owed two tasks at most, and owes two at most."""
    count = max(len(row) for row in rows)
    spread = SmoothSpreading(count, random.Random(seed))
    dice = random.Random(seed)
    for row in rows * 4:
        spread.follow([*row, *[0.0] * (count - len(row))])
        spread.validate()
        for _ in range(dice.randrange(6)):
            spread.one()
        assert max(map(abs, spread.credits)) < 2
        spread.validate()


@given(weights_of_some, st.integers(0, 2**32), st.integers(1, 200))
def test_a_receiver_that_comes_back_gets_no_burst(weights, seed, absence):
    assume(sum(weight > 0 for weight in weights) >= 2)
    spread, count = smooth(weights, seed), len(weights)
    back = max(range(count), key=weights.__getitem__)
    spread.follow([0.0 if index == back else weight for index, weight in enumerate(weights)])
    assert back not in [spread.one() for _ in range(absence)]
    spread.follow(weights)
    share = weights[back] / sum(weights)
    for draws in (1, 10, 50):
        got = Counter(spread.one() for _ in range(draws))[back]
        assert got <= draws * share + 2
        spread.follow(weights)  # following the same weights again changes nothing


def test_draws_that_avoid_a_receiver_count_for_the_others_as_all_draws_do():
    weights = [0.5, 0.3, 0.2]
    spread, got = smooth(weights), [0, 0, 0]
    for _ in range(700):
        got[spread.one()] += 1
        spread.follow([0.5, 0.0, 0.2])  # a second attempt elsewhere
        got[spread.one()] += 1
        spread.follow(weights)
    assert got == pytest.approx([350 + 500, 210, 140 + 200], abs=2)


def test_equal_rows_start_at_different_places():
    weights = [0.25] * 4
    orders = set()
    for node in range(40):
        spread = spreading("smooth", 4, random.Random(f"7/d{node}"))
        spread.follow(weights)
        orders.add(tuple(spread.one() for _ in range(4)))
        assert sorted(max(orders)) == [0, 1, 2, 3]
    assert len(orders) == 4  # equal shares are always drawn in the same cyclic order


def test_a_start_repeats_with_the_same_seed():
    first, second = (smooth([0.5, 0.3, 0.2], seed=9) for _ in range(2))
    assert [first.one() for _ in range(30)] == [second.one() for _ in range(30)]


def test_random_draws_are_those_of_the_generator():
    """Recorded runs drew so: one number of the generator for a task, compared with the sums of the weights."""
    spread = spreading("random", 3, random.Random(5))
    spread.follow([0.5, 0.3, 0.2])
    assert isinstance(spread, RandomSpreading)
    expected = random.Random(5).choices(range(3), [0.5, 0.3, 0.2], k=50)
    assert [spread.one() for _ in range(50)] == expected


@given(weights_of_some, st.integers(1, 6))
def test_inclusions_are_in_proportion_up_to_one(weights, most):
    shares = inclusions(weights, most)
    some = [index for index, weight in enumerate(weights) if weight > 0]
    assert sum(shares) == pytest.approx(min(most, len(some)))
    assert all(0 <= share <= 1 + 1e-12 for share in shares)
    assert {index for index, share in enumerate(shares) if share > 0} == set(some)
    factors = [shares[index] / weights[index] for index in some if shares[index] < 1 - 1e-9]
    if factors:
        assert factors == pytest.approx([factors[0]] * len(factors))
        assert all(factors[0] * weights[index] >= 1 - 1e-9 for index in some if shares[index] >= 1 - 1e-9)


@pytest.mark.parametrize("draws", ["smooth", "random"])
@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_several_draws_are_different_receivers(draws, most):
    weights = [0.4, 0.0, 0.3, 0.2, 0.1]
    spread = spreading(draws, 5, random.Random(3))
    spread.follow(weights)
    drawn = [spread.several(most) for _ in range(300)]
    assert all(len(set(each)) == len(each) == min(most, 4) and 1 not in each for each in drawn)


@settings(max_examples=80)
@given(weights_of_some, st.integers(2, 4))
def test_several_smooth_draws_follow_the_inclusions(weights, most):
    spread, shares = smooth(weights), np.array(inclusions(weights, most))
    got = np.zeros(len(weights))
    for done in range(1, 200):
        got[spread.several(most)] += 1
        assert np.abs(got - done * shares).max() < 1 + 1e-6


def test_a_contradiction_is_an_invalid_state():
    spread = smooth([0.5, 0.5])
    spread._one.credits[0] += 1
    with pytest.raises(InvalidState, match="credits"):
        spread.validate()
    dice = RandomSpreading(random.Random(1))
    dice.validate()
    dice.follow([0.0, 0.0])
    with pytest.raises(InvalidState, match="rise"):
        dice.validate()
