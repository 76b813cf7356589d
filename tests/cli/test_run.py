"""Exit codes of `run` and `replay`, with and without --require-fidelity."""

import pytest

from cli.main import main
from cli.run import finish
from node_agent.errors import TestbedError
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.report import FidelityReport
from testbed.record.summary import summarise
from testbed.run.plan import Outcome

REASON = "30 % of the tasks were delayed by this machine (bound 25 %)"


def outcome(folder, verdict, exit_reason="completed"):
    report = FidelityReport(verdict, () if verdict == "held" else (REASON, "another"), Evidence())
    summary = summarise(
        [], policy="p", theta_s=2.0, warm_up_s=1.0, duplicates=0, stages=2, fidelity=report.as_dict()
    )  # fmt: skip
    return Outcome(folder, summary, exit_reason, report)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_emulation_fails_a_run_that_requires_it_after_its_summary(tmp_path, capsys, as_json):
    with pytest.raises(TestbedError) as caught:
        finish(outcome(tmp_path, "broken"), with_optimum=False, as_json=as_json, require_fidelity=True)
    assert caught.value.exit_code == 5
    assert str(caught.value) == f"the emulation did not hold: {REASON}"
    assert caught.value.hint
    printed = capsys.readouterr().out
    assert '"verdict": "broken"' in printed if as_json else f"broken: {REASON}" in " ".join(printed.split())


def test_a_run_of_which_nothing_can_be_said_fails_where_fidelity_is_required(tmp_path, capsys):
    with pytest.raises(TestbedError) as caught:
        finish(outcome(tmp_path, "unknown"), with_optimum=False, as_json=False, require_fidelity=True)
    assert caught.value.exit_code == 5
    assert str(caught.value) == f"whether the emulation held is unknown: {REASON}"
    assert f"unknown: {REASON}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verdict", ["held", "strained"])
def test_anything_better_is_enough(tmp_path, verdict):
    assert finish(outcome(tmp_path, verdict), with_optimum=False, as_json=True, require_fidelity=True) == 0


def test_without_the_option_it_is_only_told(tmp_path):
    assert finish(outcome(tmp_path, "broken"), with_optimum=False, as_json=True) == 0


def test_an_interrupted_run_ends_as_one(tmp_path):
    ended = outcome(tmp_path, "broken", "interrupted")
    assert finish(ended, with_optimum=False, as_json=True, require_fidelity=True) == 130


@pytest.mark.parametrize("words", [
    ["replay", "anywhere", "--simulate", "--require-fidelity"],
    ["compare", "any.yaml", "-p", "dto-ee", "--simulate", "--require-fidelity"],
])  # fmt: skip
def test_a_simulation_has_no_emulation_to_require(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "--require-fidelity needs" in capsys.readouterr().err
