"""`compare` as a user runs it: its output, and its exit codes."""

import io
import json
import os
import pty
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cli.printing.columns import aligned
from cli.printing.many.comparison_lines import advantage_lines, figure_lines, recovery_lines
from cli.printing.many.progress_lines import PlainProgress, Tally
from testbed.cells.cell import RunSettings
from testbed.cells.policy_specs import PolicySpec
from testbed.compare import Advantage, Cell, Estimate, PolicyFigures, PolicyRecoveries
from testbed.compare.recovery import Recovery
from tests.cli import commands
from tests.cli.commands import CODE, ROOT
from tests.testbed.compare.topology import write

SETTINGS = RunSettings(Path(), "", 8.0, simulate=True, backend="auto")
run = partial(commands.run, "compare")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The result of the command, with a complete directory."""
    folder = tmp_path_factory.mktemp("compare")
    command = (write(folder), "-p", "dto-ee,computing-first", "-n", "2", "--simulate", "--out", folder / "out")
    return command, run(*command)


def test_data_on_stdout_and_progress_on_stderr(done):
    command, result = done
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["policy", "mean", "delay", "ms"]
    assert [line.split()[0] for line in lines[1:3]] == ["dto-ee", "computing-first"]
    assert lines[1].count("[") == 4
    assert "What dto-ee is ahead by, on the same workloads (negative: behind)" in lines
    assert "note: intervals from 2 repeats are rough, and rather too narrow" in lines
    assert lines[-1] == f"files: {command[-1]}"
    progress = result.stderr.splitlines()
    assert progress[0].startswith(f"4 runs in {command[-1]}")
    assert progress[-1].startswith("4 of 4: ")
    assert "\x1b" not in result.stdout + result.stderr


def test_json_is_the_file(done):
    command, _ = done
    result = run(*command, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout) == json.loads((command[-1] / "compare.json").read_text())
    assert "4 of them complete already" in result.stderr


def test_on_a_terminal_the_tables_are_drawn(done):
    command, _ = done
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "130"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "compare", *map(str, command)],
        cwd=ROOT, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert process.wait(30) == 0
    assert b"\x1b[" in text
    shown = text.decode()
    assert "computing-first" in shown
    assert "───" in shown


def test_ctrl_c_ends_it_with_how_to_go_on(tmp_path):
    out = tmp_path / "out"
    command = (write(tmp_path), "-p", "dto-ee,uniform", "-n", "500", "--simulate", "--jobs", "1")
    said = commands.interrupt("compare", *command, at="1 of 1000: ", out=out)
    assert said.endswith(" of 1000 runs are complete")
    assert (out / "compare.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--simulate"], 2, "Missing option '-p'"),
        (["-p", "dto-ee", "--simulate", "-n", "0"], 2, "0 is not in the range"),
        (["-p", "dto-ee", "--simulate", "--duration", "soon"], 2, "'soon' is not a time"),
        (["-p", "dto-ee", "--simulate", "--jobs", "0"], 2, "0 is not in the range"),
        (["-p", "dto-ee", "--jobs", "2"], 2, "--jobs needs --simulate"),
        (["-p", "dto-ee,no-such", "--simulate"], 3, "error: there is no policy 'no-such'"),
        (["-p", "dto-ee,", "--simulate"], 3, "error: the list of policies has an empty entry"),
        (["-p", "dto-ee", "-p", "dto-ee", "--simulate"], 3, "error: policy dto-ee is listed twice"),
    ],
)
def test_bad_input_ends_with_one_clear_line(tmp_path, arguments, code, said):
    result = run(write(tmp_path), *arguments, "--out", tmp_path / "out")
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_foreign_files_and_a_missing_topology(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    result = run(write(tmp_path), "-p", "dto-ee", "--simulate", "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.splitlines()[0].endswith("is not empty and holds no comparison (compare.json)")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    result = run(tmp_path / "none.yaml", "-p", "dto-ee", "--simulate")
    assert result.returncode == 3
    assert "none.yaml: cannot be read" in result.stderr


def figures(policy, **fields):
    values = {
        "policy": policy, "runs": 3, "overloaded_runs": 0, "offered": 300, "lost": 2,
        "delay_mean_s": Estimate(0.1234, 0.1, 0.15), "delay_p95_s": Estimate(0.5, 0.4, 0.6),
        "accuracy": Estimate(0.877, 0.87, 0.88), "utility_s": Estimate(1.63, 1.5, 1.7),
        "exit_share": (Estimate(0.5, 0.4, 0.6), Estimate(0.5, 0.4, 0.6)), "first_ahead_by": None,
        "goodput": Estimate(0.871, 0.86, 0.88),
    }  # fmt: skip
    return PolicyFigures(**values | fields)


OTHERS = ["500 [400, 600]", "87.7 [87.0, 88.0]", "50 / 50", "1.630 [1.500, 1.700]"]


@pytest.mark.parametrize(("lost", "refused", "heads"), [
    (0, 0, ["lost"]), (1, 0, ["lost", "goodput %"]), (0, 7, ["lost", "refused", "goodput %"]),
])  # fmt: skip
def test_goodput_stands_beside_losses_and_refusals(lost, refused, heads):
    head, ours, theirs = figure_lines([figures("ours", lost=lost, refused=refused), figures("theirs", lost=0)])
    assert head[6:] == [name if name == "goodput %" else f"{name}, all runs" for name in heads]
    cells = {"lost": (str(lost), "0"), "refused": (str(refused), "0"), "goodput %": ("87.1 [86.0, 88.0]",) * 2}
    assert (ours[6:], theirs[6:]) == ([cells[name][0] for name in heads], [cells[name][1] for name in heads])


def test_the_tables_by_hand():
    gone = dict.fromkeys(("delay_mean_s", "delay_p95_s", "accuracy", "utility_s", "goodput"))
    ahead = Advantage(Estimate(0.254, -0.1, 0.3), Estimate(0.01, 0.005, 0.02), Estimate(0.2, None, None))
    table = [
        figures("ours"),
        figures("theirs", first_ahead_by=ahead, delay_mean_s=Estimate(0.2)),
        figures("flooded", overloaded_runs=1, **gone),
    ]
    assert figure_lines(table)[1:] == [
        ["ours", "123 [100, 150]", *OTHERS, "2", "87.1 [86.0, 88.0]"],
        ["theirs", "200", *OTHERS, "2", "87.1 [86.0, 88.0]"],
        ["flooded", "overloaded", "-", "-", "-", "-", "2", "-"],
    ]
    assert advantage_lines(table)[1:] == [
        ["theirs", "25.4 [-10.0, 30.0]", "1.0 [0.5, 2.0]", "0.200"],
        ["flooded", "overloaded", "-", "-"],
    ]
    assert figure_lines([figures("ours", runs=1)])[0][6:] == ["lost", "goodput %"]
    assert aligned([["policy", "lost"], ["a", "12"]]) == ["policy  lost", "a         12"]


def test_the_advantage_in_goodput_stands_where_tasks_were_refused():
    ahead = Advantage(*[Estimate(0.1)] * 3, goodput_gain=Estimate(-0.052, -0.06, -0.04))
    old = Advantage(*[Estimate(0.1)] * 3)
    table = [figures("ours"), figures("theirs", first_ahead_by=ahead), figures("old", first_ahead_by=old)]
    assert {len(line) for line in advantage_lines(table)} == {4}
    table += [figures("flooded", overloaded_runs=1, refused=3)]
    cells = [line[4:] for line in advantage_lines(table)]
    assert cells == [["goodput higher by points"], ["-5.2 [-6.0, -4.0]"], ["-"], ["-"]]


def test_recoveries_by_hand():
    found = Recovery(
        at_s=30.0, what="x", until_s=60.0, window_s=2.0, before_s=0.2, peak_s=1.5, settled_s=0.3, mean_s=0.5,
        tolerance_s=0.06, recovered_after_s=4.25, paid_task_s=61.4, paid_per_task_s=0.5, extra_task_s=99.0, lost=0.5,
    )  # fmt: skip
    late = dict.fromkeys(("recovered_after_s", "paid_task_s", "paid_per_task_s"))
    fields = {name: getattr(found, name) for name in Recovery.__slots__}
    several = [
        PolicyRecoveries("quick", False, (found,)),
        PolicyRecoveries("late", False, (Recovery(**fields | late),)),
        PolicyRecoveries("short", False, (Recovery(**fields | late | {"tolerance_s": None}),)),
        PolicyRecoveries("flooded", True, (found,)),
    ]
    assert [line[4:7] for line in recovery_lines(several, 0)[1:]] == [
        ["4.2", "61", "99"],
        ["not in time", "-", "99"],
        ["too short", "-", "99"],
        ["overloaded", "-", "99"],
    ]
    assert recovery_lines(several, 0)[1][1:4] == ["200", "1500", "300"]
    assert recovery_lines(several, 0)[1][-1] == "0.5"
    several[1] = PolicyRecoveries("late", False, (Recovery(**fields | late | {"refused": 12.25}),))
    assert [line[-2:] for line in recovery_lines(several, 0)[:3]] == [
        ["lost", "refused"], ["0.5", "0"], ["0.5", "12.2"]
    ]  # fmt: skip


def test_the_remaining_time():
    now_s = [0.0]
    tally = Tally(lambda: now_s[0])
    cells = [Cell(PolicySpec("p", "p", None, "p", "p"), 0, seed, Path(), SETTINGS) for seed in range(4)]
    tally.plan(6, 2)
    assert (tally.share, tally.left()) == (pytest.approx(2 / 6), "")
    now_s[0] = 30.0
    tally.end(cells[0])
    tally.advance(cells[1], 0.5)
    assert tally.left() == "about 50 s left"  # 1.5 runs in 30 s, 2.5 are left
    now_s[0] = 3000.0
    assert tally.left() == "about 83 min left"
    for cell in cells[1:]:
        tally.end(cell)
    assert (tally.share, tally.left(), tally.complete) == (1.0, "", 6)


def test_plain_progress_outlives_its_reader():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(text)

    progress = PlainProgress(Closed())
    progress.planned(Path("out"), 2, 0, 1)
    progress.begun(Cell(PolicySpec("p", "p", None, "p", "p"), 0, 1, Path(), SETTINGS))
