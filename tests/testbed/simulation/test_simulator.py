"""Whole runs in virtual time: their records, the effects of events, their ends."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.record.run_directory import read_manifest
from testbed.run.bookkeeping import DEVICE_DOWN
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay
from testbed.scenario import LinkShape
from testbed.simulation.simulator import Simulation, SimulationFailed
from testbed.topology import resolve_text
from testbed.trace.workload import read_trace
from tests.testbed import small
from tests.testbed.simulated import QUICKSTART, lines, plan, simulate

ROOT = Path(__file__).parents[3]
RECORDS = ("tasks.jsonl", "decisions.jsonl", "timeseries.jsonl", "events.jsonl", "summary.json")
MS = 1e-3

SMALL = small.SMALL.replace("duration: 8 s", "duration: 20 s")
ALONE = """
name: alone
model: {name: glyphs, cut: [5]}
policy: uniform
slot: 100 s
duration: 100 s
warm_up: 0 s
devices: {cam: {rate: 1 /s}}
servers: {only: {stage: 1, capacity: 488281600 FLOP/s}}
links: [{from: cam, to: only, rate: 8 Mbit/s, delay: 10 ms}]
"""
SERVICE_S = 0.1  # of ALONE: 48,828,160 FLOP


def offer(tmp_path: Path, *times_s: float) -> Path:
    """Write a trace for ALONE's device."""
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(f'{{"time_s": {time_s}, "device": "cam", "sample": 0}}\n' for time_s in times_s))
    return path


def test_a_run_records_every_task_once_in_the_order_of_time(tmp_path):
    outcome = simulate(tmp_path, SMALL, seed=3)
    directory, summary = outcome.run_directory, outcome.summary
    assert outcome.exit_reason == "completed"
    assert summary == json.loads((directory / "summary.json").read_text())
    tasks, trace = lines(outcome, "tasks.jsonl"), read_trace(directory / "trace.jsonl")
    assert sorted(task["id"] for task in tasks) == list(range(len(trace)))
    assert summary["tasks"] == {
        "offered": len(trace), "completed": len(trace), "lost": 0, "refused": 0, "duplicates": 0,
        "counted": sum(arrival.time_s >= 2 for arrival in trace),
    }  # fmt: skip
    for task in tasks:
        arrival = trace[task["id"]]
        assert (task["device"], task["sample"], task["created_s"]) == (arrival.device, arrival.sample, arrival.time_s)
        assert task["lateness_s"] == 0
        moments = [task["created_s"]]
        for hop in task["hops"]:
            moments += [hop["received_s"], hop["started_s"], hop["finished_s"], hop["sent_s"]]
        assert [*moments, task["completed_s"]] == sorted([*moments, task["completed_s"]])
        assert len(task["hops"]) == task["exit_stage"]
        assert task["correct"] == (task["prediction"] == task["label"])
        first = task["hops"][0]
        assert first["received_s"] - task["created_s"] >= {"near-1": 0.010, "near-2": 0.003}[first["node"]]
        work_s = 23.0e6 / {"near-1": 0.5e9, "near-2": 0.3e9}[first["node"]]
        assert first["finished_s"] - first["started_s"] == pytest.approx(work_s, rel=1e-3)
    assert np.mean([task["correct"] for task in tasks]) > 0.7
    nodes = {"cam-1", "cam-2", "near-1", "near-2", "core"}
    assert {d["node"] for d in lines(outcome, "decisions.jsonl")} == nodes
    samples = lines(outcome, "timeseries.jsonl")
    assert {sample["node"] for sample in samples} == nodes
    assert sum(sample["arrived"] for sample in samples if sample["stage"] == 0) == len(trace)
    manifest = read_manifest(directory)
    assert manifest["backends"] == {"network": "simulated", "compute": "simulated"}
    assert (manifest["exit_reason"], manifest["seed"]) == ("completed", 3)
    assert summary["fidelity"]["simulated"] is True


