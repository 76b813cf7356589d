"""Live runs with a disturbance from outside: the verdict, the cause, and the recorded figures."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.bench.verdict.disturbances import agent_of
from tests.testbed.live.test_experiment import ROOT, lines

pytestmark = [pytest.mark.timing, pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("leaves_nothing")]
TINY = """
name: tiny
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: computing-first
slot: 3 s
duration: 12 s
warm_up: 1 s
devices: {cam: {rate: 4 /s}}
servers:
  near: {stage: 1, capacity: 0.4 GFLOP/s}
  hub: {stage: 2, capacity: 0.3 GFLOP/s}
  core: {stage: 3, capacity: 0.6 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 5 ms}
  - {from: near, to: hub, rate: 50 Mbit/s, delay: 5 ms}
  - {from: hub, to: core, rate: 50 Mbit/s, delay: 5 ms}
"""
COMMAND = [sys.executable, "-c", "from cli.main import main; main()", "run"]


def run(folder, *options, befall=lambda _: None, text=TINY):
    """Run a topology; call `befall` with its manifest once its agents are ready. Return exit status and directory."""
    topology, out = folder / "tiny.yaml", folder / "run"
    topology.write_text(text)
    command = [*COMMAND, str(topology), "--monitor", "off", "--out", str(out), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline_s = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline_s:
            with suppress(OSError, ValueError):
                manifest = json.loads((out / "manifest.json").read_text())
                if "nodes" in manifest:
                    befall(manifest)
                    break
            time.sleep(0.05)
        _, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def test_a_calm_run_holds_and_every_task_has_its_expected_delay(tmp_path):
    """A shared machine is disturbed at times: of three runs one must hold, and all verdicts must be right."""
    for attempt in range(3):
        (folder := tmp_path / str(attempt)).mkdir()
        status, out, errors = run(folder)
        assert status == 0, errors
        fidelity = json.loads((out / "summary.json").read_text())["fidelity"]
        if fidelity["verdict"] == "held":
            break
        assert max(abs(off) for off in fidelity["delay_off"].values()) > 0.02, fidelity["reasons"]
    assert (fidelity["verdict"], fidelity["reasons"]) == ("held", [])
    assert abs(fidelity["delay_off"]["mean"]) < 0.02
    tasks = lines(out / "tasks.jsonl")
    assert len(tasks) > 30
    for task in tasks:
        assert task["expected_delay_s"] == pytest.approx(task["delay_s"], abs=0.02)
        assert [[receiver, taken] for receiver, _, taken in task["offers"]] == [["near", True]]
        assert task["created_s"] <= task["offers"][0][1] < task["hops"][0]["received_s"]


def test_a_run_in_which_an_agent_was_stopped_is_broken_and_says_which(tmp_path):
    def stop(manifest):
        pid = agent_of(manifest["nodes"]["hub"]["namespace"])
        time.sleep(5)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.8)
        os.kill(pid, signal.SIGCONT)

    status, out, errors = run(tmp_path, "--require-fidelity", befall=stop)
    assert status == 5, errors
    assert "the emulation did not hold" in errors
    fidelity = json.loads((out / "summary.json").read_text())["fidelity"]
    assert fidelity["verdict"] == "broken"
    assert fidelity["delay_off"]["p99"] > 1
    assert fidelity["lateness"]["nodes"][0]["node"] == "hub" or "hub" in fidelity["lateness"]["paths"][0]["path"]
    assert 1 < max(each["worst_s"] for each in (*fidelity["lateness"]["nodes"], *fidelity["lateness"]["paths"])) < 4
    cause = fidelity["causes"][0]
    assert (cause["kind"], cause["what"]) == ("agent", ["hub"])
    assert 3 < cause["from_s"] < cause["until_s"] < 8
    assert any("the agent of hub" in reason for reason in fidelity["reasons"])
    events = [event for event in lines(out / "events.jsonl") if event["kind"] == "process-stopped"]
    assert [event["node"] for event in events] == ["hub"]


def test_a_run_that_fails_before_any_task_counts_is_unknown(tmp_path):
    def kill(manifest):
        os.kill(agent_of(manifest["nodes"]["near"]["namespace"]), signal.SIGKILL)

    status, out, errors = run(tmp_path, befall=kill)
    assert status == 1
    assert "near" in errors
    fidelity = json.loads((out / "summary.json").read_text())["fidelity"]
    assert fidelity["verdict"] == "unknown"
    assert "nothing to judge" in fidelity["reasons"][0]


def test_a_run_of_which_no_task_counts_succeeds_and_its_emulation_is_unknown(tmp_path):
    """The run's only task comes during the warm-up."""
    (tmp_path / "trace.jsonl").write_text('{"time_s": 0.2, "device": "cam", "sample": 17}\n')
    brief = TINY.replace("duration: 12 s", "duration: 4 s")
    status, out, errors = run(tmp_path, "--require-fidelity", "--trace", str(tmp_path / "trace.jsonl"), text=brief)
    assert status == 5, errors
    assert "whether the emulation held is unknown: no task that was offered after the warm-up was completed" in errors
    assert json.loads((out / "manifest.json").read_text())["exit_reason"] == "completed"
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["tasks"]["completed"], summary["tasks"]["counted"]) == (1, 0)
    assert summary["fidelity"]["verdict"] == "unknown"
