"""`capacity` as a user runs it: its output, its progress, and its exit codes."""

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cli.printing.many.capacity_lines import capacity_lines
from cli.printing.many.capacity_progress import PlainCapacity, Probes, in_words
from testbed.capacity import Bracket, Capacity
from testbed.capacity.capacity_result import PolicyCapacity, SeedCapacity
from testbed.cells.cell import Cell, RunSettings
from testbed.cells.intervals import Estimate
from testbed.cells.policy_specs import PolicySpec
from tests.cli import commands
from tests.testbed.compare.topology import write

SHORT = ("--slo", "p95 < 250 ms", "-n", "2", "--simulate", "--precision", "20 %")
run = partial(commands.run, "capacity", timeout=200)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The result of the command, with a complete directory."""
    folder = tmp_path_factory.mktemp("capacity")
    command = (write(folder), "-p", "dto-ee,uniform", *SHORT, "--out", folder / "out")
    return command, run(*command)


def test_a_table_on_stdout_and_progress_on_stderr(done):
    command, result = done
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "small: highest load at which p95 < 250 ms"
    assert lines[1].split()[:4] == ["policy", "load", "x", "tasks/s"]
    assert [line.split()[0] for line in lines[2:4]] == ["dto-ee", "uniform"]
    assert lines[2].count("[") == 1
    assert lines[-1] == f"files: {command[-1]}"
    progress = result.stderr.splitlines()
    assert progress[0].startswith(f"a search in {command[-1]}")
    assert progress[1] == "round 1: 4 probes to run; dto-ee ? to ?, uniform ? to ?"
    assert any(line.startswith("round 2: ") and "at most about " in line for line in progress)
    assert "\x1b" not in result.stdout + result.stderr


def test_json_is_the_file_and_no_probe_is_repeated(done):
    command, _ = done
    result = run(*command, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout) == json.loads((command[-1] / "capacity.json").read_text())
    assert "begins:" not in result.stderr


def test_ctrl_c_ends_it_with_how_to_go_on(tmp_path):
    out = tmp_path / "out"
    command = (write(tmp_path), "-p", "dto-ee,uniform", "--slo", "p95 < 250 ms", "-n", "20", "--simulate", "--jobs",
               "1")  # fmt: skip
    said = commands.interrupt("capacity", *command, at="2 probes: ", out=out)
    assert said.endswith(" probes are complete")
    assert len(json.loads((out / "capacity.json").read_text())["probes"]) >= 2


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["-p", "dto-ee", "--simulate"], 2, "Missing option '--slo'"),
    (["--slo", "p95 < 1 s", "--simulate"], 2, "Missing option '-p'"),
    (["-p", "dto-ee", "--slo", "p95 is low", "--simulate"], 2, "is no assertion"),
    (["-p", "dto-ee", "--slo", "nonsense < 1", "--simulate"], 2, "nonsense"),
    (["-p", "dto-ee", "--slo", "fidelity.verdict == held", "--simulate"], 2, "only live runs have"),
    (["-p", "dto-ee", "--slo", "p95 < 1 s", "--simulate", "--from", "0.5"], 2, "is not a factor"),
    (["-p", "dto-ee", "--slo", "p95 < 1 s", "--simulate", "--precision", "fine"], 2, "fine"),
    (["-p", "dto-ee", "--slo", "p95 < 1 s", "--simulate", "--from", "x2", "--to", "x1"], 3, "error: no loads from x2"),
    (["-p", "dto-ee", "--slo", "ngto: p95 < 1 s", "--simulate"], 3, "concerns ngto, which does not run"),
    (["-p", "dto-ee", "--slo", "p95 < 1 s", "--jobs", "2"], 2, "--jobs needs --simulate"),
    (["-p", "no-such", "--slo", "p95 < 1 s", "--simulate"], 3, "error: there is no policy 'no-such'"),
])  # fmt: skip
def test_bad_input_ends_with_one_clear_line(tmp_path, arguments, code, said):
    result = run(write(tmp_path), *arguments, "--out", tmp_path / "out")
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


SEED = SeedCapacity(1, 1.6, 1.64, 1.62, 7)
FOUND = PolicyCapacity("ours", "found", Estimate(1.62, 1.5, 1.7), 16.2, None, 1.5, 1.7, (SEED, SEED))
CAPACITY = Capacity(
    directory=Path("out"), topology="small", topology_sha256="", overrides=(), mode="simulated", duration_s=60.0,
    warm_up_s=5.0, objective=("p95 < 1 s",), paths=("delay_s.p95",), bounds=(1.0,), search_from=0.1, search_to=10.0,
    precision=0.025, offered_per_s=10.0, seeds=(1, 2), policies=("ours",), stated=("ours",), complete=True,
    table=(FOUND,), probes=(), notes=(),
)  # fmt: skip


def test_the_table_by_hand():
    assert capacity_lines(CAPACITY) == [
        ["policy", "load x", "tasks/s", "holds on all seeds at", "misses on all at", "probes"],
        ["ours", "1.62 [1.5, 1.7]", "16.2", "x1.5", "x1.7", "14"],
    ]
    none = replace(FOUND, load=None, offered_per_s=None, holds_on_all=None, misses_on_all=None)
    states = ("everywhere", "nowhere", "mixed", "unfinished")
    table = (FOUND, replace(FOUND, first_ahead_by=Estimate(0.1, 0.05, 0.2)), *(replace(none, state=s) for s in states))
    _, first, second, *others = capacity_lines(replace(CAPACITY, table=table))
    assert (first[-1], second[-1]) == ("-", "10.0 [5.0, 20.0]")
    assert [line[1] for line in others] == [
        "above 10: holds everywhere", "below 0.1: holds nowhere", "beyond the search on some seeds", "not known yet"
    ]  # fmt: skip
    assert others[0][2:5] == ["-", "-", "-"]


def test_the_progress_by_hand():
    now = [0.0]
    stream = io.StringIO()
    progress = PlainCapacity(stream, lambda: now[0])
    cell = Cell(PolicySpec("a", "a", None, "a", "a"), 0, 7, Path(),
                RunSettings(Path(), "", 8.0, simulate=True, backend="auto"), place="load x2")  # fmt: skip
    progress.planned(Path("out"), 0, 0, 2)
    progress.searching(1, 10, [Bracket("a", 1.0, None)])
    now[0] = 3.0
    progress.ended(cell)
    progress.searching(0, 5, [Bracket("a", 1.0, 2.0)])
    assert stream.getvalue().splitlines() == [
        "a search in out, 2 probes at a time",
        "round 1: 1 probe to run; a x1 to ?",
        "1 probe: load x2, a, seed 7 complete",
        "round 2: 0 probes to run; a x1 to x2; at most about 15 s left",
    ]
    assert in_words([]) == ""
    probes = Probes(lambda: 0.0)
    probes.begin(3)
    probes.end()
    assert probes.share == pytest.approx(1 / 3)
