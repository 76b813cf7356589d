"""`frontier` as a user runs it: its output, its progress, and its exit codes."""

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cli.printing.many.frontier_lines import point_lines, sentences
from cli.printing.many.frontier_progress import PlainFrontier
from testbed.cells.intervals import Estimate
from testbed.frontier import Frontier
from testbed.frontier.frontier_result import BoundAt, FrontierPoint
from testbed.frontier.leads import EqualAccuracy, EqualCost, Lead
from tests.cli import commands
from tests.testbed.compare.topology import write

SHORT = ("--thetas", "0.2s,2", "--thresholds", "0.4,0.8", "-n", "2", "--simulate")
run = partial(commands.run, "frontier", timeout=200)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The result of the command, with a complete directory."""
    folder = tmp_path_factory.mktemp("frontier")
    command = (write(folder), "-p", "dto-ee,uniform", *SHORT, "--out", folder / "out")
    return command, run(*command)


def test_tables_and_sentences_on_stdout_and_progress_on_stderr(done):
    command, result = done
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["policy", "at", "mean", "delay", "ms", "accuracy", "%", "bound", "ms"]
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["dto-ee", "theta", "0.2"], ["dto-ee", "theta", "2"],
        ["uniform", "threshold", "0.4"], ["uniform", "threshold", "0.8"],
    ]  # fmt: skip
    assert any(line.startswith("At equal accuracy (") and " than uniform." in line for line in lines)
    assert any(line.startswith("At equal delay (") and " than the best plans of optimum, played." in line
               for line in lines)  # fmt: skip
    assert lines[-1] == f"files: {command[-1]}"
    progress = result.stderr.splitlines()
    assert progress[0].startswith(f"8 runs in {command[-1]}")
    assert "4 bounds of optimum" in progress
    assert progress[-1] == "4 of 4: bound known"
    assert any("left" in line for line in progress)
    assert "\x1b" not in result.stdout + result.stderr


def test_json_is_the_file(done):
    command, _ = done
    result = run(*command, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout) == json.loads((command[-1] / "frontier.json").read_text())
    assert "8 of them complete already" in result.stderr
    assert "4 bounds of optimum, 4 of them known already" in result.stderr


def test_ctrl_c_ends_it_with_how_to_go_on(tmp_path):
    out = tmp_path / "out"
    command = (write(tmp_path), "-p", "dto-ee,uniform", "-n", "50", "--simulate", "--jobs", "1")
    said = commands.interrupt("frontier", *command, at="1 of 700: ", out=out)
    assert said.endswith(" of 700 runs and 0 of 350 bounds are complete")


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["--simulate"], 2, "Missing option '-p'"),
    (["-p", "dto-ee", "--simulate", "--points", "0"], 2, "0 is not in the range"),
    (["-p", "dto-ee", "--simulate", "--thetas", "1s,soon"], 2, "'soon' is not a time"),
    (["-p", "dto-ee", "--simulate", "--thresholds", "0.5,high"], 2, "'high' is no number"),
    (["-p", "dto-ee", "--simulate", "--thresholds", "0.5,1.5"], 3, "error: threshold 1.5 is out of range"),
    (["-p", "dto-ee", "--simulate", "--against", "goodput"], 3, "error: no frontier against goodput"),
    (["-p", "dto-ee", "--jobs", "2"], 2, "--jobs needs --simulate"),
    (["-p", "dto-ee,no-such", "--simulate"], 3, "error: there is no policy 'no-such'"),
])  # fmt: skip
def test_bad_input_ends_with_one_clear_line(tmp_path, arguments, code, said):
    result = run(write(tmp_path), *arguments, "--out", tmp_path / "out")
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


POINT = FrontierPoint("ours", "theta", 2.0, 3, 0, 0, Estimate(0.85, 0.84, 0.86), Estimate(0.2, 0.19, 0.21), True, True)
FRONTIER = Frontier(
    directory=Path("out"), topology="small", topology_sha256="", overrides=(), mode="simulated", duration_s=60.0,
    warm_up_s=5.0, theta_s=2.0, figure="mean", seeds=(1, 2, 3), policies=("ours", "theirs"), stated=("ours", "theirs"),
    thetas_s=(2.0,), thresholds=(0.8,), complete=True, rows=(), leads=(), bounds=(), optima=(), notes=(),
    points=(
        POINT,
        replace(POINT, policy="theirs", parameter="threshold", value=0.8, on_best=False),
        FrontierPoint("theirs", "threshold", 0.9, 3, 2, 0, None, None),
        replace(POINT, policy="ends", parameter=None, value=None, on_best=False, on_frontier=False),
    ),
)  # fmt: skip


def test_the_table_by_hand():
    assert point_lines(FRONTIER) == [
        ["policy", "at", "", "mean delay ms", "accuracy %"],
        ["ours", "theta 2 s", "**", "200 [190, 210]", "85.0 [84.0, 86.0]"],
        ["theirs", "threshold 0.8", "*", "200 [190, 210]", "85.0 [84.0, 86.0]"],
        ["theirs", "threshold 0.9", "", "overloaded", "-"],
        ["ends", "", "", "200 [190, 210]", "85.0 [84.0, 86.0]"],
    ]
    bounded = replace(FRONTIER, bounds=(BoundAt(2.0, 1.5, None, None),), points=(replace(POINT, bound=0.1834),))
    assert [line[-1] for line in point_lines(bounded)] == ["bound ms", "183"]


def test_sentences_by_hand():
    ahead = EqualAccuracy(Estimate(0.125, 0.1, 0.15), Estimate(0.03), 0.79, 0.86)
    behind = EqualAccuracy(Estimate(-0.02, -0.05, 0.01), Estimate(-0.01), 0.8, 0.8)
    zero = EqualAccuracy(None, Estimate(3.0, 2.0, 4.0), 0.79, 0.86)
    gain = EqualCost(Estimate(0.012, 0.01, 0.013), 0.2, 0.42)
    leads = (
        Lead("theirs", 3, ahead, gain),
        Lead("slow", 3, behind, None, "the costs reached do not overlap on 3 of 3 seeds"),
    )
    assert list(sentences(replace(FRONTIER, leads=leads))) == [
        "At equal accuracy (79.0 to 86.0 %), ours is 12.5 % [10.0, 15.0] quicker than theirs.",
        "At equal delay (200 to 420 ms), ours is 1.2 points [1.0, 1.3] more accurate than theirs.",
        "At equal accuracy (80.0 %), ours is 2.0 % [-1.0, 5.0] slower than slow.",
        "ours against slow: the costs reached do not overlap on 3 of 3 seeds",
    ]
    missed = replace(FRONTIER, figure="missed", leads=(Lead("theirs", 3, zero, None),))
    assert list(sentences(missed)) == [
        "At equal accuracy (79.0 to 86.0 %), ours has 3 [2, 4] less missed deadlines than theirs."
    ]
    lower = replace(missed, leads=(Lead("theirs", 3, ahead, None),))
    assert list(sentences(lower)) == [
        "At equal accuracy (79.0 to 86.0 %), ours is 12.5 % [10.0, 15.0] lower in missed deadlines than theirs."
    ]


def test_the_progress_of_bounds():
    stream = io.StringIO()
    progress = PlainFrontier(stream)
    progress.bounding(4, 2)
    progress.bounded()
    progress.bounded()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "4 bounds of optimum, 2 of them known already"
    assert lines[1].startswith("3 of 4: bound known, about ")
    assert lines[2] == "4 of 4: bound known"
