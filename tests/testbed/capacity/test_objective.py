"""When a run holds an objective."""

import pytest

from node_agent.errors import InputError
from testbed.assertions import parse_assertion
from testbed.capacity.objective import Objective
from testbed.cells.cell_figures import CellFigures


def run(*, overloaded=False, lost=0, p95=0.4, accuracy=0.9):
    summary = {"delay_s": {"p95": p95}, "accuracy": accuracy, "tasks": {"lost": lost}, "utility": 1.0}
    return CellFigures(summary, overloaded, {}, None)


def objective(*texts):
    return Objective(tuple(parse_assertion(text) for text in texts))


@pytest.mark.parametrize(("texts", "found", "holds"), [
    (["p95 < 0.5 s"], run(), True),
    (["p95 < 0.5 s"], run(p95=0.6), False),
    (["p95 < 0.5 s"], run(p95=None), False),
    (["p95 < 0.5 s"], run(overloaded=True), False),  # its tasks that got through are quick
    (["p95 < 0.5 s"], run(lost=1), False),
    (["utility > 0.5 s"], run(lost=1), False),
    (["accuracy >= 0.85"], run(overloaded=True, lost=3), True),
    (["lost <= 3"], run(overloaded=True, lost=3), True),
    (["p95 < 0.5 s", "accuracy >= 0.85"], run(), True),
    (["p95 < 0.5 s", "accuracy >= 0.95"], run(), False),
    (["other: p95 < 0.1 s", "accuracy >= 0.85"], run(), True),
    (["mine: p95 < 0.1 s", "accuracy >= 0.85"], run(), False),
])  # fmt: skip
def test_when_an_objective_holds(texts, found, holds):
    assert objective(*texts).holds(found, "mine") is holds


@pytest.mark.parametrize(("texts", "said"), [
    ([], "needs an objective"), (["third: p95 < 1 s", "p95 < 1 s"], "concerns third, which does not run"),
    (["mine: p95 < 1 s"], "no objective concerns other"),
])  # fmt: skip
def test_objectives_that_do_not_fit_the_policies(texts, said):
    with pytest.raises(InputError, match=said):
        objective(*texts).check_policies(["mine", "other"])
    objective("p95 < 1 s", "mine: p95 < 0.5 s").check_policies(["mine", "other"])
