"""examples/fashion: from a file of ten lines beside its network to a live run."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from node_agent.models import load_model
from node_agent.models.images import FASHION_MNIST

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fashion"
MOST_LINES = 10  # of a user, beyond the network itself
NETWORK = ("block", "head", "__init__")  # functions that make the network


def need_pictures() -> None:
    if not FASHION_MNIST.is_dir():
        assert not os.environ.get("CI"), "setup.sh --dev installs dataset-fashion-mnist"
        pytest.skip("needs the package dataset-fashion-mnist")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of the example, trained for one pass over the pictures."""
    need_pictures()
    copy = tmp_path_factory.mktemp("example")
    for file in EXAMPLE.glob("fashion.*"):
        shutil.copy(file, copy)
    printed_by(copy, "model", "train", "fashion.py:FashionNet", "--epochs", "1")
    return copy


def printed_by(folder: Path, *words: str) -> str:
    """Run a command in the example's folder, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def code_lines(source: str) -> set[int]:
    """The numbers of lines with code: no comments, no docstrings."""
    tree = ast.parse(source)
    documents = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    written = {number for number, line in enumerate(source.splitlines(), start=1) if line.split("#")[0].strip()}
    return written - documents


def test_the_user_writes_at_most_ten_lines_beyond_the_network():
    source = (EXAMPLE / "fashion.py").read_text(encoding="utf-8")
    network = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name in NETWORK
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    beyond = code_lines(source) - network
    (model_line,) = [line for line in (EXAMPLE / "fashion.yaml").read_text().splitlines() if line.startswith("model:")]
    assert yaml.safe_load(model_line) == {"model": {"file": "fashion.py:FashionNet", "cut": [1, 2, 3]}}
    assert 5 < len(beyond) + 1 <= MOST_LINES


def test_the_page_of_models_shows_this_file():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"```python\n{(EXAMPLE / 'fashion.py').read_text(encoding='utf-8')}```" in page


@pytest.mark.slow
def test_the_example_is_profiled_and_simulated(folder):
    report = json.loads(printed_by(folder, "model", "profile", "fashion.py:FashionNet", "--json"))
    accuracy = [stage["accuracy"] for stage in report["stages"]]
    assert accuracy[0] + 0.05 < accuracy[1] < accuracy[2]
    printed_by(folder, "simulate", "fashion.yaml", "--duration", "20s", "--monitor", "off", "--out", "simulated")
    summary = json.loads((folder / "simulated" / "summary.json").read_text())
    assert summary["tasks"]["lost"] == 0
    assert summary["accuracy"] > accuracy[0]


@pytest.mark.root
@pytest.mark.slow
def test_the_example_runs_live(folder):
    printed_by(folder, "run", "fashion.yaml", "--duration", "6s", "--monitor", "off", "--out", "live")
    summary = json.loads((folder / "live" / "summary.json").read_text())
    assert summary["tasks"]["completed"] == summary["tasks"]["offered"] > 40
    model = load_model(f"{folder / 'fashion.py'}:FashionNet")
    answers = model.scores((1, 2, 3))
    tasks = [json.loads(line) for line in (folder / "live" / "tasks.jsonl").read_text().splitlines()]
    for task in tasks:
        column = task["exit_stage"] - 1
        assert task["prediction"] == answers.prediction[task["sample"], column]
        assert np.isclose(task["confidence"], answers.confidence[task["sample"], column], atol=1e-4)


@pytest.mark.slow
def test_training_with_the_default_settings_gives_exits_that_differ(tmp_path):
    """A minute and a half of one processor."""
    need_pictures()
    shutil.copy(EXAMPLE / "fashion.py", tmp_path)
    printed_by(tmp_path, "model", "train", "fashion.py:FashionNet")
    accuracy = json.loads((tmp_path / "fashion-FashionNet" / "card.json").read_text())["accuracy"]["exit_table"]
    assert 0.65 < accuracy["1"] < 0.8 < accuracy["2"] < accuracy["3"]
    assert accuracy["3"] > 0.89
