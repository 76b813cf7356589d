"""Whole runs on the real kernel: Mininet network, agents with real sub-models, a trace, the run directory."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node_agent.errors import TestbedError
from node_agent.models import load_bundle
from testbed.host.cpu_quota import hierarchies
from testbed.host.ledger import ledger_root, sweep
from testbed.live.experiment import Experiment
from testbed.live.running import RunFailed
from testbed.record.run_directory import read_manifest
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay, plan_run
from testbed.trace.workload import read_trace
from tests.hogs import hogs
from tests.testbed import small
from tests.testbed.simulation.test_simulator import IN_FORCE, TOGETHER, service_s, stated_s

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
ROOT = Path(__file__).parents[3]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(tmp_path: Path, text: str = small.SMALL, *, debug: bool = False, **options):
    topology = tmp_path / "topology.yaml"
    topology.write_text(text)
    plan = replace(plan_run(topology, out=tmp_path / "run", **options), debug=debug)
    return Experiment(plan, SilentObserver()).run()


def check_fidelity(outcome) -> None:
    """It covers every link and server."""
    fidelity = outcome.summary["fidelity"]
    assert fidelity["verdict"] == outcome.report.verdict
    ways = {("cam-1", "near-1"), ("cam-1", "near-2"), ("cam-2", "near-1"), ("cam-2", "near-2"), ("near-1", "core"),
            ("near-2", "core")}  # fmt: skip
    ways |= {(b, a) for a, b in ways}
    assert {tuple(link["ends"]) for link in fidelity["links"]} == ways
    assert {tuple(path["path"]) for path in fidelity["paths"]} == ways
    for path in fidelity["paths"]:  # a busy machine is late, but not by a quarter of a second
        assert path["delay_s"] * 0.9 <= path["measured_delay_s"] < path["delay_s"] + 0.25, path
    assert all(path["probes_during"] >= 4 for path in fidelity["paths"])
    assert fidelity["frames_relayed"] > 500  # read a moment before those of the links, while frames still come
    assert sum(link["frames"] for link in fidelity["links"]) == pytest.approx(fidelity["frames_relayed"], rel=0.05)
    tasks = lines(outcome.run_directory / "tasks.jsonl")
    for name, capacity in (("near-1", 0.5e9), ("near-2", 0.3e9), ("core", 0.6e9)):
        node = fidelity["nodes"][name]
        assert node["capacity_flop_per_s"] == pytest.approx(capacity)
        assert node["served"] <= sum(hop["node"] == name for task in tasks for hop in task["hops"])
        if node["served"]:
            assert node["served_flop_per_s"] <= capacity * 1.05
            assert node["host_flop_per_s"] > capacity  # real work: the machine is faster, and not infinitely so
            assert node["host_flop_per_s"] < 1e12
    assert 0 < fidelity["host"]["cpu_share"] <= 1


@pytest.mark.company
@pytest.mark.timing
def test_a_run_records_every_task_once_and_replays_the_same(tmp_path):
    outcome = run(tmp_path, seed=3)
    directory, summary = outcome.run_directory, outcome.summary
    assert outcome.exit_reason == "completed"
    assert summary["tasks"]["lost"] == 0
    assert summary["tasks"]["completed"] == summary["tasks"]["offered"] > 50
    assert summary == json.loads((directory / "summary.json").read_text())

    tasks, trace = lines(directory / "tasks.jsonl"), read_trace(directory / "trace.jsonl")
    assert sorted(task["id"] for task in tasks) == list(range(len(trace)))
    for task in tasks:
        arrival = trace[task["id"]]
        assert (task["device"], task["sample"], task["created_s"]) == (arrival.device, arrival.sample, arrival.time_s)
        moments = [task["created_s"]]
        for hop in task["hops"]:
            moments += [hop["received_s"], hop["started_s"], hop["finished_s"], hop["sent_s"]]
        moments.append(task["completed_s"])
        assert moments == sorted(moments)
        assert len(task["hops"]) == task["exit_stage"]
        assert task["correct"] == (task["prediction"] == task["label"])
        first = task["hops"][0]
        link_s = {"near-1": 0.010, "near-2": 0.003}[first["node"]]
        assert first["received_s"] - task["created_s"] >= link_s
        work_s = 23.0e6 / {"near-1": 0.5e9, "near-2": 0.3e9}[first["node"]]
        assert first["finished_s"] - first["started_s"] >= work_s * 0.999
    assert np.mean([task["correct"] for task in tasks]) > 0.7

    decisions = lines(directory / "decisions.jsonl")
    assert {d["node"] for d in decisions} == {"cam-1", "cam-2", "near-1", "near-2", "core"}
    assert all(sum(d["offload"].values()) == pytest.approx(1) for d in decisions if d["offload"])
    assert {s["node"] for s in lines(directory / "timeseries.jsonl")} == {d["node"] for d in decisions}
    manifest = read_manifest(directory)
    assert manifest["exit_reason"] == "completed"
    assert manifest["backends"]["network"] in ("netem", "userspace")
    assert manifest["seed"] == 3

    check_fidelity(outcome)

    again = Experiment(plan_replay(directory, out=tmp_path / "again", policy="computing-first"), SilentObserver()).run()
    assert (again.run_directory / "trace.jsonl").read_bytes() == (directory / "trace.jsonl").read_bytes()
    assert again.summary["tasks"]["completed"] == summary["tasks"]["completed"]
    assert again.summary["policy"] == "computing-first"


EVENTS = (
    small.SMALL.replace("duration: 8 s", "duration: 16 s")
    + """
