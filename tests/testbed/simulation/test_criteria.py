"""Exit criteria in simulations: tasks leave where the stored scores say, and every policy works with few scores."""

from collections import Counter

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.exit_criteria import CRITERIA
from node_agent.models import load_bundle
from node_agent.policies import policy_names
from testbed.compare import compare
from testbed.topology import load_topology
from tests.testbed.simulated import QUICKSTART, lines, simulate

TEXT = QUICKSTART.read_text()
CUT = (2, 3, 5)
THRESHOLD = {"confidence": 0.8, "entropy": 0.75, "margin": 0.7, "patience": 0.6}


def fixed(threshold):
    return f"uniform:threshold={threshold}"


@pytest.mark.parametrize("name", CRITERIA)
def test_tasks_leave_where_the_stored_scores_say(tmp_path, name):
    """Servers score tasks on their way; the model scores whole tables. Both let each single task leave at one stage."""
    options = {"duration_s": 40.0, "policy": fixed(THRESHOLD[name]), "criterion": name}
    outcome = simulate(tmp_path, TEXT, **options)
    scores = load_bundle("glyphs").judged_by(name).scores(CUT)
    leaves = scores.confidence >= THRESHOLD[name]
    leaves[:, -1] = True
    stage = leaves.argmax(axis=1)
    tasks = lines(outcome, "tasks.jsonl")
    assert len(tasks) > 500
    for task in tasks:
        assert not task["forced_exit"]
        left = int(stage[task["sample"]])
        assert (task["exit_stage"], task["prediction"]) == (left + 1, scores.prediction[task["sample"], left])
    assert len(Counter(task["exit_stage"] for task in tasks)) == (2 if name == "patience" else 3)
    assert outcome.summary.get("criterion") == (None if name == "confidence" else name)


def test_shares_of_the_table_are_those_of_the_run(tmp_path):
    for name in ("margin", "patience"):
        options = {"duration_s": 60.0, "policy": fixed(THRESHOLD[name]), "criterion": name}
        tasks = lines(simulate(tmp_path / name, TEXT, **options), "tasks.jsonl")
        share, accuracy = load_bundle("glyphs").judged_by(name).exit_table(CUT).outcome([THRESHOLD[name]] * 2)
        found = np.bincount([task["exit_stage"] for task in tasks], minlength=4)[1:] / len(tasks)
        error = 4 * np.sqrt(0.25 * (1 / len(tasks) + 1 / 2000))
        np.testing.assert_allclose(found, share, atol=error)
        assert np.mean([task["correct"] for task in tasks]) == pytest.approx(accuracy, abs=error)


@pytest.mark.parametrize("policy", policy_names())
def test_every_policy_works_with_the_few_scores_of_patience(tmp_path, policy):
    outcome = simulate(tmp_path, TEXT, duration_s=15.0, policy=policy, criterion="patience")
    assert outcome.exit_reason == "completed"
    assert outcome.summary["tasks"]["lost"] == 0


def test_dto_ee_moves_thresholds_between_the_few_scores(tmp_path):
    """Candidates are scores that occur, 1/3 and 2/3, and never; a threshold that stays is the one that was stated."""
    outcome = simulate(tmp_path, TEXT, duration_s=60.0, criterion="patience")
    thresholds = {line["threshold"] for line in lines(outcome, "decisions.jsonl") if line["threshold"] is not None}
    known = [1 / 3, 2 / 3, 1.01, 0.8]
    assert all(min(abs(threshold - each) for each in known) < 1e-9 for threshold in thresholds), thresholds
    assert {task["exit_stage"] for task in lines(outcome, "tasks.jsonl")} >= {2, 3}


def test_the_topology_states_the_criterion_and_an_option_replaces_it(tmp_path):
    (tmp_path / "t.yaml").write_text(TEXT.replace("cut: [2, 3, 5],", "cut: [2, 3, 5], criterion: margin,"))
    assert load_topology(tmp_path / "t.yaml").resolve().model.criterion == "margin"
    assert load_topology(tmp_path / "t.yaml", criterion="entropy").resolve().model.criterion == "entropy"
    assert load_topology(tmp_path / "t.yaml", cut=(3, 4, 5)).resolve().model.criterion == "margin"
    with pytest.raises(InputError, match="unknown exit criterion 'gini'"):
        load_topology(tmp_path / "t.yaml", criterion="gini")


def test_a_comparison_does_not_mix_criteria(tmp_path):
    options = {"repeats": 1, "simulate": True, "duration_s": 10.0, "out": tmp_path / "out"}
    comparison = compare(QUICKSTART, ["uniform"], criterion="margin", **options)
    assert "criterion: margin" in comparison.notes
    with pytest.raises(InputError, match="holds a run with the exit criterion margin, and not confidence"):
        compare(QUICKSTART, ["uniform"], **options)
