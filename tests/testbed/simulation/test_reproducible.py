"""A simulation is the same in every interpreter, whatever the order of its sets of names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.record.run_directory import DECISIONS, EVENTS, TASKS, TIMESERIES

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
HASH_SEEDS = ("0", "1", "2")
COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "simulate")


def recorded(topology: str, policy: str, hash_seed: str, folder: Path) -> dict[str, bytes]:
    """Simulate 20 s; return the contents of the files by name."""
    directory = folder / hash_seed
    options = ["--policy", policy, "--duration", "20s", "--monitor", "off", "--out", str(directory)]
    subprocess.run(
        [*COMMAND, str(TOPOLOGIES / f"{topology}.yaml"), *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    return {name: (directory / name).read_bytes() for name in (TASKS, DECISIONS, TIMESERIES, EVENTS)}


@pytest.mark.parametrize(("topology", "policy"), [
    ("quickstart", "bandwidth-first"),  # measures rates over links with jitter before the run
    pytest.param("campus", "dto-ee", marks=pytest.mark.slow),
    pytest.param("quickstart", "ga", marks=pytest.mark.slow),
    ("quickstart", "two-choices"),
])  # fmt: skip
def test_the_order_of_sets_does_not_show(topology, policy, tmp_path):
    first, *others = (recorded(topology, policy, hash_seed, tmp_path) for hash_seed in HASH_SEEDS)
    assert len(first[TASKS].splitlines()) > 100
    assert first[DECISIONS]
    assert [other == first for other in others] == [True, True]
