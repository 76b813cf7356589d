"""The values at which a policy runs."""

from pathlib import Path

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.policies import parse_policy, policy_names
from testbed.cells.policy_specs import read_specs
from testbed.frontier.settings import (
    check_thetas,
    check_thresholds,
    default_thetas,
    default_thresholds,
    parameter_of,
    settings_for,
)
from testbed.topology import load_topology

QUICKSTART = Path(__file__).parents[3] / "topologies/quickstart.yaml"
THETA = {"dto-ee", "dto-ee-2c", "dto-ee-static", "ga"}
NEITHER = {"first-exit", "no-early-exit"}


def spec(text):
    return read_specs([text])[0]


@pytest.mark.parametrize("name", policy_names())
def test_what_traces_the_frontier_of_each_policy(name):
    wanted = "theta" if name in THETA else None if name in NEITHER else "threshold"
    assert parameter_of(spec(name)) == wanted


@pytest.mark.parametrize(("text", "parameter"), [
    ("dto-ee:threshold=0.7", "theta"),  # only where it begins
    ("dto-ee:adapt_thresholds=false", "threshold"),
    ("dto-ee:adapt_thresholds=false,threshold=0.7", None),
    ("fixed-threshold:threshold=0.7", None),
    ("uniform:label=mine", "threshold"),
    (f"{QUICKSTART.parent}/policies/nearest_first.py:NearestFirst:sharpness=2", "threshold"),
])  # fmt: skip
def test_parameters_that_the_user_states_stay(text, parameter):
    assert parameter_of(spec(text)) == parameter


@pytest.mark.parametrize(("text", "parameters"), [
    ("uniform", {"threshold": 0.5}),
    ("uniform:", {"threshold": 0.5}),
    ("uniform:label=mine", {"label": "mine", "threshold": 0.5}),
    ("learned:knowledge=reports", {"knowledge": "reports", "threshold": 0.5}),
])  # fmt: skip
def test_a_threshold_is_added_to_the_text_of_a_policy(text, parameters):
    low, high = settings_for(spec(text), [1.0], [0.5, 0.75])
    assert parse_policy(low.spec.text) == (parse_policy(text)[0], parameters)
    assert (low.value, high.value) == (0.5, 0.75)
    assert (low.folder, high.folder) == ("threshold-0.5", "threshold-0.75")
    assert low.policy == high.policy == spec(text).label
    assert low.spec.folder == spec(text).folder
    assert low.overrides == ()


def test_theta_is_replaced_in_the_topology():
    low, high = settings_for(spec("dto-ee"), [0.5, 2.0], [0.5])
    assert low.spec.text == high.spec.text == "dto-ee"
    scenario = load_topology(QUICKSTART, overrides=high.overrides).resolve()
    assert (scenario.theta_s, high.folder, high.place) == (2.0, "theta-2", "theta 2 s")
    (only,) = settings_for(spec("first-exit"), [0.5, 2.0], [0.5])
    assert (only.value, only.folder, only.overrides) == (None, "", ())


def test_defaults_fit_topology_and_model():
    scenario = load_topology(QUICKSTART).resolve()
    thetas_s = default_thetas(scenario, 7)
    assert thetas_s == (0.375, 0.75, 1.5, 3.0, 6.0, 12.0, 24.0)
    assert default_thetas(scenario, 1) == (3.0,)
    model = scenario.model.open()
    thresholds = default_thresholds(scenario, model, 7)
    scores = model.exit_table(scenario.model.cut).confidence[:, :-1]
    shares = [float(np.mean(scores < threshold)) for threshold in thresholds]
    assert shares == pytest.approx(np.linspace(0.05, 0.95, 7).tolist(), abs=0.02)
    assert len(default_thresholds(scenario, model, 1)) == 1


@pytest.mark.parametrize(("check", "values"), [
    (check_thetas, []), (check_thetas, [0.0]), (check_thetas, [1.0, 1.0]), (check_thetas, [float("inf")]),
    (check_thetas, [float("nan")]), (check_thetas, [1.0 + n for n in range(101)]), (check_thresholds, [-0.1]),
    (check_thresholds, [1.1]), (check_thresholds, [0.5, 0.5000001]),
])  # fmt: skip
def test_values_that_cannot_be(check, values):
    with pytest.raises(InputError):
        check(values)


def test_values_are_sorted():
    assert check_thetas([3.0, 1.0]) == (1.0, 3.0)
    assert check_thresholds([1.0, 0.0]) == (0.0, 1.0)