events:
  - {at: 3 s, server: near-1, capacity: x0.25}
  - {at: 5 s, link: [cam-1, near-2], rate: 1 Mbit/s, delay: 60 ms}
  - {at: 6 s, server: near-1, capacity: x1}
  - {at: 7 s, node: near-2, state: down}
  - {at: 10 s, node: near-2, state: up}
  - {at: 11 s, node: cam-2, state: down}
  - {at: 14 s, node: cam-2, state: up}
"""
)


@pytest.mark.company
@pytest.mark.timing
def test_events_take_effect_and_cost_only_what_they_must(tmp_path):
    outcome = run(tmp_path, EVENTS)
    tasks, events = lines(outcome.run_directory / "tasks.jsonl"), lines(outcome.run_directory / "events.jsonl")
    kinds = Counter(event["kind"] for event in events)
    assert kinds["capacity-change"] == 2
    assert kinds["node-down"] == kinds["node-up"] == 2
    assert kinds["link-change"] == 1
    lost = [task for task in tasks if task["status"] == "lost"]
    # A device that is down offers nothing; all else gets through, also what the dead server had in its queue.
    assert {task["device"] for task in lost} <= {"cam-2"}
    assert all(8.0 < task["created_s"] < 14.5 for task in lost)
    assert {task["reason"] for task in lost} == {"its device was down"}
    late = [task for task in tasks if task["device"] == "cam-2" and task["created_s"] > 14.5]
    assert any(task["status"] == "completed" for task in late)
    slow = [h["finished_s"] - h["started_s"] for t in tasks for h in t["hops"]
            if h["node"] == "near-1" and 3.3 < h["started_s"] < 5.8]  # fmt: skip
    assert np.median(slow) == pytest.approx(4 * 23.0e6 / 0.5e9, rel=0.05)
    served = [h for t in tasks for h in t["hops"] if h["node"] == "near-2"]
    assert [h for h in served if h["received_s"] < 7]
    assert not [h for h in served if 7.1 < h["received_s"] < 10]
    far = [t["hops"][0]["received_s"] - t["created_s"] for t in tasks if t["device"] == "cam-1" and t["attempts"] == 1
           and t["hops"][0]["node"] == "near-2" and t["created_s"] > 5.2]  # fmt: skip
    assert far
    assert min(far) >= 0.06


@pytest.mark.company
@pytest.mark.timing
def test_time_scale_stretches_the_run_but_not_its_results(tmp_path):
    began = time.monotonic()
    outcome = run(tmp_path, small.SMALL.replace("duration: 8 s", "duration: 5 s\ntime_scale: 2"))
    assert time.monotonic() - began > 10
    assert outcome.summary["tasks"]["lost"] == 0
    hops = [hop for task in lines(outcome.run_directory / "tasks.jsonl") for hop in task["hops"]]
    near = [hop["finished_s"] - hop["started_s"] for hop in hops if hop["node"] == "near-1"]
    assert np.median(near) == pytest.approx(23.0e6 / 0.5e9, rel=0.05)


class Troublemaker(SilentObserver):
    """Overloads the machine from the start of the run to the end of the `with` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> "Troublemaker":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def started(self, scenario, offered) -> None:  # noqa: ARG002 - the observer's signature
        processors = os.cpu_count() or 1
        self._stack.enter_context(hogs(4 * processors, realtime=processors))


