"""Runs whose links follow network traces: simulated and live, replayed, compared, bounded. Steps are no events."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import median

import pytest

from node_agent.errors import InputError
from testbed.live.experiment import Experiment
from testbed.optimum.bound import bound_for_run
from testbed.optimum.flow_model import MOST_TRACED_SEGMENTS, segments
from testbed.record.reading import read_recorded
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay
from testbed.simulation.simulator import Simulation
from testbed.topology import load_topology
from tests.testbed import simulated
from tests.testbed.recorded import recoveries_of_run

COMMUTE = Path(__file__).parents[3] / "topologies" / "commute.yaml"
WAVE = "time_s,rate_mbit_per_s,delay_ms\n0,20,10\n2,20,110\n"  # 4 s
TEXT = """
name: wave
model: {name: glyphs, cut: [3, 5]}
policy: fixed-threshold:threshold=0.7
slot: 2 s
duration: 8 s
warm_up: 0 s
devices:
  cam: {count: 2, rate: 8 /s}
servers:
  near: {stage: 1, capacity: 1 GFLOP/s}
  core: {stage: 2, capacity: 1 GFLOP/s}
links:
  - {from: cam, to: near, trace: wave.csv}
  - {from: near, to: core, rate: 30 Mbit/s, delay: 5 ms}
"""
TUNNEL = """
name: tunnel
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: computing-first
slot: 3 s
duration: 40 s
devices:
  cam: {rate: 4 /s}
servers:
  near: {stage: 1, capacity: 0.4 GFLOP/s}
  hub: {stage: 2, capacity: 0.3 GFLOP/s}
  core: {stage: 3, capacity: 0.6 GFLOP/s}
links:
  - {from: cam, to: near, delay: 5 ms, trace: TRACE}
  - {from: near, to: hub, rate: 50 Mbit/s, delay: 5 ms}
  - {from: hub, to: core, rate: 50 Mbit/s, delay: 5 ms}
"""
INCIDENT = "events: [{at: 4 s, server: core, capacity: x0.5}]\n"


def first_hops_s(tasks: list[dict]) -> tuple[list[float], list[float]]:
    """Times of tasks to stage 1 while the trace's delay was short, and while it was long, without the transitions."""
    found: tuple[list[float], list[float]] = ([], [])
    for task in tasks:
        within_s = task["created_s"] % 4
        if 0.2 < within_s < 1.9 or 2.0 < within_s < 3.9:
            found[within_s > 2].append(task["hops"][0]["received_s"] - task["created_s"])
    return found


@pytest.fixture
def run(tmp_path: Path):
    (tmp_path / "wave.csv").write_text(WAVE)
    return simulated.simulate(tmp_path, TEXT + INCIDENT)


def test_a_simulation_follows_the_trace(run) -> None:
    short, long = first_hops_s(simulated.lines(run, "tasks.jsonl"))
    assert len(short) > 20
    assert len(long) > 20
    # 1 KiB at 20 Mbit/s takes half a millisecond; what waits behind another task, a bit more.
    assert 0.010 < min(short) <= median(short) < 0.012
    assert 0.110 < min(long) <= median(long) < 0.112


def tunnel(folder: Path, suffix: str) -> str:
    """A topology whose device has 20 s without a packet, between two times of 10 s at 11.584 Mbit/s."""
    packets = (*range(1, 10_001), *range(30_001, 40_001))
    rows = "".join(f"{second},{0 if 10 <= second < 30 else 11.584}\n" for second in range(40))
    content = {"mahi": "".join(f"{ms}\n" for ms in packets), "csv": "time_s,rate_mbit_per_s\n" + rows}
    folder.mkdir(exist_ok=True)
    (folder / f"tunnel.{suffix}").write_text(content[suffix])
    return TUNNEL.replace("TRACE", f"tunnel.{suffix}")


def longest_s(outcome) -> float:
    return max(task["delay_s"] or 0.0 for task in simulated.lines(outcome, "tasks.jsonl"))


