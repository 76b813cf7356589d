"""Live runs of models that borrow: answers from a table, costs from a published architecture. With real bytes."""

import json
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from node_agent.models import load_bundle
from node_agent.models.published import published
from testbed.live.experiment import Experiment
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from tests.testbed import small
from tests.testbed.simulated import lines
from tests.testbed.tables import table_of_glyphs

pytestmark = [pytest.mark.root, pytest.mark.company, pytest.mark.usefixtures("leaves_nothing")]
MODEL = "{name: glyphs, cut: [3, 5]}"
THRESHOLD = 0.8
FIXED = small.SMALL.replace("policy: dto-ee", f"policy: {{name: uniform, parameters: {{threshold: {THRESHOLD}}}}}")
CAPACITY = {"near-1": 0.5e9, "near-2": 0.3e9, "core": 0.6e9}
LEAST_P = 0.01


def run(folder, text):
    """Run a topology live; return its outcome and the lines of its tasks."""
    topology = folder / "topology.yaml"
    topology.write_text(text)
    outcome = Experiment(plan_run(topology, out=folder / "run", seed=3), SilentObserver()).run()
    assert outcome.exit_reason == "completed"
    tasks = lines(outcome, "tasks.jsonl")
    assert len(tasks) > 50
    assert not any(task["forced_exit"] for task in tasks)
    assert all(task["status"] == "completed" for task in tasks)
    return outcome, tasks


def predicted(cut, tasks, criterion="confidence", threshold=THRESHOLD):
    """Exit stage and prediction of each task by the recorded answers, [N] each."""
    scores = load_bundle("glyphs").judged_by(criterion).scores(cut)
    samples = [task["sample"] for task in tasks]
    leaves = scores.confidence[samples] >= threshold
    leaves[:, -1] = True
    stage = leaves.argmax(axis=1)
    return stage + 1, scores.prediction[samples, stage]


def check_shares(tasks, cut, *, tests, **judged):
    """Exit shares and accuracy are those that the recorded answers predict for the samples of the run."""
    stages, predictions = predicted(cut, tasks, **judged)
    labels = load_bundle("glyphs").labels[[task["sample"] for task in tasks]]
    found = Counter(task["exit_stage"] for task in tasks)
    counts = [[found[stage], (stages == stage).sum()] for stage in range(1, len(cut) + 1)]
    right = [sum(task["correct"] for task in tasks), (predictions == labels).sum()]
    p_values = [
        stats.chi2_contingency(np.array(counts) + 1).pvalue,
        stats.fisher_exact([right, [len(tasks) - each for each in right]]).pvalue,
    ]
    assert min(p_values) * tests >= LEAST_P, (counts, right)
    return [(task["exit_stage"], task["prediction"]) for task in tasks] == list(zip(stages, predictions, strict=True))


def check_services(tasks, work_flop, *, faster=1):
    """Each service took work / capacity, and what this machine was late; `work_flop` takes stage and sample."""
    for task in tasks:
        for hop in task["hops"]:
            stage = 2 if hop["node"] == "core" else 1
            stated_s = work_flop(stage, task["sample"]) / CAPACITY[hop["node"]] / faster
            assert hop["finished_s"] - hop["started_s"] == pytest.approx(stated_s + hop["late_s"], abs=1e-6)


def test_a_table_answers_live_as_it_states(tmp_path):
    table_of_glyphs(tmp_path / "glyphs.npz", cut=(3, 5))
    outcome, tasks = run(tmp_path, FIXED.replace(MODEL, "{table: glyphs.npz}"))
    assert check_shares(tasks, (3, 5), tests=6), "a table's answers are exact"
    assert outcome.summary["answers"] == "recorded elsewhere"
    costs = load_bundle("glyphs").profiles((3, 5), "float32")
    check_services(tasks, lambda stage, _: costs[stage - 1].flop)