@pytest.mark.timing
def test_an_overloaded_machine_is_recognised(tmp_path):
    """Four busy loops a processor at normal priority, and one that comes before everything else.

    The first alone do not touch a small network: relay and agents have real-time priority.
    """
    topology = tmp_path / "topology.yaml"
    topology.write_text(small.SMALL)
    plan = plan_run(topology, out=tmp_path / "run", duration_s=5.0)
    with Troublemaker() as observer:
        outcome = Experiment(plan, observer).run()
    assert outcome.report.verdict != "held"
    reasons = outcome.summary["fidelity"]["reasons"]
    assert any(what in reason for reason in reasons for what in ("tasks", "frames", "timers")), reasons
    assert any("likely cause" in reason for reason in reasons), reasons


class Freezer(SilentObserver):
    """Stops the agent that was started last for four seconds in the middle of the run."""

    def __init__(self, run_id: str) -> None:
        self._ledger = ledger_root() / run_id / "ledger.jsonl"
        self._frozen: int | None = None

    def tick(self, now_s: float) -> None:
        if self._frozen is None and now_s > 1.0:
            self._frozen = json.loads(self._ledger.read_text().splitlines()[-1])["pid"]
            os.kill(self._frozen, signal.SIGSTOP)
        elif self._frozen and now_s > 5.0:
            os.kill(self._frozen, signal.SIGCONT)
            self._frozen = 0


def test_a_frozen_agent_is_recognised(tmp_path):
    topology = tmp_path / "topology.yaml"
    topology.write_text(small.SMALL)
    plan = plan_run(topology, out=tmp_path / "run", duration_s=6.0)
    outcome = Experiment(plan, Freezer(plan.run_id)).run()
    assert outcome.report.verdict != "held"
    fidelity = outcome.summary["fidelity"]
    assert any("the agent of core reported nothing" in reason for reason in fidelity["reasons"]), fidelity["reasons"]
    assert 3.9 < fidelity["longest_silence_s"] < 7.0
    assert fidelity["nodes"]["core"]["longest_silence_s"] == fidelity["longest_silence_s"]


@pytest.mark.skipif(hierarchies() is None, reason="no cgroup CPU controller on this machine")
def test_quota_slows_real_work(tmp_path):
    outcome = run(tmp_path, small.SMALL.replace("duration: 8 s", "duration: 4 s\ncompute: quota"))
    assert outcome.summary["tasks"]["lost"] == 0
    assert read_manifest(outcome.run_directory)["backends"]["compute"] == "quota"


OWN_POLICY = """
from node_agent.policies.base import PlainPolicy

class Last(PlainPolicy):
    status_every_s = 0.5

    def pick(self, candidates, random):
        return len(candidates) - 1
"""


