import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.dtoee.exit_table import ExitTable

TABLE = ExitTable(
    np.array([[0.9, 0.9, 1.0], [0.4, 0.9, 1.0], [0.4, 0.3, 1.0], [0.8, 0.1, 1.0]]),
    np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]], dtype=bool),
)


@pytest.mark.parametrize(
    ("thresholds", "share", "accuracy"),
    [
        ((0.8, 0.8), [0.5, 0.25, 0.25], 0.75),
        ((0.0, 0.0), [1, 0, 0], 0.25),
        ((1.01, 1.01), [0, 0, 1], 1.0),
        ((0.85, 0.0), [0.25, 0.75, 0], 0.5),
    ],
)
def test_outcome_counted_by_hand(thresholds, share, accuracy):
    ours, right = TABLE.outcome(thresholds)
    assert ours.tolist() == share
    assert right == accuracy


@given(st.tuples(st.floats(0, 1.1), st.floats(0, 1.1)), st.floats(0, 0.5))
def test_shares_sum_to_one_and_a_higher_threshold_lets_fewer_leave_at_once(thresholds, more):
    share, accuracy = TABLE.outcome(thresholds)
    stricter, _ = TABLE.outcome((thresholds[0] + more, thresholds[1]))
    assert share.sum() == pytest.approx(1)
    assert 0 <= accuracy <= 1
    assert stricter[0] <= share[0]


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_one_threshold_per_early_exit_is_needed(thresholds):
    with pytest.raises(ValueError, match="2 thresholds"):
        TABLE.outcome(thresholds)
