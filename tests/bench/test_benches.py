"""The parts of benches that need no live run."""

import importlib
import re
import subprocess
import sys

import pytest

from tests.bench import city, fidelity, policies, scale, thresholds
from tests.bench.__main__ import BENCHES, GROUPS
from tests.bench.quickstart import QUICKSTART, Camera
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
    """Not the greatest of all children so far, one of which took 400 MiB, nor that of the process that measures."""
    held = b"x" * (400 << 20)
    small = scale.topology(devices=12, servers=3, slot_s=1.0)
    monkeypatch.setattr(scale, "topology", lambda **_: small)
    subprocess.run([sys.executable, "-c", "b'x' * (400 << 20)"], check=True)
    entries = {entry["name"].rsplit(": ", 1)[1]: entry for entry in scale.measured(1.0, 60.0)}
    assert len(held) > 300 << 20
    assert 20 < entries["peak memory"]["value"] < 300
    assert entries["CPU time"]["value"] > 0
    assert entries["tasks completed"]["value"] > 100
    assert "invalid" not in map(verdict, entries.values())


@pytest.fixture
def short(tmp_path):
    """Quickstart for 20 s."""
    path = tmp_path / "short.yaml"
    text, count = re.subn(r"(?m)^duration: .*$", "duration: 20 s", QUICKSTART.read_text(encoding="utf-8"))
    assert count == 1
    path.write_text(text, encoding="utf-8")
    return path


def test_rivals_come_with_samples_intervals_and_the_best_of_them(short, tmp_path, monkeypatch):
    monkeypatch.setattr(policies, "SEEDS", 2)
    monkeypatch.setattr(policies, "RIVALS", ("computing-first", "uniform"))
    monkeypatch.setattr(policies, "OTHERS", ("ngto",))
    rows = {entry["name"]: entry for entry in policies._rivals(0.42, short, tmp_path)}
    assert "invalid" not in map(verdict, rows.values())
    for policy in ("dto-ee", "computing-first", "uniform", "ngto", "fixed-threshold"):
        delay = rows[f"city, load 0.42: {policy} mean delay"]
        assert delay["value"] == pytest.approx(sum(delay["samples"]) / 2)
        assert len(set(delay["samples"])) == 2
    reductions = {policy: rows[f"city, load 0.42: delay reduction against {policy}"] for policy in policies.RIVALS}
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in reductions.values())
    best = rows["city, load 0.42: reduction against the best of computing-first, uniform"]
    assert best["value"] == min(entry["value"] for entry in reductions.values())


def test_curves_of_thresholds_end_with_what_is_gained(short, tmp_path, monkeypatch):
    monkeypatch.setattr(thresholds, "FIXED", (0.5, 0.95))
    monkeypatch.setattr(thresholds, "THETAS_S", (1.0, 4.0))
    monkeypatch.setattr(thresholds, "CURVE_SEEDS", 1)
    *curve, gained = thresholds.curve("short", short, tmp_path)
    assert [entry["name"].split(": ")[1] for entry in curve] == [
        "dto-ee, theta 1 s", "dto-ee, theta 4 s", "fixed threshold 0.5", "fixed threshold 0.95"
    ]  # fmt: skip
    assert gained["name"].endswith(thresholds.GAINED)
    assert verdict(gained) is None


def test_hindsight_takes_the_fixed_threshold_with_the_highest_mean_utility(short, tmp_path, monkeypatch):
    monkeypatch.setattr(thresholds, "FIXED", (0.2, 0.75))
    monkeypatch.setattr(thresholds, "HINDSIGHT_THETAS_S", (0.01, 4.0))
    monkeypatch.setattr(thresholds, "HINDSIGHT_SEEDS", 2)
    found = list(thresholds.hindsight("short", short.read_text(encoding="utf-8"), tmp_path))
    best = (0.2, 0.2, 0.75, 0.75)
    assert [entry["rival"] for entry in found] == [f"threshold {c}, the best in hindsight" for c in best]
    assert {entry["name"].split(", ")[1].split(":")[0] for entry in found} == {"exits by threshold", "exits by price"}
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in found)