@pytest.mark.parametrize(("policy", "compute"), [("ga", "quota"), ("dto-ee-2c", "paced"), ("own", "paced")])
def test_every_kind_of_policy_runs_live(tmp_path, policy, compute):
    """Central, by rows and queues, and from a file; a coordinator whose compute is limited has two child processes."""
    (tmp_path / "own.py").write_text(OWN_POLICY)
    text = small.SMALL.replace("duration: 8 s", f"duration: 5 s\ncompute: {compute}")
    outcome = run(tmp_path, text, policy=f"{tmp_path}/own.py:Last" if policy == "own" else policy, seed=2)
    assert outcome.exit_reason == "completed"
    assert outcome.summary["tasks"]["lost"] == 0
    assert not lines(outcome.run_directory / "events.jsonl")
    decisions = lines(outcome.run_directory / "decisions.jsonl")
    if policy == "ga":  # thresholds and rows are the coordinator's
        assert {d["threshold"] for d in decisions if d["node"] == "near-1"} - {0.8}
    if policy == "own":
        assert {task["hops"][0]["node"] for task in lines(outcome.run_directory / "tasks.jsonl")} == {"near-2"}
        assert (outcome.run_directory / "policy.py").read_text() == OWN_POLICY


@pytest.mark.parametrize(
    ("base", "body", "said", "must"),
    [
        ("ProportionalPolicy", "def weights(self, prospect): return -prospect.service_per_s",
         r"weights \(line 4\) gave \[-[\d.]+(, -[\d.]+)?\]", "it must give finite numbers that are not negative"),
        ("Ga", "def plan(self, problem, table): return {'cam-1': 7}",
         r"plan \(line 4\) gave 7", "it must give an Assignment to cam-1"),
    ],
)  # fmt: skip
def test_a_wrong_answer_ends_a_live_run_with_its_file_class_node_and_value(tmp_path, base, body, said, must):
    module = "ga" if base == "Ga" else "base"
    own = tmp_path / "own.py"
    own.write_text(f"from node_agent.policies.{module} import {base}\n\nclass Own({base}):\n    {body}\n")
    with pytest.raises(RunFailed) as caught:
        run(tmp_path, policy=f"{own}:Own")
    node = re.match(r"the agent of ([\w-]+) ended unexpectedly, with status 1$", str(caught.value))
    assert node
    told = rf"node ([\w-]+): policy {own}:Own: {said}; {must}.* \(more in {tmp_path}/run/agents\.log\)"
    assert re.fullmatch(told, caught.value.hint), caught.value.hint
    assert caught.value.exit_code == 1
    log = (tmp_path / "run" / "agents.log").read_text()
    assert f"{own}:Own" in log
    assert re.search(r"^The story of [\w-]+, .*\n *\d+\.\d{6} [<>] \w+\(", log, re.MULTILINE)


MISCOUNTING = """
from node_agent.core.device import DeviceTasks
from node_agent.policies.uniform import Uniform

class Own(Uniform):
    def start_slot(self):
        arrive = DeviceTasks.arrive

        def miscounts(tasks, event):
            arrive(tasks, event)
            tasks.arrived += 1

        DeviceTasks.arrive = miscounts
"""


def test_with_debug_agents_check_themselves(tmp_path):
    """A device that counts a task too many, which a policy can do that meddles with what is not its own."""
    own = tmp_path / "own.py"
    own.write_text(MISCOUNTING)
    with pytest.raises(RunFailed) as caught:
        run(tmp_path, policy=f"{own}:Own", debug=True)
    counts = r"\d+ arrived, but \d+ completed \(\d+ known\) \+ 0 lost \+ 0 refused \+ \d+ owned"
    told = rf"node ([\w-]+): tasks: {counts}; this is a fault .* \(more in {tmp_path}/run/agents\.log\)"
    assert re.fullmatch(told, caught.value.hint), caught.value.hint
    story = (tmp_path / "run" / "agents.log").read_text().split("The story of ")[1]
    assert re.search(r"\d < TaskArrived\(.*, tensor=uint8 [\dx]+ \(\d+ B\)\)", story), story


