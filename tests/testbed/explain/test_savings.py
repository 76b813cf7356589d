"""The saving that an explanation predicts is that of a simulation with 10 % more at the bottleneck."""

import pytest

from tests.testbed.explain.savings import savings_of


@pytest.mark.parametrize(
    ("case", "within"),
    [("server of stage 2", 0.03), ("server of stage 3", 0.03), ("own processor", 0.03), ("link between servers", 0.1),
     ("server that slows down", 0.1), ("trunk behind a switch", 0.1)],
)  # fmt: skip
def test_ten_per_cent_more_saves_what_was_predicted(case, within):
    found = savings_of(case, seeds=(1, 2), duration_s=60.0)
    assert found.true_s > 0.003
    assert found.replayed_s == pytest.approx(found.true_s, rel=within)


@pytest.mark.parametrize("case", ["server of stage 2", "server of stage 3", "own processor"])
def test_the_price_of_load_has_the_right_size(case):
    """It is that of a queue that has settled, with arrivals as in the run."""
    found = savings_of(case, seeds=(1, 2), duration_s=60.0)
    assert 0.5 * found.true_s < found.price_s < 2 * found.true_s