def test_the_same_plan_gives_the_same_files_and_a_replay_does_too(tmp_path):
    first, again = (simulate(tmp_path / name, SMALL, seed=3) for name in ("first", "again"))
    replayed = Simulation(plan_replay(first.run_directory, out=tmp_path / "replayed"), SilentObserver()).run()
    other = simulate(tmp_path / "other", SMALL, seed=4)
    for name in RECORDS:
        original = (first.run_directory / name).read_bytes()
        assert (again.run_directory / name).read_bytes() == original
        assert (replayed.run_directory / name).read_bytes() == original
        assert (other.run_directory / name).read_bytes() != original or name == "events.jsonl"


def test_another_process_gives_the_same_files(tmp_path):
    """Probes of devices behind a switch queue up in an order that does not depend on the process's hashes."""
    campus = ROOT / "topologies" / "campus.yaml"
    wish = ("--duration", "12 s", "--policy", "bandwidth-first", "--monitor", "off")
    for seed in ("0", "1", "2"):
        out = str(tmp_path / seed)
        subprocess.run(
            command("simulate", str(campus), *wish, "--out", out), cwd=ROOT, check=True, capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
    for name in RECORDS:
        assert len({(tmp_path / seed / name).read_bytes() for seed in ("0", "1", "2")}) == 1, name


def test_one_task_takes_what_one_reckons(tmp_path):
    outcome = simulate(tmp_path, ALONE, trace_path=offer(tmp_path, 1.0, 50.0, 50.01))
    first, second, third = lines(outcome, "tasks.jsonl")
    hop = first["hops"][0]
    # 1,024 bytes of image and a header of some 60 at a byte per microsecond, then 10 ms.
    assert hop["received_s"] - 1.0 == pytest.approx(11.1 * MS, abs=0.05 * MS)
    assert hop["finished_s"] - hop["started_s"] == pytest.approx(SERVICE_S)
    assert first["completed_s"] - hop["sent_s"] == pytest.approx(10.1 * MS, abs=0.06 * MS)
    assert second["delay_s"] == pytest.approx(first["delay_s"], abs=1e-4)
    assert third["delay_s"] == pytest.approx(second["delay_s"] + SERVICE_S - 0.01, abs=1e-4)


@pytest.mark.parametrize(
    ("event", "more_s", "rate_factor"),
    [
        ("{at: 50.05 s, server: only, capacity: x0.5}", 61.1 * MS, 1),  # so much of the service was left
        ("{at: 50.05 s, server: only, capacity: x2}", -61.1 * MS / 2, 1),
        ("{at: 50.005 s, link: [cam, only], delay: 110 ms}", 0.1, 1),  # the task is under way, its result is not
        ("{at: 49 s, link: [cam, only], delay: 110 ms}", 0.2, 1),
        ("{at: 49 s, link: [cam, only], rate: 0.8 Mbit/s}", 0.0, 10),
    ],
)
def test_changes_meet_what_is_under_way(tmp_path, event, more_s, rate_factor):
    trace_path = offer(tmp_path, 50.0, 70.0)
    usual_s = lines(simulate(tmp_path / "usual", ALONE, trace_path=trace_path), "tasks.jsonl")[0]["delay_s"]
    outcome = simulate(tmp_path / "changed", ALONE + f"events: [{event}]\n", trace_path=trace_path)
    transmissions_s = usual_s - SERVICE_S - 2 * 10 * MS
    changed_s = SERVICE_S + 2 * 10 * MS + rate_factor * transmissions_s + more_s
    assert lines(outcome, "tasks.jsonl")[0]["delay_s"] == pytest.approx(changed_s, abs=0.1 * MS)
    assert lines(outcome, "events.jsonl")[0]["kind"].endswith("-change")


def test_a_server_that_goes_down_loses_its_tasks_and_devices_turn_to_another(tmp_path):
    events = "events: [{at: 6 s, node: near-1, state: down}, {at: 14 s, node: near-1, state: up}]\n"
    outcome = simulate(tmp_path, SMALL + events, seed=2)
    assert outcome.summary["tasks"]["lost"] == 0
    tasks = lines(outcome, "tasks.jsonl")
    at_near_1 = [hop["finished_s"] for task in tasks for hop in task["hops"] if hop["node"] == "near-1"]
    assert any(time_s < 6 for time_s in at_near_1)
    assert not any(6 < time_s < 14 for time_s in at_near_1)
    assert any(time_s > 14 for time_s in at_near_1), "it is never used again"
    assert max(task["attempts"] for task in tasks) > 1
    kinds = {event["kind"] for event in lines(outcome, "events.jsonl")}
    assert {"node-down", "node-up", "receiver-silent", "receiver-back"} <= kinds


def test_tasks_of_a_device_that_is_down_are_lost_with_their_reason(tmp_path):
    usual = lines(simulate(tmp_path / "usual", SMALL, seed=2), "tasks.jsonl")
    down_s = next(task["created_s"] for task in usual if task["device"] == "cam-2" and task["created_s"] > 5) + 0.005
    events = f"events: [{{at: {down_s} s, node: cam-2, state: down}}, {{at: 11 s, node: cam-2, state: up}}]\n"
    outcome = simulate(tmp_path, SMALL + events, seed=2)
    tasks = lines(outcome, "tasks.jsonl")
    lost = [task for task in tasks if task["status"] == "lost"]
    missed = [task for task in tasks if task["device"] == "cam-2" and down_s < task["created_s"] < 11]
    assert len(missed) > 5
    assert all(task["status"] == "lost" and task["reason"] == "its device was down" for task in missed)
    # Tasks that were under way when it went down have no owner any more.
    orphans = [task for task in lost if task not in missed]
    assert orphans
    assert all(down_s - 5 < task["created_s"] < down_s and task["device"] == "cam-2" for task in orphans)
    assert outcome.summary["lost_reasons"] == {DEVICE_DOWN: len(lost)}
    assert len(tasks) == outcome.summary["tasks"]["offered"]
    assert max(sample["time_s"] for sample in lines(outcome, "timeseries.jsonl")) < 25, "it waited for them"


def test_a_device_that_stays_down_does_not_keep_the_run_waiting(tmp_path):
    outcome = simulate(tmp_path, SMALL + "events: [{at: 15 s, node: cam-2, state: down}]\n", seed=2)
    assert outcome.exit_reason == "completed"
    reasons = {task["reason"] for task in lines(outcome, "tasks.jsonl") if task["status"] == "lost"}
    assert reasons == {"its device was down"}
    assert max(sample["time_s"] for sample in lines(outcome, "timeseries.jsonl")) < 25


def test_a_run_without_any_server_ends_by_itself(tmp_path):
    events = "events: [{at: 5 s, node: only, state: down}]\n"
    outcome = simulate(tmp_path, ALONE + events, trace_path=offer(tmp_path, 1.0, 20.0, 99.0))
    done, *lost = lines(outcome, "tasks.jsonl")
    assert done["status"] == "completed"
    assert len(lost) == 2
    assert all(task["status"] == "lost" for task in lost)
    assert {event["kind"] for event in lines(outcome, "events.jsonl")} >= {"node-down", "receiver-silent"}


def test_what_waits_for_a_server_is_sent_when_it_is_back(tmp_path):
    events = "events: [{at: 5 s, node: only, state: down}, {at: 10 s, node: only, state: up}]\n"
    outcome = simulate(tmp_path, ALONE + events, trace_path=offer(tmp_path, 9.5))
    task = lines(outcome, "tasks.jsonl")[0]
    assert task["status"] == "completed"
    assert 10.1 < task["completed_s"] < 10.5


@pytest.mark.parametrize("policy", ["computing-first", "bandwidth-first", "uniform"])
def test_other_policies_run_too(tmp_path, policy):
    outcome = simulate(tmp_path, QUICKSTART.read_text(), policy=policy, duration_s=20.0)
    assert outcome.summary["tasks"]["lost"] == 0
    assert outcome.summary["policy"] == policy


RAISING = """
from node_agent.policies.uniform import Uniform

class Own(Uniform):
    seen = 0

    def update_row(self, row, prospect):
        self.seen += 1
        if self.seen > 3:
            {what}
        return super().update_row(row, prospect)
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raise ValueError('no such thing')", "ValueError: no such thing"),
        ("return [][7]", "IndexError: list index out of range"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys; sys.exit('enough')", "SystemExit: enough"),
        ("self.update_row(row, prospect)", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_a_policy_that_raises_fails_the_run_with_one_clear_line(tmp_path, what, said):
    (tmp_path / "own.py").write_text(RAISING.format(what=what))
    own = f"{tmp_path / 'own.py'}:Own"
    wanted = plan(tmp_path, SMALL, policy=own)
    with pytest.raises(SimulationFailed, match=rf"^node [\w-]+: policy {own}: update_row raised {said}") as caught:
        Simulation(wanted, SilentObserver()).run()
    log = wanted.run_directory / "agents.log"
    raised_by = f"it was raised by {tmp_path / 'own.py'}, line 10"
    assert caught.value.hint == f"{raised_by}; the last events of the node are in {log}"
    assert log.read_text().splitlines()[-1] == f"{caught.value}; {raised_by}"
    assert caught.value.exit_code == 1
    manifest = read_manifest(wanted.run_directory)
    assert manifest["exit_reason"].startswith(f"failed: {caught.value}")
    assert (wanted.run_directory / "summary.json").exists()


def test_wrong_weights_fail_the_run_with_file_class_node_and_value(tmp_path):
    (tmp_path / "own.py").write_text(
        "from node_agent.policies.base import ProportionalPolicy\n\nclass Own(ProportionalPolicy):\n"
        "    def weights(self, prospect):\n        return prospect.service_per_s * float('nan')\n"
    )
    own = f"{tmp_path / 'own.py'}:Own"
    with pytest.raises(SimulationFailed) as caught:
        simulate(tmp_path, SMALL, policy=own)
    node, _, said = str(caught.value).removeprefix("node ").partition(": ")
    assert node in resolve_text(SMALL).node_names
    assert said == f"policy {own}: weights (line 4) gave [nan]"  # a server's, before any device's
    must = "it must give finite numbers that are not negative, one for each receiver"
    assert caught.value.hint == f"{must}; the last events of the node are in {tmp_path}/run/agents.log"


def test_an_error_of_another_origin_names_the_node_and_no_policy_file(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("node_agent.core.machine.DeviceCore._start_slot", broken)
    with pytest.raises(SimulationFailed, match=r"^node cam-1: RuntimeError: broken$") as caught:
        simulate(tmp_path, SMALL)
    assert caught.value.hint == f"the last events of the node are in {tmp_path}/run/agents.log"


def test_ctrl_c_inside_a_node_is_no_failure_of_it(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("node_agent.core.machine.DeviceCore._start_slot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, SMALL)


def test_what_a_dead_node_had_not_sent_is_lost_with_it(tmp_path):
    """The task waits at `cam` for `only`. `cam` dies first, so nothing comes when `only` is back."""
    events = (
        "events: [{at: 5 s, node: only, state: down}, {at: 10 s, node: cam, state: down}, "
        "{at: 12 s, node: only, state: up}, {at: 14 s, node: cam, state: up}]\n"
    )
    outcome = simulate(tmp_path, ALONE + events, trace_path=offer(tmp_path, 9.5, 30.0))
    orphan, late = lines(outcome, "tasks.jsonl")
    assert orphan["reason"] == DEVICE_DOWN
    assert late["status"] == "completed"
    samples = lines(outcome, "timeseries.jsonl")
    assert sum(sample["arrived"] for sample in samples if sample["node"] == "only") == 1


def test_results_come_back_through_switches(tmp_path):
    text = SMALL.replace("links:", "switches: [hub]\nlinks:").split("links:")[0] + (
        "links:\n"
        "  - {from: cam, to: [near-1, near-2], rate: 20 Mbit/s, delay: 3 ms}\n"
        "  - {from: [near-1, near-2, core], to: hub, rate: 30 Mbit/s, delay: 4 ms}\n"
        "offload: {near-1: [core], near-2: [core]}\n"
    )
    outcome = simulate(tmp_path, text, seed=2)
    assert outcome.summary["tasks"]["lost"] == 0
    deep = [task for task in lines(outcome, "tasks.jsonl") if task["exit_stage"] == 2]
    assert deep
    for task in deep:
        assert task["completed_s"] - task["hops"][1]["sent_s"] >= 11 * MS


def test_every_record_is_told_to_the_observer(tmp_path):
    class Counter(SilentObserver):
        def __init__(self):
            self.told = {"task": 0, "decision": 0, "sample": 0, "event": 0, "started": 0, "phase": 0}

        def __getattribute__(self, name):
            told = object.__getattribute__(self, "__dict__").get("told", {})
            if name in told:
                told[name] += 1
            return object.__getattribute__(self, name)

    observer = Counter()
    outcome = simulate(tmp_path, SMALL, observer=observer, seed=3)
    for name, file in (("task", "tasks"), ("decision", "decisions"), ("sample", "timeseries"), ("event", "events")):
        assert observer.told[name] == len(lines(outcome, f"{file}.jsonl"))
    assert (observer.told["started"], observer.told["phase"]) == (1, 1)


def test_nodes_that_cannot_reach_each_other_fail_the_run(tmp_path):
    wanted = plan(tmp_path, ALONE)
    (link,) = wanted.scenario.links
    broken = replace(link, shape=LinkShape(8.0, 0.01, loss=0.99))
    dead = replace(wanted, scenario=replace(wanted.scenario, links=(broken,)))
    with pytest.raises(SimulationFailed, match="no answer over the simulated network: cam -> only"):
        Simulation(dead, SilentObserver()).run()
    manifest = read_manifest(wanted.run_directory)
    assert manifest["exit_reason"].startswith("failed: no answer")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from cli.main import main; main()", *arguments]


def test_the_command_needs_neither_root_nor_torch_nor_much_time(tmp_path):
    script = (
        "import os, sys; os.geteuid = lambda: 1000; from cli.main import _run\n"
        f"code = _run(['simulate', {str(QUICKSTART)!r}, '--duration', '10 s', '--out', {str(tmp_path / 'run')!r}])\n"
        "print([name for name in ('torch', 'scipy', 'mininet', 'matplotlib') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert "simulated" in done.stdout
    assert "0 lost" in done.stdout


def test_interrupt_keeps_what_was_recorded(tmp_path):
    (tmp_path / "t.yaml").write_text(SMALL.replace("duration: 20 s", "duration: 2000 s"))
    process = subprocess.Popen(
        command("simulate", str(tmp_path / "t.yaml"), "--out", str(tmp_path / "run")),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    tasks = tmp_path / "run" / "tasks.jsonl"
    deadline = time.monotonic() + 30
    while not (tasks.exists() and tasks.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "interrupted; what was recorded is in" in errors
    assert "Delay" in output
    manifest = read_manifest(tmp_path / "run")
    assert manifest["exit_reason"] == "interrupted"
    recorded = [json.loads(line) for line in tasks.read_text().splitlines()]
    last_s = max(task["created_s"] for task in recorded)
    arrivals = read_trace(tmp_path / "run" / "trace.jsonl")
    assert 0 < len(recorded) < len(arrivals)
    assert len(recorded) == sum(arrival.time_s <= last_s for arrival in arrivals)
    assert all(task["reason"] in (None, "the run was cut short") for task in recorded)


def test_a_recorded_run_is_simulated_again_by_the_command(tmp_path):
    first = simulate(tmp_path, SMALL, seed=3)
    again = tmp_path / "again"
    done = subprocess.run(
        command("replay", str(first.run_directory), "--simulate", "--json", "--monitor", "off", "--out", str(again)),
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed = json.loads(done.stdout)
    assert printed.pop("run_directory") == str(again)
    assert printed == first.summary
    assert (again / "tasks.jsonl").read_bytes() == (first.run_directory / "tasks.jsonl").read_bytes()


def test_no_task_waits_for_a_servers_measurement_of_itself(tmp_path):
    """A server that served nothing in a slot measures itself as the next one begins; a task that comes then is served.

    The tasks come all over the tenth of a second that such a measurement takes.
    """
    text = ALONE.replace("slot: 100 s", "slot: 5 s").replace("duration: 100 s", "duration: 200 s")
    times_s = [15.0 * number + 0.01 * number for number in range(1, 13)]
    outcome = simulate(tmp_path, text, trace_path=offer(tmp_path, *times_s))
    hops = [task["hops"][0] for task in lines(outcome, "tasks.jsonl")]
    assert len(hops) == len(times_s)
    assert [hop["started_s"] - hop["received_s"] for hop in hops] == [0.0] * len(hops)
    assert [hop["finished_s"] - hop["started_s"] for hop in hops] == pytest.approx([SERVICE_S] * len(hops))


def test_an_idle_server_notices_that_it_has_become_slow_and_fast_again(tmp_path):
    text = ALONE.replace("slot: 100 s", "slot: 5 s") + (
        "events:\n  - {at: 12 s, server: only, capacity: x0.25}\n  - {at: 42 s, server: only, capacity: x2}\n"
    )
    outcome = simulate(tmp_path, text, trace_path=offer(tmp_path, 2.0, 30.02, 95.0))  # the second one interrupts it
    rate_per_s = {d["slot"]: d["service_rate_per_s"] for d in lines(outcome, "decisions.jsonl") if d["node"] == "only"}
    assert rate_per_s[1] == pytest.approx(10)
    assert [rate_per_s[slot] for slot in (4, 5, 8)] == pytest.approx([2.5] * 3)
    assert [rate_per_s[slot] for slot in (10, 14, 18)] == pytest.approx([20] * 3)


TOGETHER = (
    small.SMALL.replace("duration: 8 s", "duration: 18 s")
    + """
events:
  - {at: 2 s, node: near-1, state: down}
  - {at: 4 s, node: near-1, state: up}
  - {at: 4 s, server: near-1, capacity: 0.25 GFLOP/s}
  - {at: 6 s, node: near-2, state: down}
  - {at: 7 s, server: near-2, capacity: 0.1 GFLOP/s}
  - {at: 8 s, node: near-2, state: up}
  - {at: 8.03 s, server: near-2, capacity: 0.2 GFLOP/s}
  - {at: 11 s, server: core, capacity: 0.3 GFLOP/s}
  - {at: 11 s, node: core, state: down}
  - {at: 11 s, node: core, state: up}
  - {at: 11 s, server: core, capacity: 0.9 GFLOP/s}
  - {at: 11 s, server: core, capacity: 0.45 GFLOP/s}
"""
)  # near-2's change at 8.03 s comes while its agent is starting
IN_FORCE = {"near-1": (4.0, 0.25e9), "near-2": (8.03, 0.2e9), "core": (11.0, 0.45e9)}  # from when, FLOP/s


def service_s(outcome, server: str) -> list[float]:
    """Return the service times [s] of the tasks that the server began under its last capacity."""
    hops = [hop for task in lines(outcome, "tasks.jsonl") for hop in task["hops"] if hop["node"] == server]
    return [hop["finished_s"] - hop["started_s"] for hop in hops if hop["started_s"] > IN_FORCE[server][0]]


def stated_s(outcome, server: str) -> float:
    """Return the sub-model's work over the last capacity [s]."""
    stage = 2 if server == "core" else 1
    (flop,) = [each["flop"] for each in read_manifest(outcome.run_directory)["sub_models"] if each["stage"] == stage]
    return flop / IN_FORCE[server][1]


@pytest.mark.parametrize("server", IN_FORCE)
def test_the_capacity_in_force_is_the_last_one_stated(tmp_path, server):
    outcome = simulate(tmp_path, TOGETHER, seed=3, policy="uniform")
    found = service_s(outcome, server)
    assert len(found) > 5
    assert found == pytest.approx([stated_s(outcome, server)] * len(found))


def test_a_device_that_comes_up_sends_nothing_to_a_server_that_does_not_answer(tmp_path):
    """An unmeasured link seems to cost nothing."""
    text = small.SMALL.replace("duration: 8 s", "duration: 40 s") + (
        "events:\n  - {at: 3 s, node: near-1, state: down}\n  - {at: 4 s, node: cam-2, state: down}\n"
        "  - {at: 5 s, node: cam-2, state: up}\n  - {at: 25 s, node: near-1, state: up}\n"
    )
    outcome = simulate(tmp_path, text, policy="uniform", seed=3)
    done = [t for t in lines(outcome, "tasks.jsonl") if t["device"] == "cam-2" and t["status"] == "completed"]
    meanwhile = [t for t in done if 5 < t["created_s"] < 25]
    assert len(meanwhile) > 20
    assert {t["attempts"] for t in meanwhile} == {1}
    assert any(t["hops"][0]["node"] == "near-1" for t in done if t["created_s"] > 30)  # until its samples arrive again
    told = [(e["node"], e["detail"]) for e in lines(outcome, "events.jsonl") if e["kind"] == "receiver-silent"]
    assert ("cam-2", "near-1: no answer to any probe") in told
