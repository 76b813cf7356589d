"""Whole sweeps in virtual time: figures, files, failures, and the continuation of a sweep with more values."""

import csv
import json
import subprocess
import sys

import pytest

from node_agent.errors import InputError
from testbed.cells.execution import Unobserved
from testbed.record.run_directory import read_manifest
from testbed.record.run_figures import FIGURES
from testbed.sweep import as_json, parquet_file, sweep
from tests.testbed.compare.topology import SMALL, write

MOODY = '''
from node_agent.policies.base import ProportionalPolicy


class Moody(ProportionalPolicy):
    """Fails above a theta, unless a file lies beside it."""

    def __init__(self, parameters, theta_s):
        super().__init__(parameters, theta_s)
        self._theta_s = theta_s

    def weights(self, prospect):
        from pathlib import Path

        if self._theta_s > 2 and not Path(__file__).with_name("calm").exists():
            raise ValueError("in a bad mood")
        return prospect.link_s**0
'''
KEYS = ("load=x0.5,x1", "theta=1 s,4 s")
POLICIES = ("dto-ee", "uniform")


class Begun(Unobserved):
    """An observer that records which runs begin and fail."""

    def __init__(self):
        self.names, self.failed = [], []

    def begun(self, cell):
        self.names.append(cell.name)

    def dropped(self, cell, *, failed):
        self.failed += [cell.name] * failed


