"""What benches need beside a live run: it is tried without one."""

import importlib
import subprocess
import sys

import pytest

from tests.bench import city, fidelity, scale
from tests.bench.__main__ import BENCHES, GROUPS
from tests.bench.quickstart import Camera
from tests.bench.table import verdict
from tests.cli.watched import play, scenario


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_rows(name):
    assert callable(importlib.import_module(f"tests.bench.{name}").rows)


def test_groups_stand_for_all_of_their_parts():
    assert GROUPS["fidelity"] == [f"fidelity.{part}" for part in fidelity.PARTS]
    assert GROUPS["city"] == [f"city.{part}" for part in city.PARTS]
    assert set(city.TIMED) < set(city.PARTS)


def test_the_monitor_is_drawn_once_in_the_middle_of_the_run():
    camera = Camera()
    play(camera, scenario(), 37)
    assert camera.lines == []
    play(camera, scenario(), 60)
    assert "0:38 / 1:00" in camera.lines[0]
    assert sum("near-" in line for line in camera.lines) >= 3
    assert any(line.strip().startswith("delay p50") for line in camera.lines)


def test_memory_of_a_simulation_is_that_of_its_own_process(monkeypatch):
    """Not the greatest of all children so far: one before it has taken 400 MiB."""
    small = scale.topology(devices=12, servers=3, slot_s=1.0)
    monkeypatch.setattr(scale, "topology", lambda **_: small)
    subprocess.run([sys.executable, "-c", "b'x' * (400 << 20)"], check=True)
    entries = {entry["name"].rsplit(": ", 1)[1]: entry for entry in scale.measured(1.0, 60.0)}
    assert 20 < entries["peak memory"]["value"] < 300
    assert entries["CPU time"]["value"] > 0
    assert entries["tasks completed"]["value"] > 100
    assert "invalid" not in map(verdict, entries.values())