def test_an_outage_stops_the_link_in_steps_of_any_length(tmp_path: Path) -> None:
    found = {}
    for suffix in ("csv", "mahi"):
        outcome = simulated.simulate(tmp_path / suffix, tunnel(tmp_path / suffix, suffix))
        assert outcome.summary["tasks"]["lost"] == 0
        found[suffix] = longest_s(outcome), outcome.summary["delay_s"]["mean"]
    assert found["mahi"] == pytest.approx(found["csv"], rel=0.01)
    assert found["csv"] == (pytest.approx(15, rel=0.03), pytest.approx(4.87, rel=0.03))


def test_the_optimum_leaves_out_the_slots_of_an_outage(tmp_path: Path) -> None:
    bounds = []
    for suffix in ("csv", "mahi"):
        outcome = simulated.simulate(tmp_path / suffix, tunnel(tmp_path / suffix, suffix))
        optimum, _ = bound_for_run(outcome.run_directory, thresholds=[0.7])
        bounds.append([(part.begin_s, part.end_s) for part in optimum.unserved])
    assert bounds[0] == bounds[1] == [(begin_s, begin_s + 3) for begin_s in range(12, 30, 3)]


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_an_outage_of_short_steps_stops_a_live_link_too(tmp_path: Path) -> None:
    texts = {folder: tunnel(tmp_path / folder, "mahi") for folder in ("simulated", "first", "second")}
    wanted = pytest.approx(longest_s(simulated.simulate(tmp_path / "simulated", texts["simulated"])), rel=0.1)
    found = []
    for folder in ("first", "second"):  # TCP's time-outs fall as they may, on a busy machine above all
        found.append(longest_s(Experiment(simulated.plan(tmp_path / folder, texts[folder]), SilentObserver()).run()))
        if found[-1] == wanted:
            return
    pytest.fail(f"longest delays of {found} s, and not {wanted}")


def test_steps_of_a_trace_are_told_once_and_are_no_incidents(run) -> None:
    told = [(event["time_s"], event["kind"], event["detail"]) for event in simulated.lines(run, "events.jsonl")]
    assert told == [
        (0.0, "link-trace", "cam-1 - near and 1 more follow wave.csv"),
        (4.0, "capacity-change", "0.5 GFLOP/s"),
    ]
    assert [recovery.at_s for recovery in recoveries_of_run(run.run_directory)] == [4.0]


def test_a_replay_follows_the_copy_whatever_became_of_the_file(run, tmp_path: Path) -> None:
    directory = run.run_directory
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["link_traces"] == {"wave.csv": "link-trace-1.csv"}
    assert "link-trace-1.csv" in manifest["inputs_sha256"]
    assert (directory / "link-trace-1.csv").read_text() == WAVE
    scenario = read_recorded(directory).scenario()
    for change in (lambda file: file.write_text(WAVE.replace("110", "50")), Path.unlink):
        change(tmp_path / "wave.csv")
        again = plan_replay(directory, out=tmp_path / f"again-{change.__name__}")
        assert again.scenario == scenario
        outcome = Simulation(again, SilentObserver()).run()
        assert outcome.summary == run.summary
    moved = Path(shutil.copytree(outcome.run_directory, tmp_path / "moved"))  # a replay can be replayed, elsewhere
    assert read_recorded(moved).scenario() == scenario


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run, _: (run / "link-trace-1.csv").write_text(WAVE + "4,1,1\n"), "changed since it was recorded"),
        (lambda run, _: (run / "link-trace-1.csv").unlink(), "link-trace-1.csv: cannot be read"),
        (lambda _, manifest: manifest.pop("link_traces"), "names no copy of wave.csv"),
        (lambda _, manifest: manifest["link_traces"].update({"wave.csv": "../wave.csv"}), "what ../wave.csv was"),
        (lambda _, manifest: manifest["link_traces"].update({"wave.csv": "link-trace-9"}), "what link-trace-9 was"),
        (lambda _, manifest: manifest["inputs_sha256"].pop("link-trace-1.csv"), "what link-trace-1.csv was"),
        (lambda _, manifest: manifest.update(link_traces=3), "does not say how it was run"),
    ],
)
def test_a_replay_refuses_what_was_changed(run, change, said: str) -> None:
    path = run.run_directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(run.run_directory, manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=said):
        read_recorded(run.run_directory).scenario()


