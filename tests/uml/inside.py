"""Tests for the second kernel only: test_second_kernel.py runs this file there; pytest does not collect it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.record.run_directory import read_manifest
from tests.testbed.conftest import leaves_nothing

__all__ = ["leaves_nothing"]
MAIN = [sys.executable, "-c", "from cli.main import main; main()"]

# Three nodes and half a minute, most of it loading torch twice. Quotas, so that agents live in control groups.
TINY = """
name: tiny
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
slot: 2 s
duration: 6 s
warm_up: 1 s
compute: quota
devices:
  cam: {count: 1, rate: 4 /s}
servers:
  near: {stage: 1, capacity: 0.3 GFLOP/s}
  core: {stage: 2, capacity: 0.4 GFLOP/s, memory: 1 GiB}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 10 ms}
  - {from: near, to: core, rate: 20 Mbit/s, delay: 5 ms}
"""


def test_this_is_the_second_kernel():
    assert "User Mode Linux" in Path("/proc/cpuinfo").read_text()
    kinds = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    assert ("cgroup2" in kinds, "cgroup" in kinds) == (True, False)


@pytest.mark.usefixtures("leaves_nothing")
def test_doctor_finds_netem_and_control_groups():
    done = subprocess.run([*MAIN, "doctor", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    states = {finding["name"]: (finding["state"], finding["detail"]) for finding in report["findings"]}
    assert report["possible"]
    assert states["netem (link delays)"][0] == "ok"
    assert states["cgroup CPU quota"][0] == "ok"
    assert "v2" in states["cgroup CPU quota"][1]
    assert "netem" in states["trial network"][1]


@pytest.mark.usefixtures("leaves_nothing")
def test_a_whole_run(tmp_path):
    topology, directory = tmp_path / "tiny.yaml", tmp_path / "run"
    topology.write_text(TINY)
    done = subprocess.run(
        [*MAIN, "run", str(topology), "--monitor", "plain", "--out", str(directory)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary, manifest = json.loads((directory / "summary.json").read_text()), read_manifest(directory)
    assert (manifest["backends"]["network"], manifest["backends"]["compute"]) == ("netem", "quota")
    assert manifest["kernel"] == os.uname().release
    assert summary["tasks"]["lost"] == 0
    assert summary["tasks"]["completed"] == summary["tasks"]["offered"] > 10
    tasks = [json.loads(line) for line in (directory / "tasks.jsonl").read_text().splitlines()]
    assert all(task["hops"][0]["received_s"] - task["created_s"] >= 0.010 for task in tasks)
    assert {len(task["hops"]) for task in tasks} == {1, 2}
