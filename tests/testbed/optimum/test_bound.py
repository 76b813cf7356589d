"""The bound of whole scenarios: segments, overload, recorded runs."""

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from node_agent.errors import InputError
from node_agent.models import load_bundle
from node_agent.policies.loading import _module
from testbed.optimum.arrivals import ALIKE, WINDOW, departing
from testbed.optimum.bound import PlanFigures, bound_for, bound_for_run, offered_table
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from testbed.sizes import result_bytes, task_bytes
from testbed.topology import load_topology, resolve_text
from testbed.topology.event_kinds.device_rate import RateChange
from testbed.topology.event_kinds.node_state import NodeChange
from testbed.topology.event_kinds.server_capacity import CapacityChange
from testbed.trace.workload import Arrival
from tests.testbed.onboard import PAIR, SHARED
from tests.testbed.recorded import recoveries_of_run

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
QUICKSTART = TOPOLOGIES / "quickstart.yaml"
BUNDLE = load_bundle("glyphs")


@pytest.fixture(scope="module")
def scenario():
    return load_topology(QUICKSTART).resolve()


@pytest.fixture(scope="module")
def searched(scenario):
    return bound_for(scenario, BUNDLE)


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    plan = plan_run(QUICKSTART, policy="computing-first", out=tmp_path_factory.mktemp("runs") / "cf")
    return Simulation(plan, SilentObserver()).run().run_directory


def test_segments_are_weighed_by_the_tasks_that_count(scenario, searched):
    first, slow, last = searched.segments
    assert [(s.begin_s, s.end_s) for s in searched.segments] == [(0, 30), (30, 45), (45, 60)]
    assert [s.weight for s in searched.segments] == pytest.approx([18 * (30 - scenario.warm_up_s), 270, 270])
    assert first.figures == last.figures
    assert slow.figures.mean_delay_s > 1.1 * first.figures.mean_delay_s
    whole = sum(s.weight for s in searched.segments)
    for name in ("mean_delay_s", "lower_bound_s", "accuracy", "utility_s", "utility_bound_s"):
        mean = sum(s.weight * getattr(s.figures, name) for s in searched.segments) / whole
        assert getattr(searched.overall, name) == pytest.approx(mean)
    assert not searched.unserved


def test_figures_hold_together(scenario, searched):
    for segment in searched.segments:
        figures = segment.figures
        assert 0 <= figures.gap_s < 0.01 * figures.mean_delay_s
        assert figures.gap_s == pytest.approx(figures.mean_delay_s - figures.lower_bound_s)
        assert figures.utility_s == pytest.approx(scenario.theta_s * figures.accuracy - figures.mean_delay_s)
        assert figures.utility_bound_s - figures.utility_s == pytest.approx(figures.gap_s)
        assert 0 <= segment.solver_gap_s < 1e-3 * figures.mean_delay_s
        assert sum(segment.exit_share) == pytest.approx(1)
        assert max(segment.utilisation.values()) < 0.9
        assert all(sum(row.values()) == pytest.approx(1) for row in segment.plan.values())
        assert set(segment.thresholds) == {"near-1", "near-2", "near-3", "mid-1", "mid-2", "mid-3"}
        assert set(segment.plan) == {d.name for d in scenario.devices} | set(segment.thresholds)
        assert set(segment.utilisation) == {server.name for server in scenario.servers}


def test_utilisation_is_what_the_plan_brings(scenario, searched):
    segment = searched.segments[0]
    rate = {device.name: device.rate_per_s for device in scenario.devices}
    for server, flop in (("near-1", 14353344), ("near-3", 14353344)):
        arrives = sum(rate[name] * segment.plan[name].get(server, 0.0) for name in rate)
        capacity = next(s.capacity_flop_per_s for s in scenario.servers if s.name == server)
        assert segment.utilisation[server] == pytest.approx(arrives * flop / capacity, rel=1e-3)


def test_given_thresholds_are_never_better_than_searched_ones(scenario, searched):
    for given in ([0.8], [0.7, 0.9], [0.0]):
        fixed = bound_for(scenario, BUNDLE, thresholds=given)
        assert not fixed.searched
        assert fixed.overall.utility_s <= searched.overall.utility_s + 1e-3
        assert fixed.overall.utility_s <= searched.overall.utility_bound_s
        assert set(fixed.segments[0].thresholds.values()) == set(given)
        # The delay bound at this accuracy may not exceed a plan that has it.
        assert searched.least_delay_s(fixed.overall.accuracy) <= fixed.overall.mean_delay_s + 1e-9


