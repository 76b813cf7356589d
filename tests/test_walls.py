"""The walls between the rooms: import-linter's contracts hold, and each of them notices what it forbids."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cli", "dtoee_testbed", "testbed", "node_agent", "tests")
LINT = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
FORBIDDEN = [
    ("node_agent/wire.py", "import testbed.scenario", "Imports run one way"),
    ("testbed/units.py", "import cli.quantity", "Imports run one way"),
    ("testbed/scenario.py", "import dtoee_testbed", "Imports run one way"),
    ("testbed/host/load.py", "import testbed.record.summary", "Within the experiment"),
    ("testbed/run/planning.py", "import testbed.live.launcher", "Within the experiment"),
    ("node_agent/core/planning/rounds.py", "import node_agent.process.timer", "Within the node"),
    ("node_agent/dtoee/queueing.py", "import node_agent.policies.uniform", "Within the node"),
    ("node_agent/models/networks/made.py", "import node_agent.models.bundles.card", "Within the models"),
    ("node_agent/core/machine.py", "import time", "Core and driver are without I/O"),
    ("node_agent/core/server.py", "import zmq", "Core and driver are without I/O"),
    ("node_agent/core/device.py", "import threading", "Core and driver are without I/O"),
    ("node_agent/process/driver.py", "import time", "Core and driver are without I/O"),
    ("node_agent/records.py", "import torch", "Core and driver are without I/O"),  # what it imports counts, too
    ("node_agent/dtoee/staged.py", "import scipy", "The mathematics of DTO-EE"),
    ("tests/node_agent/virtual.py", "import testbed.scenario", "The node's tests"),
    ("testbed/doctor/finding.py", "import rich", "Only the command line draws"),
    ("testbed/live/launcher.py", "import mininet.net", "Only the experiment's network"),
    ("testbed/relay/line.py", "import ctypes", "Only one module calls the C library"),
]


def test_each_wall_is_tried():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    tried = [contract for _, _, contract in FORBIDDEN]
    assert [one["name"] for one in contracts if not any(one["name"].startswith(start) for start in tried)] == []


def lint(folder):
    return subprocess.run(LINT, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The sources, elsewhere: a test may spoil one of them for a moment."""
    folder = tmp_path_factory.mktemp("sources")
    for package in PACKAGES:
        only_python = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.npz", "*.json", "*.jsonl", "a9cbd93")
        shutil.copytree(ROOT / package, folder / package, ignore=only_python)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_wall_holds(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(("file", "line", "contract"), FORBIDDEN)
def test_a_forbidden_import_is_noticed(copy, file, line, contract):
    source = copy / file
    kept = source.read_text()
    source.write_text(f"{kept}\n\n{line}\n")
    try:
        done = lint(copy)
    finally:
        source.write_text(kept)
    assert done.returncode == 1
    assert [row for row in done.stdout.splitlines() if row.startswith(contract) and " BROKEN" in row], done.stdout
