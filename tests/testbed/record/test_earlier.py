"""Runs of earlier versions: their policies go by their present names, and keep their parameters and labels."""

import json
from pathlib import Path

import pytest

from testbed.record.earlier import is_before_new_names, present_policy
from testbed.record.reading import read_recorded
from testbed.record.run_directory import MANIFEST
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay, plan_run
from testbed.simulation.simulator import Simulation
from tests.testbed import small


@pytest.fixture
def recorded(tmp_path):
    """Makes the directory of a run under `policy`, as the version `recorded_by` would have recorded it."""

    def make(policy: str, recorded_by: str) -> Path:
        topology = tmp_path / "t.yaml"
        topology.write_text(small.SMALL.replace("policy: dto-ee", f"policy: {policy}"))
        plan = plan_run(topology, out=tmp_path / "run", duration_s=3.0)
        Simulation(plan, SilentObserver()).run()
        manifest = json.loads((tmp_path / "run" / MANIFEST).read_text())
        manifest["versions"]["dtoee-testbed"] = recorded_by
        (tmp_path / "run" / MANIFEST).write_text(json.dumps(manifest))
        return tmp_path / "run"

    return make


@pytest.mark.parametrize(
    ("policy", "recorded_by", "name", "parameters", "label"),
    [
        ("dto-ee", "0.1.0", "dto-ee-static", {}, "dto-ee-static"),
        ("dto-ee", "0.2.0", "dto-ee", {}, "dto-ee"),
        ("'dto-ee:label=ours,stop_gap=0.1'", "0.1.9", "dto-ee-static", {"stop_gap": 0.1}, "ours"),
        ("dto-ee-2c", "0.1.0", "dto-ee-2c", {}, "dto-ee-2c"),
        ("{name: fixed-threshold, parameters: {threshold: 0.7}}", "0.1.0", "dto-ee-static",
         {"threshold": 0.7, "adapt_thresholds": False}, "fixed-threshold of 0.1"),
        ("first-exit", "0.1.0", "dto-ee-static", {"threshold": 0, "adapt_thresholds": False}, "first-exit of 0.1"),
        ("no-early-exit", "0.1.0", "dto-ee-static", {"threshold": "never", "adapt_thresholds": False},
         "no-early-exit of 0.1"),
        ("no-early-exit", "0.2.0", "no-early-exit", {}, "no-early-exit"),
    ],
)  # fmt: skip
def test_a_run_keeps_the_policy_that_it_recorded(recorded, policy, recorded_by, name, parameters, label):
    run = read_recorded(recorded(policy, recorded_by))
    chosen = run.scenario().policy
    assert (chosen.name, dict(chosen.parameters), chosen.label) == (name, parameters, label)


def test_a_replay_of_a_replay_keeps_the_policy_too(recorded, tmp_path):
    """The first replay is recorded by this version, in which `dto-ee` is another policy."""
    plan = plan_replay(recorded("dto-ee", "0.1.0"), out=tmp_path / "again")
    Simulation(plan, SilentObserver()).run()
    assert read_recorded(tmp_path / "again").scenario().policy.name == "dto-ee-static"


def test_a_replay_under_a_stated_policy_takes_its_present_meaning(recorded, tmp_path):
    plan = plan_replay(recorded("dto-ee", "0.1.0"), policy="dto-ee", out=tmp_path / "again")
    assert plan.scenario.policy.name == "dto-ee"


@pytest.mark.parametrize("manifest", [{}, {"versions": None}, {"versions": {}}, {"versions": {"dtoee-testbed": "x"}}])
def test_a_run_that_states_no_version_is_an_early_one(manifest):
    assert is_before_new_names(manifest)


def test_other_policies_have_kept_their_names():
    assert present_policy("ngto", {"threshold": 0.5}, None) is None
