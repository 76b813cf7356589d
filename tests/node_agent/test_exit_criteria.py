"""Exit criteria: values in closed form, and one score for a task on its way as for a whole table."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from node_agent.errors import InputError
from node_agent.exit_criteria import CRITERIA, MEASURED, ExitCriterion, criterion_called, score_of

UNIFORM, SURE = np.full((1, 4), 0.25), np.array([[0.0, 1.0, 0.0, 0.0]])
HALVES = np.array([[0.5, 0.5, 0.0, 0.0]])
TILTED = np.array([[0.7, 0.1, 0.2, 0.0]])


@pytest.mark.parametrize(
    ("name", "uniform", "halves", "tilted"),
    [
        ("confidence", 0.25, 0.5, 0.7),
        ("entropy", 0.0, 1 - math.log(2) / math.log(4),
         1 + (0.7 * math.log(0.7) + 0.1 * math.log(0.1) + 0.2 * math.log(0.2)) / math.log(4)),
        ("margin", 0.0, 0.0, 0.5),
    ],
)  # fmt: skip
def test_scores_of_one_exit_in_closed_form(name, uniform, halves, tilted):
    for probabilities, wanted in ((UNIFORM, uniform), (HALVES, halves), (TILTED, tilted), (SURE, 1.0)):
        for kind in (np.float32, np.float64):
            found = CRITERIA[name].at_exit(probabilities.astype(kind))
            assert found.shape == (1,)
            assert found[0] == pytest.approx(wanted, abs=1e-7)


def test_patience_counts_the_exits_in_a_row_that_agree():
    prediction = np.array([[3, 3, 3, 3], [3, 5, 5, 5], [3, 3, 5, 3], [1, 2, 2, 1]])
    found = CRITERIA["patience"].over_exits(np.zeros(prediction.shape), prediction, 4)
    np.testing.assert_array_equal(
        found, [[0.25, 0.5, 0.75, 1], [0.25, 0.25, 0.5, 0.75], [0.25, 0.5, 0.25, 0.25], [0.25, 0.25, 0.5, 0.25]]
    )


probabilities = st.integers(2, 60).flatmap(
    lambda classes: arrays.arrays(
        np.float32, (3, classes), elements=st.floats(0, 1, width=32, allow_subnormal=True)
    ).map(lambda raw: (raw + (raw.sum(axis=1, keepdims=True) == 0)) / np.maximum(raw.sum(axis=1, keepdims=True), 1e-30))
)


@given(probabilities)
def test_scores_lie_between_0_and_1(rows):
    rows = rows / rows.sum(axis=1, keepdims=True)
    for criterion in MEASURED.values():
        found = criterion.at_exit(rows.astype(np.float32))
        assert found.shape == (3,)
        assert ((found >= 0) & (found <= 1 + 1e-6)).all()


answered = st.integers(1, 6).flatmap(
    lambda exits: st.tuples(
        arrays.arrays(np.float64, (2, exits), elements=st.floats(0, 1)),
        arrays.arrays(np.int64, (2, exits), elements=st.integers(0, 2)),
    )
)


@pytest.mark.parametrize("name", CRITERIA)
@given(answered)
def test_a_task_on_its_way_has_the_score_of_the_table(name, rows):
    """A server knows the exits that the task has passed; a table knows all. The score is equal to the last bit."""
    at_exit, prediction = rows
    exits = prediction.shape[1]
    table = CRITERIA[name].over_exits(at_exit, prediction, exits)
    assert ((table >= 0) & (table <= 1)).all()
    for row in range(2):
        for column in range(exits):
            passed = list(zip(at_exit[row, :column].tolist(), prediction[row, :column].tolist(), strict=True))
            own = float(at_exit[row, column]), int(prediction[row, column])
            assert score_of(CRITERIA[name], passed, *own, exits) == table[row, column]


def test_criteria_are_found_by_name():
    assert list(CRITERIA) == ["confidence", "entropy", "margin", "patience"]
    assert list(MEASURED) == ["confidence", "entropy", "margin"]
    assert criterion_called("margin") is CRITERIA["margin"]
    with pytest.raises(InputError, match="unknown exit criterion 'margn'") as caught:
        criterion_called("margn")
    assert caught.value.hint == "did you mean margin?"


def test_a_class_is_all_that_a_criterion_needs():
    class Gini(ExitCriterion):
        """The sum of squared probabilities."""

        name = "gini"

        def at_exit(self, probabilities):
            return (probabilities**2).sum(axis=1)

    assert (Gini.measured_as, Gini.of_one_exit) == ("gini", True)
    assert score_of(Gini(), [(0.1, 3)], 0.4, 2, 3) == 0.4
    assert Gini().at_exit(HALVES)[0] == 0.5