def test_with_debug_a_sound_run_ends_as_without(tmp_path):
    outcome = run(tmp_path, small.SMALL.replace("duration: 8 s", "duration: 4 s"), debug=True)
    assert outcome.exit_reason == "completed"
    assert outcome.summary["tasks"]["lost"] == 0
    assert not (tmp_path / "run" / "agents.log").exists()


def test_a_live_run_takes_a_model_from_the_folder_of_its_topology(tmp_path, monkeypatch):
    """Wherever the command is given, and although agents work in another folder."""
    shutil.copytree(load_bundle("glyphs").folder, tmp_path / "models" / "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = small.SMALL.replace("name: glyphs", "name: models/mine").replace("duration: 8 s", "duration: 3 s")
    assert run(tmp_path, text).summary["tasks"]["lost"] == 0


def test_quota_above_what_the_machine_has_is_refused(tmp_path):
    text = small.SMALL.replace("0.5 GFLOP/s", "50000 GFLOP/s").replace("duration: 8 s", "duration: 4 s\ncompute: quota")
    with pytest.raises(TestbedError, match="more than this machine's"):
        run(tmp_path, text)
    assert read_manifest(tmp_path / "run")["exit_reason"].startswith("failed")


def start_command(tmp_path: Path, *words: str) -> "subprocess.Popen[str]":
    topology = tmp_path / "topology.yaml"
    topology.write_text(small.SMALL)
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", str(topology), "--duration", "30"]
    return subprocess.Popen(
        [*command, "--monitor", "plain", "--out", str(tmp_path / "run"), *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def await_task(tmp_path: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        path = tmp_path / "run" / "tasks.jsonl"
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.05)
    raise AssertionError("no task was answered within 30 s")


def test_interrupt_ends_cleanly_and_keeps_what_was_recorded(tmp_path):
    process = start_command(tmp_path)
    await_task(tmp_path)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["tasks"]["offered"] == len(lines(tmp_path / "run" / "tasks.jsonl")) > 0
    assert read_manifest(tmp_path / "run")["exit_reason"] == "interrupted"
    assert "Delay" in output


@pytest.mark.parametrize("after_s", [0.4, 1.2, 2.0])
def test_interrupt_during_set_up_leaves_nothing(tmp_path, after_s):
    process = start_command(tmp_path)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_killed_run_is_cleaned_and_another_works(tmp_path):
    process = start_command(tmp_path)
    await_task(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    runs = {path.name for path in ledger_root().iterdir()}
    removed = sweep()
    assert {item.run_id for item in removed} <= runs
    (tmp_path / "second").mkdir()
    assert run(tmp_path / "second", duration_s=3.0).summary["tasks"]["lost"] == 0


def test_dead_agent_fails_the_run_with_one_clear_error(tmp_path):
    process = start_command(tmp_path)
    await_task(tmp_path)
    run_id = read_manifest(tmp_path / "run")["run_id"]
    ledger = [json.loads(line) for line in (ledger_root() / run_id / "ledger.jsonl").read_text().splitlines()]
    os.kill(ledger[-1]["pid"], signal.SIGKILL)  # the agent that was started last
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "error: the agent of core ended unexpectedly" in errors
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.timing
def test_the_capacity_in_force_is_the_last_one_stated(tmp_path):
    """The same as in simulation, also for a server that comes up or is just starting."""
    outcome = run(tmp_path, TOGETHER, seed=3, policy="uniform")
    assert outcome.exit_reason == "completed"
    for server in IN_FORCE:
        found = service_s(outcome, server)
        assert len(found) > 5
        assert np.median(found) == pytest.approx(stated_s(outcome, server), rel=0.05)  # one may fall into a busy moment
        assert min(found) >= stated_s(outcome, server) * 0.999
    told = [event["kind"] for event in lines(outcome.run_directory / "events.jsonl")]
    assert told.count("node-up") == told.count("node-down") == 3
    assert "agent-not-stopped" not in told
