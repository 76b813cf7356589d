import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from node_agent.models.calibration import correctness_auroc, expected_calibration_error


def test_the_calibration_error_counted_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False])
    # Bin 15 (14/15..1): accuracy 1, confidence .95. Bin 9 (8/15..9/15): accuracy .5, confidence .55.
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
    assert expected_calibration_error(np.ones(3), np.zeros(3, bool)) == 1


def test_gaps_of_one_bin_cancel_and_those_of_two_do_not():
    correct = np.array([True, False])
    assert expected_calibration_error(np.array([0.49, 0.51]), correct, bins=1) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.49, 0.51]), correct, bins=2) == pytest.approx(0.51)


def test_the_upper_edge_belongs_to_a_bin():
    # 0.5 lies in the lower of two bins with 0.4: mean confidence .45, accuracy .5.
    assert expected_calibration_error(np.array([0.4, 0.5]), np.array([True, False]), bins=2) == pytest.approx(0.05)


def by_pairs(confidence, correct):
    right, wrong = confidence[correct][:, None], confidence[~correct][None]
    return ((right > wrong) + 0.5 * (right == wrong)).mean()


@given(
    hnp.arrays(float, st.integers(2, 30), elements=st.sampled_from([0.1, 0.2, 0.5, 0.9])),
    st.randoms(use_true_random=False),
)
def test_auroc_is_the_share_of_pairs_in_order(confidence, random):
    correct = np.array([random.random() < 0.5 for _ in confidence])
    if correct.all() or not correct.any():
        assert correctness_auroc(confidence, correct) is None
    else:
        assert correctness_auroc(confidence, correct) == pytest.approx(by_pairs(confidence, correct))