def test_least_delay_rises_with_accuracy(searched):
    bounds = [searched.least_delay_s(accuracy) for accuracy in (0.5, 0.8, 0.86, searched.overall.accuracy)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(searched.overall.lower_bound_s, rel=0.01)
    assert searched.least_delay_s(0.999) is None


def test_overloaded_segments_are_marked_and_left_out(scenario):
    surge = tuple(RateChange(30.0, device.name, 30.0) for device in scenario.devices)
    calm = tuple(RateChange(40.0, device.name, 3.0) for device in scenario.devices)
    found = bound_for(replace(scenario, events=(*surge, *calm)), BUNDLE)
    before, over, after = found.segments
    assert over.figures is None
    assert over.trouble.startswith("overloaded: the busiest server or link would have to work 4")
    assert (over.plan, over.utilisation) == ({}, {})
    assert found.unserved == (over,)
    assert found.played is None
    assert found.overall.mean_delay_s == pytest.approx(before.figures.mean_delay_s)
    assert before.figures == after.figures
    json.dumps(found.as_dict(), allow_nan=False)


def test_nothing_can_be_served(scenario):
    slow = tuple(replace(server, capacity_flop_per_s=1e6) for server in scenario.servers)
    found = bound_for(replace(scenario, servers=slow, events=()), BUNDLE)
    assert found.overall is None
    assert found.played is None
    assert found.least_delay_s(0.5) is None
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["overall"] is None


def test_a_stage_that_is_down_cuts_devices_off(scenario):
    events = (NodeChange(20.0, "core-1", False), NodeChange(30.0, "core-2", False), NodeChange(40.0, "core-2", True))
    found = bound_for(replace(scenario, events=events), BUNDLE, thresholds=[0.6])
    assert [s.figures is None for s in found.segments] == [False, False, True, False]
    assert "reaches no living chain" in found.segments[2].trouble
    assert "core-1" not in found.segments[1].utilisation
    assert found.segments[1].figures.mean_delay_s > found.segments[0].figures.mean_delay_s


def test_events_in_the_warm_up_do_not_count(scenario):
    events = (CapacityChange(2.0, "near-1", 1e3), CapacityChange(3.0, "near-1", 0.27e9))
    found = bound_for(replace(scenario, events=events), BUNDLE, thresholds=[0.8])
    assert [s.weight for s in found.segments] == pytest.approx([0, 0, 18 * 54])
    assert asdict(found.overall) == pytest.approx(asdict(found.segments[2].figures), rel=1e-12)


@pytest.mark.slow
def test_a_switched_network():
    found = bound_for(load_topology(TOPOLOGIES / "campus.yaml").resolve(), BUNDLE)
    assert len(found.segments) == 4
    assert 0 <= found.overall.gap_s < 0.02 * found.overall.mean_delay_s
    assert "hall-2" not in found.segments[2].utilisation


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([0.1, 0.2, 0.3], "3 thresholds for 2"),
        ([], "0 thresholds"),
        *(([number], "outside") for number in (-1.0, float("nan"), 1.001, 1.5, 2.0)),
    ],
)
def test_bad_thresholds(scenario, given, said):
    with pytest.raises(InputError, match=said):
        bound_for(scenario, BUNDLE, thresholds=given)


def test_offered_samples(scenario):
    whole = offered_table(scenario, BUNDLE)
    assert len(whole) == BUNDLE.sample_count
    arrivals = [Arrival(1.0, "west-1", 5), Arrival(10.0, "west-1", 7), Arrival(11.0, "west-1", 7)]
    chosen = offered_table(scenario, BUNDLE, arrivals)
    assert chosen.confidence.tolist() == [whole.confidence[7].tolist()] * 2


def test_a_recorded_run_lies_above_its_bound(run_directory):
    optimum, summary = bound_for_run(run_directory)
    assert summary["policy"] == "computing-first"
    assert sum(s.weight for s in optimum.segments) == pytest.approx(summary["tasks"]["counted"], rel=0.02)
    assert summary["utility"] < optimum.overall.utility_bound_s
    assert optimum.played.tasks == summary["tasks"]["counted"]
    assert summary["utility"] < optimum.played.utility_s - 0.02
    assert summary["delay_s"]["mean"] > 1.05 * optimum.played.mean_delay_s
    assert summary["delay_s"]["mean"] > 1.05 * optimum.least_delay_s(summary["accuracy"])


def test_the_model_agrees_with_simulation(run_directory):
    """At a run's own thresholds, accuracy is exact, and no simulated policy has much less delay than the best plan."""
    optimum, summary = bound_for_run(run_directory, thresholds=[0.8])
    assert optimum.overall.accuracy == pytest.approx(summary["accuracy"], abs=0.003)
    assert optimum.overall.mean_delay_s < summary["delay_s"]["mean"]
    shares = summary["exit_share"]
    assert optimum.segments[0].exit_share == pytest.approx([shares["1"], shares["2"], shares["3"]], abs=0.003)


def test_what_the_model_leaves_out_is_some_per_cent(searched):
    assert searched.played.mean_delay_s == pytest.approx(searched.overall.mean_delay_s, rel=0.08)
    assert searched.played.accuracy == pytest.approx(searched.overall.accuracy, abs=0.01)
    assert searched.played.p95_delay_s > searched.played.mean_delay_s