def small(folder, values=KEYS, policies=POLICIES, **options):
    begun = Begun()
    stated = {"repeats": 2, "simulate": True, "duration_s": 10.0, "observer": begun, "out": folder / "out"}
    return sweep(write(folder), values, policies, **stated | options), begun


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A complete sweep that several tests read, and none changes."""
    folder = tmp_path_factory.mktemp("sweep")
    result, begun = small(folder)
    return folder, result, begun


def test_each_policy_runs_at_each_point_with_the_same_seeds(done):
    _, result, begun = done
    assert result.complete
    assert result.seeds == (7, 8)
    assert (len(result.points), len(result.rows), len(begun.names)) == (4, 16, 16)
    assert "load=x1, theta=4 s, uniform, seed 8" in begun.names
    traces = set()
    for row in result.rows:
        manifest = read_manifest(result.directory / row.run.run_directory)
        load, theta = row.values["load"], row.values["theta"]
        assert manifest["overrides"] == [f"load=x{load:g}", f"theta={theta:g} s"]
        assert (manifest["seed"], manifest["exit_reason"]) == (row.run.seed, "completed")
        traces.add((row.run.seed, load, manifest["inputs_sha256"]["trace.jsonl"]))
    assert len(traces) == 4  # one for each seed and load: policies and thetas share their workloads
    assert (result.directory / "topology.yaml").read_text() == SMALL


def test_rows_say_what_the_runs_say(done):
    _, result, _ = done
    for row in result.rows:
        summary = json.loads((result.directory / row.run.run_directory / "summary.json").read_text())
        assert row.run.delay_mean_s == summary["delay_s"]["mean"]
        assert row.run.figures["accuracy"] == summary["accuracy"]
        assert summary["theta_s"] == row.values["theta"]
    point = result.points[3]
    assert point.values == {"load": 1.0, "theta": 4.0}
    assert point.stated == {"load": "x1", "theta": "4 s"}
    mine = [row.run.delay_mean_s for row in result.rows if row.point == 3 and row.run.policy == "dto-ee"]
    assert point.table[0].delay_mean_s.mean == pytest.approx(sum(mine) / 2)
    offered = [point.table[0].offered for point in result.points]
    assert offered[0] == offered[1] < offered[2] == offered[3]


def test_the_files_hold_the_figures(done):
    _, result, _ = done
    content = json.loads((result.directory / "sweep.json").read_text())
    assert content == json.loads(json.dumps(as_json(result)))
    assert (content["kind"], content["schema"], content["complete"]) == ("dtoee-sweep", 1, True)
    assert [(key["key"], key["unit"]) for key in content["keys"]] == [("load", "x"), ("theta", "s")]
    with (result.directory / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    for row, ours in zip(rows, result.rows, strict=True):
        assert float(row["theta"]) == ours.values["theta"]
        assert float(row["load"]) == ours.values["load"]
        assert float(row["delay_mean_s"]) == ours.run.delay_mean_s
        assert float(row["exit_share_1"]) == ours.run.exit_share[0]
    assert {figure.column for figure in FIGURES} <= rows[0].keys()
    assert set(result.pictures) == {
        f"sweep-load-{figure}.{ending}" for figure in ("mean", "accuracy") for ending in ("png", "svg")
    }
    assert all((result.directory / name).stat().st_size > 10_000 for name in result.pictures)


def test_the_table_in_parquet_is_that_in_csv(done):
    _, result, _ = done
    read = (
        "import pyarrow.parquet as pq, json, sys\n"
        "table = pq.read_table(sys.argv[1])\n"
        "field = table.schema.field\n"
        "print(json.dumps([table.num_rows, str(field('theta').type), field('theta').metadata[b'unit'].decode(),\n"
        "    str(field('seed').type), str(field('fidelity').type), table.column_names,\n"
        "    table.column('delay_mean_s').to_pylist()]))\n"
    )  # in a process of its own: pyarrow starts threads
    path = result.directory / "sweep.parquet"
    found = json.loads(subprocess.run([sys.executable, "-c", read, path], capture_output=True, check=True).stdout)
    header = (result.directory / "sweep.csv").read_text().splitlines()[0].split(",")
    means = [row.run.delay_mean_s for row in result.rows]
    assert found == [16, "double", "s", "int64", "string", header, means]


def test_without_pyarrow_a_note_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_file, "PACKAGE", "no_such_package")
    monkeypatch.setattr("testbed.sweep.sweep_files.can_write", parquet_file.can_write)
    result, _ = small(tmp_path, ("theta=1 s",), (), repeats=1)
    assert not (tmp_path / "out/sweep.parquet").exists()
    assert (tmp_path / "out/sweep.csv").exists()
    assert any(note.startswith("no table in Parquet") for note in result.notes)


def test_a_second_call_runs_nothing_and_draws_another_picture(done):
    folder, first, _ = done
    again, begun = small(folder, plots=["theta:p95"])
    assert begun.names == []
    assert again.rows == first.rows
    assert again.pictures == ("sweep-theta-p95.png", "sweep-theta-p95.svg")


def test_more_values_and_seeds_run_only_what_is_new(tmp_path):
    small(tmp_path, ("theta=1 s",), ("dto-ee",), repeats=1)
    result, begun = small(tmp_path, ("theta=1..3 s:2",), ("dto-ee", "uniform"), repeats=2)
    assert len(result.rows) == 8
    assert len(begun.names) == 7
    assert "theta=1 s, dto-ee, seed 7" not in begun.names


def test_a_run_that_fails_ends_nothing_and_is_tried_again(tmp_path):
    (tmp_path / "moody.py").write_text(MOODY)
    policies = ("uniform", f"{tmp_path}/moody.py:Moody")
    result, begun = small(tmp_path, ("theta=1 s,3 s",), policies)
    assert not result.complete
    assert begun.failed == [f"theta=3 s, Moody, seed {seed}" for seed in (7, 8)]
    assert len(result.rows) == 6
    assert [(one.policy, one.seed, one.values) for one in result.failed] == [
        ("Moody", seed, {"theta": 3.0}) for seed in (7, 8)
    ]
    assert "in a bad mood" in result.failed[0].why
    assert result.points[1].failed == {"Moody": 2}
    assert result.points[1].table[1].figures["mean"] is None
    assert result.points[1].table[0].figures["mean"] is not None
    assert any(note.startswith("† 2 runs failed") for note in result.notes)
    (tmp_path / "calm").touch()
    again, begun = small(tmp_path, ("theta=1 s,3 s",), policies)
    assert again.complete
    assert (again.failed, sorted(begun.names)) == ((), [f"theta=3 s, Moody, seed {seed}" for seed in (7, 8)])


def test_overloaded_places_have_no_mean(tmp_path):
    result, _ = small(tmp_path, ("load=x1,x12",), ("uniform",), repeats=1, duration_s=20.0)
    assert [point.table[0].overloaded for point in result.points] == [False, True]
    assert result.points[1].table[0].figures["mean"] is None
    assert result.rows[1].run.delay_mean_s is not None  # the row of the run has it all the same
    assert "overloaded at 1 of 2 places (a policy at a point): no means there" in result.notes
    content = json.loads((tmp_path / "out/sweep.json").read_text())
    assert content["points"][1]["table"][0]["overloaded"] is True


def test_a_sample_draws_points_by_the_seed(tmp_path):
    values = {"theta": "1..4 s", "draws": ["smooth", "random"]}
    result, _ = small(tmp_path, values, ("dto-ee",), sample_points=4, repeats=1)
    assert result.sampled == 4
    thetas = sorted(point.values["theta"] for point in result.points)
    assert [int((theta - 1) / 0.75) for theta in thetas] == [0, 1, 2, 3]
    assert sorted(point.values["draws"] for point in result.points) == ["random"] * 2 + ["smooth"] * 2
    again, begun = small(tmp_path, values, ("dto-ee",), sample_points=4, repeats=1)
    assert begun.names == []
    assert again.points == result.points


def test_values_for_all_points_are_recorded(tmp_path):
    result, _ = small(tmp_path, ("theta=1 s",), (), repeats=1, overrides=["slot=3 s"])
    assert result.overrides == ("slot=3 s",)
    assert result.policies == ("dto-ee",)
    assert result.pictures == ()  # nothing varies
    manifest = read_manifest(result.directory / result.rows[0].run.run_directory)
    assert manifest["overrides"] == ["slot=3 s", "theta=1 s"]


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ((), {}, "a sweep needs a key"),
        (("theta=1 s,2 s",), {"overrides": ["theta=3 s"]}, "theta is swept and has a value for all points"),
        (("duration=5 s,8 s",), {}, "duration is swept, but --duration replaces it"),
        (("model.cut=[2, 5],[3, 5]",), {"cut": (3, 5)}, "model.cut is swept, but --cut replaces it"),
        (("theta=1 s,2 s",), {"plots": ["theta:mian"]}, "there is no figure 'mian'"),
        (("theta=1 s,2 s",), {"plots": ["slot:mean"]}, "slot is no key of this sweep"),
        (("theta=1 s,2 s",), {"repeats": 0}, "0 runs cannot be carried out"),
        (("theta=1 s,2 s",), {"repeats": 6000}, "12000 runs cannot be carried out"),
        (("theta=1 s,2 s",), {"jobs": 0}, "0 runs at a time are none"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_any_run(tmp_path, values, options, said):
    with pytest.raises(InputError) as caught:
        small(tmp_path, values, ("dto-ee",), **options)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_directory_of_something_else_is_refused(tmp_path, done):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(InputError, match=r"is not empty and holds no sweep \(sweep\.json\)"):
        small(tmp_path)
    folder, _, _ = done
    (folder / "other.yaml").write_text(SMALL.replace("slot: 2 s", "slot: 1 s"))
    with pytest.raises(InputError, match=r"holds a sweep on another topology\.yaml"):
        sweep(folder / "other.yaml", KEYS, POLICIES, repeats=2, simulate=True, out=folder / "out")
