"""topologies/dictionary.yaml: a language model, live and simulated, does what its tables say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from node_agent.models import Bundle, load_bundle

TOPOLOGY = Path(__file__).parents[3] / "topologies" / "dictionary.yaml"
CUT, THRESHOLD = (1, 2, 4), 0.8


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("glosses")


def ran(verb: str, folder: Path) -> tuple[dict, list[dict]]:
    """Run the topology with one threshold for all exits; return the summary and the tasks."""
    words = [verb, str(TOPOLOGY), "--duration", "20s", "--monitor", "off", "--out", str(folder)]
    words += ["--policy", f"fixed-threshold:threshold={THRESHOLD}"]
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tasks = [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]
    return json.loads((folder / "summary.json").read_text()), tasks


def assert_as_predicted(bundle, summary: dict, tasks: list[dict]) -> None:
    """No task is lost; shares, accuracy and answers are those of the tables."""
    assert summary["tasks"]["lost"] == 0
    assert summary["tasks"]["completed"] == summary["tasks"]["offered"] > 250
    share, accuracy = bundle.exit_table(CUT).outcome([THRESHOLD] * 2)
    counted = [sum(task["exit_stage"] == stage for task in tasks) / len(tasks) for stage in (1, 2, 3)]
    right = sum(bundle.labels[task["sample"]] == task["prediction"] for task in tasks) / len(tasks)
    for predicted, seen in zip([*share, accuracy], [*counted, right], strict=True):
        assert abs(predicted - seen) < 4 * np.sqrt(predicted * (1 - predicted) * (1 / len(tasks) + 1 / 2000))
    scores = bundle.scores(CUT)
    others = [task for task in tasks if task["prediction"] != scores.prediction[task["sample"], task["exit_stage"] - 1]]
    assert len(others) <= len(tasks) / 100  # activations travel in half precision


def test_the_topology_simulates_as_the_table_says(bundle, tmp_path):
    summary, tasks = ran("simulate", tmp_path / "run")
    assert_as_predicted(bundle, summary, tasks)


@pytest.mark.root
def test_the_topology_runs_live_as_the_table_says(bundle, tmp_path):
    summary, tasks = ran("run", tmp_path / "run")
    assert_as_predicted(bundle, summary, tasks)
