"""`agree` as a user runs it: its output, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.printing.agreement_lines import decision_lines, print_agreement, result_lines, step_lines, verdict_lines
from testbed.agree import Agreement, Apart, ComparedFigure, Decisions, NodeDecisions, Repeat
from testbed.agree.resampling import Single
from testbed.compare import Estimate
from tests.testbed.agree.sides import UNIFORM, slower
from tests.testbed.agree.test_repeats import gathered
from tests.testbed.compare.topology import write
from tests.testbed.conftest import leaves_nothing

__all__ = ["leaves_nothing"]

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "agree", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def agreement(tmp_path_factory):
    """Simulated runs in place of live ones, in which near-1 takes 1.2 times as long; the second did not hold."""
    return gathered(tmp_path_factory.mktemp("agree"), ["held", "broken"], UNIFORM, live=slower(1.2))


def test_the_verdict_stands_on_top(agreement, capsys):
    print_agreement(agreement)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "Run        small under uniform, seed 1, 2, 24 s each",
        "Fidelity   the live run (seed 1): held",
        "           the live run (seed 2): broken",
        "             it was late",
        "",
    ]
    assert "note: left out of the figures, because the live run did not hold: seed 2" in lines
    assert lines[-1] == f"files: {agreement.directory}"
    heads = [line.split()[0] for line in lines if line.startswith(("figure ", "step ", "node "))]
    assert heads == ["figure", "step", "node"]


def figure(live, simulated, difference=None, ratio=None, basis="slots"):
    return ComparedFigure(live, simulated, difference, ratio, basis, 20)


def by_hand(**fields):
    """An agreement on a network of one stage, with figures that are easy to recognise."""
    figures = {
        "delay_mean_s": figure(0.21, 0.2, Estimate(0.01, 0.004, 0.016), Estimate(1.05, 1.02, 1.08)),
        "delay_p50_s": figure(0.15, 0.15, Estimate(0.0), Estimate(1.0)),
        "delay_p95_s": figure(None, 0.5),
        "delay_p99_s": figure(None, None),
        "accuracy": figure(0.871, 0.868, Estimate(0.003, -0.001, 0.007), Estimate(1.003)),
        "exit_share_1": figure(1.0, 1.0, Estimate(0.0), Estimate(1.0)),
        "lost": figure(2.0, 0.0, Estimate(2.0, 1.0, 4.0)),
        "refused": figure(0.0, 0.0, Estimate(0.0)),
        "goodput": figure(0.861, 0.868, Estimate(-0.007)),
        "offering_s": figure(0.0001, 0.0, Estimate(0.0001, 0.00005, 0.00015)),
        "gap_first_slots": figure(0.031, 0.024, Estimate(0.007, 0.004, 0.01), Estimate(1.3), "devices"),
        "gap": figure(0.0, 0.0, Estimate(0.0)),
    }
    for step in ("transfer", "queue", "service", "sending", "return"):
        figures[f"stage_1_{step}_s"] = figure(0.012, 0.01, Estimate(0.002, 0.001, 0.003), Estimate(1.2))
    row = None  # not printed
    values = {
        "directory": Path("runs/x"), "topology": "tiny", "topology_sha256": "", "policy": "dto-ee", "duration_s": 60.0,
        "warm_up_s": 6.0, "slot_s": 3.0, "stages": 1, "seeds": (4,), "complete": True,
        "repeats": (Repeat(4, "held", (), True, row, row),), "figures": figures, "decisions": None,
    }  # fmt: skip
    return Agreement(**values | fields)


def test_the_tables_by_hand():
    assert result_lines(by_hand())[1:] == [
        ["mean delay ms", "210.0", "200.0", "10.0 [4.0, 16.0]", "1.050 [1.020, 1.080]"],
        ["p50 delay ms", "150.0", "150.0", "0.0", "1.000"],
        ["p95 delay ms", "-", "500.0", "-", "-"],
        ["p99 delay ms", "-", "-", "-", "-"],
        ["accuracy %", "87.1", "86.8", "0.3 [-0.1, 0.7]", ""],
        ["exits at stage 1 %", "100.0", "100.0", "0.0", ""],
        ["certified gap %, first slots", "3.10", "2.40", "0.70 [0.40, 1.00]", ""],
        ["certified gap %, all slots", "-", "-", "-", ""],
        ["lost tasks", "2", "0", "2 [1, 4]", ""],
    ]
    assert step_lines(by_hand())[1:3] == [
        ["offering", "0.10", "0.00", "0.10 [0.05, 0.15]"],
        ["stage 1 transfer", "12.00", "10.00", "2.00 [1.00, 3.00]"],
    ]
    assert len(step_lines(by_hand())) == 7
    assert list(verdict_lines(by_hand())) == [
        ("Run", "tiny under dto-ee, seed 4, 60 s each"),
        ("Fidelity", "the live run: held"),
    ]


def test_refusals_have_lines_of_their_own():
    agreement = by_hand()
    agreement.figures["refused"] = figure(31.0, 30.0, Estimate(1.0, -2.0, 4.0))
    assert result_lines(agreement)[-3:] == [
        ["lost tasks", "2", "0", "2 [1, 4]", ""],
        ["refused tasks", "31", "30", "1 [-2, 4]", ""],
        ["goodput %", "86.1", "86.8", "-0.7", ""],
    ]


def test_the_nodes_furthest_apart_are_shown():
    def node(name, probabilities, thresholds=None):
        def apart(mean):
            return None if mean is None else Apart(Single(Estimate(mean, 0.0, 0.5), "slots", 9), 0.05, None)

        return NodeDecisions(name, 9, apart(probabilities), apart(thresholds))

    nodes = [node(f"cam-{number}", number / 100) for number in range(9)] + [node("near", 0.2, 0.01), node("core", None)]
    lines = decision_lines(Decisions(node("all", 0.03, 0.01), tuple(nodes)))
    assert [line[0] for line in lines] == ["node", "all", "near", "cam-8", "cam-7", "cam-6", "cam-5"]
    assert lines[2] == ["near", "20.0 [0.0, 50.0]", "5.0", "-", "0.010 [0.000, 0.500]", "0.050", "-"]
    assert lines[3][4:] == ["-", "-", "-"]
    assert decision_lines(Decisions(node("all", None), (node("core", None),))) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-n", "0"], "0 is not in the range"),
        (["--duration", "soon"], "'soon' is not a time"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--backend", "magic"], "'magic' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path, arguments, said):
    result = run(write(tmp_path), *arguments, "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.root
def test_bad_input_ends_with_3_and_one_clear_line(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    for arguments, said in (
        ([tmp_path / "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        ([write(tmp_path), "--policy", "no-such"], "there is no policy 'no-such'"),
        ([write(tmp_path), "--out", tmp_path / "out"], "out is not empty and holds no agreement (agree.json)"),
    ):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (3, "")
        error, hint = result.stderr.splitlines()
        assert error.startswith("error: ")
        assert said in error
        assert hint.startswith("hint: ")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("leaves_nothing")
def test_the_command(tmp_path):
    """Prints a live run and its simulation as tables, then as JSON; a broken verdict ends with exit code 5."""
    command = (write(tmp_path), "--duration", "8", "--policy", "uniform", "--out", tmp_path / "out")
    result = run(*command)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "Run        small under uniform, seed 7, 8 s each"
    assert lines[1].startswith("Fidelity   the live run: ")
    assert lines[-1] == f"files: {tmp_path / 'out'}"
    assert "\x1b" not in result.stdout + result.stderr
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        f"1 run in {tmp_path / 'out'}", "begins", "1 of 1",
    ]  # fmt: skip
    again = run(*command, "--json")
    assert again.returncode == 0
    assert "1 of them complete already" in again.stderr
    assert json.loads(again.stdout) == json.loads((tmp_path / "out" / "agree.json").read_text())
    summary = tmp_path / "out" / "seed-7" / "live" / "summary.json"
    content = json.loads(summary.read_text())
    content["fidelity"]["verdict"] = "broken"
    summary.write_text(json.dumps(content))
    broken = run(*command, "--require-fidelity")
    assert broken.returncode == 5
    assert broken.stdout.splitlines()[1] == "Fidelity   the live run: broken"
    assert "error: the emulation did not hold in 1 of 1 runs: seed-7/live" in broken.stderr