def test_directories_that_hold_no_finished_run(run_directory, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        bound_for_run(tmp_path)
    shutil.copytree(run_directory, tmp_path, dirs_exist_ok=True)
    whole = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(whole.replace('"completed"', '"interrupted"'))
    with pytest.raises(InputError, match=r"the run did not come to its end \(interrupted\)") as caught:
        bound_for_run(tmp_path)
    assert f"replay {tmp_path}" in caught.value.hint
    (tmp_path / "manifest.json").write_text(whole)
    (tmp_path / "summary.json").write_text("[1]")
    with pytest.raises(InputError, match=r"summary\.json: not a summary"):
        bound_for_run(tmp_path)
    (tmp_path / "summary.json").unlink()
    with pytest.raises(InputError, match=r"summary\.json: cannot be read") as caught:
        bound_for_run(tmp_path)
    assert "finished" in caught.value.hint
    (tmp_path / "topology.yaml").write_text("name: other\n")
    with pytest.raises(InputError, match="changed since"):
        bound_for_run(tmp_path)


OWN_POLICY = "from node_agent.policies.base import PlainPolicy\n\nclass Nearest(PlainPolicy):\n    pass\n"


def test_a_run_of_a_policy_that_its_topology_names_by_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "pol").mkdir()
    (tmp_path / "pol" / "mine.py").write_text(OWN_POLICY)
    text = QUICKSTART.read_text().replace("policy: dto-ee", "policy: pol/mine.py:Nearest")
    (tmp_path / "t.yaml").write_text(text)
    plan = plan_run(tmp_path / "t.yaml", duration_s=20.0, out=tmp_path / "run")
    Simulation(plan, SilentObserver()).run()
    monkeypatch.chdir("/")
    (tmp_path / "pol" / "mine.py").unlink()
    _module.cache_clear()  # as in a new process
    optimum, summary = bound_for_run(tmp_path / "run", thresholds=[0.8])
    assert summary["policy"] == "Nearest"
    assert optimum.played.tasks == summary["tasks"]["counted"]
    assert len(recoveries_of_run(tmp_path / "run")) == 2


def test_the_gap_is_that_of_the_plan_kept(scenario):
    """With only one way, no rows are better than the first; all figures are still finite."""
    only = {name: receivers[:1] for name, receivers in scenario.offload_to.items()}
    light = tuple(replace(device, rate_per_s=0.2) for device in scenario.devices)
    found = bound_for(replace(scenario, offload_to=only, devices=light, events=()), BUNDLE)
    assert found.segments[0].solver_gap_s == pytest.approx(0, abs=1e-9)
    for segment in found.segments:
        assert segment.figures.gap_s >= 0
        assert segment.solver_gap_s >= 0
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["segments"][0]["solver_gap_s"] >= 0


def test_a_bound_that_rounding_lifts_above_the_plan_is_the_plan():
    figures = PlanFigures.of(0.2, 0.9, 0.2 - 2 * 0.9 + 1e-13, 2.0)
    assert figures.gap_s == 0
    assert figures.utility_bound_s == figures.utility_s
    assert PlanFigures.of(0.2, 0.9, -1.59, 2.0).gap_s == pytest.approx(-0.01)  # a true contradiction stays visible


def test_a_device_that_runs_stage_1_alone_has_a_closed_form():
    """An M/D/1 queue, another one behind it that gets its more even departures, a link between them, none before."""
    scenario = resolve_text(PAIR)
    model = scenario.model.open()
    (first, second), p = model.profiles((2, 5), "float16"), 0.0
    rate, service_s = 4.0, (first.flop / 0.144e9, second.flop / 0.4e9)
    found = bound_for(scenario, model, thresholds=[0.8]).overall
    p = float((model.scores((2, 5)).confidence[:, 0] < 0.8).mean())
    loads = rate * service_s[0], rate * p * service_s[1]
    window_s = math.exp(round(math.log(WINDOW * service_s[1] / (1 - loads[1])) / ALIKE) * ALIKE)
    even = p * departing((1 - loads[0]) ** 2 / service_s[0] * window_s) + 1 - p
    sojourn_s = [
        each_s * (1 + a * load / (2 * (1 - load)))
        for each_s, load, a in zip(service_s, loads, (1.0, even), strict=True)
    ]
    there_s = 0.020 + task_bytes(2, second.input_bytes) * 8e-9
    back_s = 0.020 + result_bytes(2) * 8e-9
    waits_s = there_s - 0.020
    waits_s *= rate * p * waits_s / (2 * (1 - rate * p * waits_s))
    expected_s = sojourn_s[0] + p * (there_s + waits_s + sojourn_s[1] + back_s)
    assert found.mean_delay_s == pytest.approx(expected_s, rel=1e-9)
    assert found.gap_s == pytest.approx(0.0, abs=1e-9)


def test_plans_spread_tasks_over_a_devices_own_processor_and_shared_servers():
    scenario = resolve_text(SHARED)
    found = bound_for(scenario, scenario.model.open(), thresholds=[0.8])
    (segment,) = found.segments
    assert set(segment.plan["cam-1"]) == {"cam-cpu-1", "post"}
    assert segment.plan["cam-1"]["cam-cpu-1"] == pytest.approx(segment.plan["cam-2"]["cam-cpu-2"], abs=0.01)
    assert set(segment.plan["plain"]) == {"post"}
    assert found.played.mean_delay_s == pytest.approx(found.overall.mean_delay_s, rel=0.15)