def test_work_and_bytes_follow_the_sample(tmp_path):
    """Half of the samples are three times as heavy: each one's service takes its own time, live as in the table."""
    flop = np.array([[10e6, 15e6]]) * np.where(np.arange(2000) % 2, 3.0, 1.0)[:, None]
    sizes = np.where(np.arange(2000) % 2, 6000, 2000)
    more = {"flop": flop, "input": ["uint8 ?", "float16 ?x8"], "length": np.stack([sizes, sizes // 16], axis=1)}
    table_of_glyphs(tmp_path / "glyphs.npz", cut=(3, 5), **more)
    outcome, tasks = run(tmp_path, FIXED.replace(MODEL, "{table: glyphs.npz}"))
    assert check_shares(tasks, (3, 5), tests=6)
    check_services(tasks, lambda stage, sample: flop[sample, stage - 1])
    # A machine that emulates exactly: service times and transfers of each task's own size.
    late = [task["delay_s"] - task["expected_delay_s"] for task in tasks]
    assert np.median(np.abs(late)) < 0.005
    assert outcome.summary["fidelity"]["compute_overruns"] < 0.1 * len(tasks)


def test_a_real_model_decides_while_the_costs_are_those_of_an_architecture(tmp_path):
    text = FIXED.replace(MODEL, "{name: glyphs, cut: [3, 5], cost: resnet101}")
    for slow, fast in (("0.5 GFLOP", "200 GFLOP"), ("0.3 GFLOP", "120 GFLOP"), ("0.6 GFLOP", "240 GFLOP"),
                       ("20 Mbit", "100 Mbit"), ("30 Mbit", "200 Mbit")):  # fmt: skip
        text = text.replace(slow, fast)
    outcome, tasks = run(tmp_path, text)
    assert check_shares(tasks, (3, 5), tests=6), "float32 activations: the very answers of the real model"
    assert (outcome.summary["costs"], outcome.summary.get("answers")) == ("resnet101", None)
    architecture = published("resnet101")
    stages = architecture.stages(architecture.default_cut(2))
    for task in tasks:
        first, *_ = task["hops"]
        # Its picture is 150 kB: at 100 Mbit/s it takes 12 ms, that of glyphs .1 ms.
        assert first["received_s"] - task["offers"][0][1] > stages[0].input_bytes * 8 / 100e6
    check_services(tasks, lambda stage, _: stages[stage - 1].flop, faster=400)


@pytest.mark.parametrize(("criterion", "threshold"), [("entropy", 0.75), ("margin", 0.7), ("patience", 0.9)])
def test_servers_score_live_as_the_table_says(tmp_path, criterion, threshold):
    """Under patience a task carries the prediction of stage 1 along; all leave at the last stage of two."""
    text = FIXED.replace(MODEL, f"{{name: glyphs, cut: [3, 5], criterion: {criterion}}}")
    outcome, tasks = run(tmp_path, text.replace(f"threshold: {THRESHOLD}", f"threshold: {threshold}"))
    assert check_shares(tasks, (3, 5), tests=6, criterion=criterion, threshold=threshold)
    assert outcome.summary["criterion"] == criterion


def test_a_run_with_three_stages_int8_and_patience(tmp_path):
    """Tasks carry two answers, and activations of a byte an element; few answers differ from those of float32."""
    text = FIXED.replace(MODEL, "{name: glyphs, cut: [2, 3, 5], criterion: patience, activation: int8}")
    text = text.replace("core: {stage: 2,", "core-2: {stage: 2, capacity: 0.6 GFLOP/s}\n  core: {stage: 3,")
    text = text.replace("{from: [near-1, near-2], to: core,", "{from: [near-1, near-2], to: core-2,")
    text = text.rstrip() + "\n  - {from: core-2, to: core, rate: 30 Mbit/s, delay: 5 ms}\n"
    outcome, tasks = run(tmp_path, text.replace(f"threshold: {THRESHOLD}", "threshold: 0.6"))
    check_shares(tasks, (2, 3, 5), tests=6, criterion="patience", threshold=0.6)
    stages, predictions = predicted((2, 3, 5), tasks, "patience", 0.6)
    found = [(task["exit_stage"], task["prediction"]) for task in tasks]
    same = sum(ours == theirs for ours, theirs in zip(found, zip(stages, predictions, strict=True), strict=True))
    assert same >= len(tasks) - 2
    assert {task["exit_stage"] for task in tasks} == {2, 3}
    assert outcome.report.verdict != "broken"
    profiles = load_bundle("glyphs").profiles((2, 3, 5), "int8")
    manifest = json.loads((outcome.run_directory / "manifest.json").read_text())
    assert [each["output_bytes"] for each in manifest["sub_models"]] == [each.output_bytes for each in profiles]
