"""`--assert` as a user gives it: exit codes, the table, JSON, and what is refused before anything runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.printing.assertion_lines import finding_lines
from cli.printing.columns import aligned
from cli.printing.many.comparison_lines import deadline_lines
from cli.run import finish
from testbed.assertions import AssertionsMissed, findings_of, parse_assertion
from testbed.compare import Advantage, Estimate, PolicyFigures
from testbed.fidelity.report import EmulationBroken
from tests.cli.called import exit_code_of
from tests.cli.test_run import outcome
from tests.testbed import small

ROOT = Path(__file__).parents[2]
DUE = small.SMALL.replace("rate: 5 /s", "rate: 5 /s, deadline: 1 s")


WRONG_LATER = """
from node_agent.policies.base import ProportionalPolicy

class Wrong(ProportionalPolicy):
    calls = 0

    def weights(self, prospect):
        Wrong.calls += 1
        return prospect.link_s if Wrong.calls < 10 else None
"""


@pytest.fixture
def topology(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(DUE)
    return str(path)


def bounds(*texts):
    return [word for text in texts for word in ("--assert", text)]


class TestOneRun:
    def test_all_hold(self, topology, tmp_path, capsys):
        texts = bounds("lost == 0", "in_time >= 50 %", "p95 < 10 s")
        assert exit_code_of("simulate", topology, "--monitor", "off", "--out", str(tmp_path / "run"), *texts) == 0
        printed = capsys.readouterr()
        table = printed.out[printed.out.index("Assertions\n") :].splitlines()
        assert table[1].split() == ["figure", "value", "bound", "outcome", "by"]
        assert table[2].split() == ["lost", "0", "==", "0", "holds", "0"]
        assert [line.split()[0] for line in table[2:5]] == ["lost", "in_time", "p95"]
        assert printed.err == ""

    def test_one_is_missed(self, topology, tmp_path, capsys):
        texts = bounds("lost == 0", "mean < 1 ms", "in_time < 50 %")
        assert exit_code_of("simulate", topology, "--monitor", "off", "--out", str(tmp_path / "run"), *texts) == 5
        printed = capsys.readouterr()
        assert printed.out.count("MISSED") == 2
        assert printed.err.startswith("error: 2 of 3 assertions missed: mean < 1 ms (")
        assert (tmp_path / "run/summary.json").exists()

    def test_json_has_the_outcomes(self, topology, tmp_path, capsys):
        out = ("--monitor", "off", "--json", "--out", str(tmp_path / "run"))
        assert exit_code_of("simulate", topology, *out, *bounds("missed == 0", "p99 < 1 us")) == 5
        printed = json.loads(capsys.readouterr().out)
        assert [(one["figure"], one["holds"]) for one in printed["assertions"]] == [("missed", True), ("p99", False)]
        assert printed["assertions"] == json.loads((tmp_path / "run/summary.json").read_text())["assertions"]

    def test_a_replay_asserts_anew(self, topology, tmp_path, capsys):
        first, second = str(tmp_path / "first"), str(tmp_path / "second")
        assert exit_code_of("simulate", topology, "--monitor", "off", "--out", first, *bounds("mean < 1 ms")) == 5
        replay = ("replay", first, "--simulate", "--monitor", "off", "--out")
        assert exit_code_of(*replay, second) == 0
        assert exit_code_of(*replay, str(tmp_path / "third"), *bounds("mean > 1 ms", "mean < 1 ms")) == 5
        assert "1 of 2 assertions missed" in capsys.readouterr().err

    def test_a_figure_that_the_run_has_not_is_missed(self, topology, tmp_path, capsys):
        texts = bounds("exit_share.3 < 100 %")
        assert exit_code_of("simulate", topology, "--monitor", "off", "--out", str(tmp_path / "run"), *texts) == 5
        assert "exit_share.3" in capsys.readouterr().out


class TestOtherEnds:
    MISSED = (parse_assertion("goodput > 0"),)

    def test_a_run_that_did_not_hold_says_so_first(self, tmp_path):
        options = {"with_optimum": False, "as_json": False, "assertions": self.MISSED}
        with pytest.raises(EmulationBroken):
            finish(outcome(tmp_path, "broken"), require_fidelity=True, **options)
        with pytest.raises(AssertionsMissed):
            finish(outcome(tmp_path, "broken"), **options)

    def test_an_interrupted_run_ends_as_one_and_shows_its_outcomes(self, tmp_path, capsys):
        ended = outcome(tmp_path, "held", "interrupted")
        assert finish(ended, with_optimum=False, as_json=False, assertions=self.MISSED) == 130
        assert "MISSED" in capsys.readouterr().out

    def test_ctrl_c_in_a_simulation(self, tmp_path):
        path = tmp_path / "long.yaml"
        path.write_text(small.SMALL.replace("duration: 8 s", "duration: 20000 s"))
        words = [
            "simulate",
            str(path),
            "--monitor",
            "plain",
            "--out",
            str(tmp_path / "run"),
            *bounds("mean < 1 ns".replace("ns", "us")),
        ]
        code = "from cli.main import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while "start" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "MISSED" in out
        assert json.loads((tmp_path / "run/summary.json").read_text())["assertions"][0]["holds"] is False

    def test_a_run_that_fails_ends_with_1(self, topology, tmp_path, capsys):
        policy = tmp_path / "wrong.py"
        policy.write_text(WRONG_LATER)
        words = ("--policy", f"{policy}:Wrong", "--monitor", "off", "--out", str(tmp_path / "run"))
        assert exit_code_of("simulate", topology, *words, *bounds("mean < 1 us")) == 1
        assert "assertion" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["simulate", *bounds("p59 < 1 s")], "there is no figure 'p59'"),
        (["simulate", *bounds("accurcy > 1 %")], "did you mean accuracy?"),
        (["simulate", *bounds("p95 < 1 J")], "'J' is not a unit of time"),
        (["simulate", *bounds("p95")], "'p95' is no assertion"),
        (["simulate", *bounds("dto-ee: p95 < 1 s")], "a run has one policy; leave out its name"),
        (["simulate", *bounds("fidelity.verdict == held")], "only live runs have fidelity.verdict"),
        (["run", *bounds("fidelity.actions > 1")], "only simulated runs have fidelity.actions"),
        (["run", *bounds("p95 > 1 lightyear")], "is not a unit of time"),
        (["compare", "-p", "dto-ee,ngto", "--simulate", *bounds("ntgo: p95 < 1 s")], "did you mean ngto?"),
        (
            ["compare", "-p", "dto-ee", "--simulate", *bounds("setup_s.model < 1 s")],
            "only live runs have setup_s.model",
        ),
        (["compare", "-p", "dto-ee", *bounds("fidelity.oracle == true")], "only simulated runs have fidelity.oracle"),
    ],
)
def test_what_cannot_be_asserted_is_a_usage_error_before_anything_runs(words, said, topology, tmp_path, capsys):
    verb, *options = words
    assert exit_code_of(verb, topology, "--out", str(tmp_path / "run"), *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert os.listdir(tmp_path) == ["small.yaml"]


def test_a_replay_knows_its_kind_of_run(capsys):
    assert exit_code_of("replay", "anywhere", "--simulate", *bounds("fidelity.verdict == held")) == 2
    assert "only live runs have fidelity.verdict" in " ".join(capsys.readouterr().err.split())


class TestComparisons:
    def test_every_policy_or_one(self, topology, tmp_path, capsys):
        words = ("compare", topology, "-p", "uniform,dto-ee:label=ours", "-n", "1", "--simulate", "--jobs", "1")
        texts = bounds("lost == 0", "ours: in_time > 1 %", "uniform: mean < 1 ms")
        assert exit_code_of(*words, "--out", str(tmp_path / "out"), *texts) == 5
        printed = capsys.readouterr()
        table = [line.split() for line in printed.out[printed.out.index("Assertions\n") :].splitlines()[1:6]]
        assert [(line[0], line[1]) for line in table] == [
            ("policy", "figure"), ("uniform", "lost"), ("uniform", "mean"), ("ours", "lost"), ("ours", "in_time"),
        ]  # fmt: skip
        assert printed.err.splitlines()[-1].startswith("error: 1 of 4 assertions missed: uniform: mean < 1 ms (")
        assert "Deadlines: tasks in time" in printed.out
        assert exit_code_of(*words, "--out", str(tmp_path / "out"), "--json", *bounds("ours: lost == 0")) == 0
        printed = json.loads(capsys.readouterr().out)
        assert [(one["policy"], one["holds"]) for one in printed["assertions"]] == [("ours", True)]

    def test_the_table_of_deadlines(self):
        figures = {"in_time": Estimate(0.9, 0.85, 0.95), "correct_in_time": Estimate(0.8), "missed": Estimate(12.0)}
        ahead = Advantage(Estimate(0.1), Estimate(0.0), Estimate(0.1), None, Estimate(0.025))
        ours = PolicyFigures("ours", 2, 0, 200, 0, None, None, None, None, (), None, figures=figures)
        theirs = PolicyFigures("theirs", 2, 2, 200, 0, None, None, None, None, (), ahead)
        lines = deadline_lines([ours, theirs])
        assert lines == [
            ["policy", "in time %", "right and in time %", "missed, a run", "ours ahead by points"],
            ["ours", "90.0 [85.0, 95.0]", "80.0", "12", ""],
            ["theirs", "-", "-", "-", "2.5"],
        ]
        assert [line[:4] for line in deadline_lines([ours])] == [line[:4] for line in lines[:2]]
        assert len(deadline_lines([ours])[0]) == 4


def test_the_table_is_aligned():
    summary = {"policy": "p", "delay_s": {"p95": 0.7}, "tasks": {"lost": 0}, "accuracy": None}
    assertions = [parse_assertion(text) for text in ("p95 < 600 ms", "lost == 0", "accuracy >= 85 %")]
    assert aligned(finding_lines(findings_of(assertions, summary))) == [
        "figure     value     bound  outcome      by",
        "p95       700 ms  < 600 ms   MISSED  100 ms",
        "lost           0      == 0    holds       0",
        "accuracy    none   >= 85 %   MISSED       -",
    ]