def test_a_comparison_would_notice_another_trace(tmp_path: Path) -> None:
    digests = set()
    for wave in (WAVE, WAVE, WAVE.replace("110", "50")):
        (tmp_path / "wave.csv").write_text(wave)
        digests.add(simulated.plan(tmp_path, TEXT, make_directory=False).topology_sha256)
    assert len(digests) == 2
    text = TEXT.replace("trace: wave.csv", "rate: 9 Mbit/s, delay: 9 ms")
    plain = simulated.plan(tmp_path, text, make_directory=False)
    assert plain.topology_sha256 == sha256(plain.topology_text.encode()).hexdigest()  # as earlier versions made it


def test_the_optimum_takes_means_over_slots(run, tmp_path: Path) -> None:
    (tmp_path / "wave.csv").write_text(WAVE)
    scenario = read_recorded(run.run_directory).scenario()
    found = segments(replace(scenario, slot_s=3.0))
    assert [(segment.begin_s, segment.end_s) for segment in found] == [(0, 3), (3, 4), (4, 6), (6, 8)]
    delays_s = [segment.scenario.links[0].shape.delay_s for segment in found]
    assert delays_s == pytest.approx([(2 * 0.01 + 0.11) / 3, 0.11, 0.01, 0.11])
    capacities = [segment.scenario.servers[1].capacity_flop_per_s for segment in found]
    assert capacities == [1e9, 1e9, 5e8, 5e8]
    long = load_topology(COMMUTE).resolve(duration_s=600.0)
    assert len(segments(long)) == MOST_TRACED_SEGMENTS
    optimum, _ = bound_for_run(run.run_directory, thresholds=[0.7])
    assert optimum.played is not None
    # There is but one way to go here, so the plan is the run's own; the model neglects control messages and segments.
    assert optimum.played.mean_delay_s == pytest.approx(run.summary["delay_s"]["mean"], rel=0.1)


def test_phones_of_the_example_do_not_fade_in_step() -> None:
    scenario = load_topology(COMMUTE).resolve()
    rates = [link.shape.rate_mbit_per_s for link in scenario.links if link.trace is not None]
    assert len(rates) == len(set(rates)) == 12
    assert 20 < scenario.link_changes_per_s < 50
    assert set(scenario.followers) == {"../traces/links/bus.mahi", "../traces/links/tram.csv"}


TWO_WAY = TEXT.replace("trace: wave.csv", "rate: 20 Mbit/s, trace: {up: up.csv, down: down.csv}")


def two_way(folder: Path) -> str:
    """Tasks take 10 ms up, and results 150 ms down to the devices, from 2 s on 30 ms."""
    (folder / "up.csv").write_text("time_s,delay_ms\n0,10\n4,10\n")
    (folder / "down.csv").write_text("time_s,delay_ms\n0,150\n2,30\n4,30\n6,30\n")
    return TWO_WAY


def way_s(tasks: list[dict], *, late: bool) -> tuple[float, float]:
    """Median times to stage 1, and from the last server back, of tasks offered before 1.5 s, or between 2 and 4 s."""
    chosen = [task for task in tasks if (2 <= task["created_s"] < 4 if late else task["created_s"] < 1.5)]
    up = [task["hops"][0]["received_s"] - task["created_s"] for task in chosen]
    down = [task["completed_s"] - task["hops"][-1]["finished_s"] for task in chosen if task["exit_stage"] == 1]
    assert min(len(up), len(down)) >= 5
    return median(up), median(down)


def test_the_two_directions_follow_two_traces(tmp_path: Path) -> None:
    run = simulated.simulate(tmp_path, two_way(tmp_path))
    tasks = simulated.lines(run, "tasks.jsonl")
    assert way_s(tasks, late=False) == pytest.approx((0.0105, 0.150), abs=0.001)
    assert way_s(tasks, late=True) == pytest.approx((0.0105, 0.030), abs=0.001)
    told = [event["detail"] for event in simulated.lines(run, "events.jsonl")]
    assert told == ["cam-1 -> near and 1 more follow up.csv", "near -> cam-1 and 1 more follow down.csv"]
    for name in ("up.csv", "down.csv"):
        (tmp_path / name).unlink()
    again = plan_replay(run.run_directory, out=tmp_path / "again")
    assert Simulation(again, SilentObserver()).run().summary == run.summary
    first = segments(read_recorded(run.run_directory).scenario())[0]
    assert [shape.delay_s for shape in first.scenario.links[0].shapes] == [0.010, 0.150]
    optimum, _ = bound_for_run(run.run_directory, thresholds=[0.7])
    assert optimum.played is not None
    assert optimum.played.mean_delay_s == pytest.approx(run.summary["delay_s"]["mean"], rel=0.1)


@pytest.mark.company
@pytest.mark.timing
@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_the_two_directions_follow_two_traces_live(tmp_path: Path) -> None:
    outcome = Experiment(simulated.plan(tmp_path, two_way(tmp_path), duration_s=4.0), SilentObserver()).run()
    tasks = simulated.lines(outcome, "tasks.jsonl")
    assert way_s(tasks, late=False) == pytest.approx((0.0105, 0.150), abs=0.010)
    assert way_s(tasks, late=True) == pytest.approx((0.0105, 0.030), abs=0.010)


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_a_live_run_follows_the_trace(tmp_path: Path) -> None:
    (tmp_path / "wave.csv").write_text(WAVE)
    outcome = Experiment(simulated.plan(tmp_path, TEXT, duration_s=4.0), SilentObserver()).run()
    assert outcome.summary is not None
    assert outcome.summary["tasks"]["lost"] == 0
    short, long = first_hops_s(simulated.lines(outcome, "tasks.jsonl"))
    assert 0.010 < min(short) < 0.100  # a busy machine may hold some up, but not all
    assert min(long) > 0.110
    assert [event["kind"] for event in simulated.lines(outcome, "events.jsonl")].count("link-trace") == 1


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_a_live_run_that_cannot_keep_up_with_its_traces_says_so(tmp_path: Path) -> None:
    """25 links and a step every millisecond: 25,000 changes a second, of which each is four calls of the kernel."""
    steps = "".join(f"{step * 0.001:g},{10 + step % 7},{20 + step % 5}\n" for step in range(100))
    (tmp_path / "wave.csv").write_text("time_s,rate_mbit_per_s,delay_ms\n" + steps)
    text = TEXT.replace("count: 2, rate: 8 /s", "count: 5, rate: 2 /s").replace("near: {", "near: {count: 5, ")
    plan = simulated.plan(tmp_path, text, duration_s=2.0)
    outcome = Experiment(plan, SilentObserver()).run()
    assert outcome.summary is not None
    told = [event["detail"] for event in simulated.lines(outcome, "events.jsonl") if event["kind"] == "too-lively"]
    assert len(told) == 1
    assert "times a second, and a machine keeps up with 500" in told[0]
    changes = outcome.summary["fidelity"]["changes"]
    assert changes["skipped"] > changes["injected"] > 100
    # All are accounted for, except those of the last tenth of a second, when the run ended.
    due = sum(event.at_s <= 1.9 for event in plan.scenario.events)
    assert due <= changes["injected"] + changes["skipped"] <= len(plan.scenario.events)
    assert outcome.summary["tasks"]["completed"] > 0
    assert outcome.report is not None
    assert outcome.report.verdict != "held"
