"""The examples of docs/extending.md, docs/recipes.md and docs/models.md run as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from node_agent import exit_criteria
from testbed.topology.event_kinds.registry import AnyTimedEntry
from tests.testbed import small

ROOT = Path(__file__).parents[2]
EXTENDING, RECIPES, MODELS = (
    (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("extending", "recipes", "models")
)
COMMAND = "from cli.main import main; main()"


def example(name: str, page: str = EXTENDING) -> str:
    """The Python block that follows `<!-- example NAME -->`."""
    (code,) = re.findall(rf"<!-- example {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    return code


def simulate(folder: Path, topology: str, *options: str) -> Path:
    """Simulate a topology's text in a process that begins in `folder`; return the run directory."""
    (folder / "topology.yaml").write_text(topology, encoding="utf-8")
    command = [sys.executable, "-c", COMMAND, "simulate", "topology.yaml", "--out", "run", *options]
    paths = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def policy_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    (folder / "short_links.py").write_text(example("policy"), encoding="utf-8")
    policy = "short_links.py:ShortLinks:most_link_s=0.01"
    return simulate(folder, small.SMALL, "--policy", policy)


def test_the_policy_sends_nothing_over_long_links(policy_run):
    rows = [json.loads(line) for line in (policy_run / "decisions.jsonl").read_text().splitlines()]
    shares = [row["offload"] for row in rows if row["node"].startswith("cam")]
    assert shares
    # near-1 is 10 ms away, near-2 is 3 ms away.
    assert all(share["near-1"] == 0 and share["near-2"] == 1 for share in shares)


def test_the_policy_is_kept_with_the_run(policy_run):
    assert (policy_run / "policy.py").read_text(encoding="utf-8") == example("policy")
    assert json.loads((policy_run / "summary.json").read_text())["tasks"]["completed"] > 0


def test_tasks_within_a_deadline_are_counted(policy_run):
    words = [sys.executable, "-c", example("deadline", RECIPES), str(policy_run), "60"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    tasks = json.loads((policy_run / "summary.json").read_text())["tasks"]
    assert done.stdout.startswith(f"{tasks['completed']} of {tasks['offered']} tasks within 60 s, ")


def test_events_of_the_recipes_are_events():
    blocks = re.findall(r"```yaml\nevents:\n(.*?)```", RECIPES, re.DOTALL)
    entries = [entry for block in blocks for entry in yaml.safe_load(block)]
    assert len(entries) == 4
    for entry in entries:
        TypeAdapter(AnyTimedEntry).validate_python(entry)


def test_the_event_takes_a_node_down_and_up_again(tmp_path):
    shutil.copytree(ROOT / "testbed", tmp_path / "testbed", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "testbed/topology/event_kinds/node_outage.py"
    module.write_text(example("event"), encoding="utf-8")
    topology = small.SMALL + "events:\n  - {at: 25 %, node: near-2, outage: 3 s}\n"
    run = simulate(tmp_path, topology)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    switched = [(event["time_s"], event["kind"]) for event in events if event["node"] == "near-2"]
    assert (2.0, "node-down") in switched
    assert (5.0, "node-up") in switched


def test_the_criterion_scores_in_closed_form():
    names = {name: getattr(exit_criteria, name) for name in ("ExitCriterion", "Probabilities", "Scores")}
    exec(example("criterion"), names)
    criterion = names["Agreement"]()
    assert criterion.at_exit(np.array([[0.5, 0.3, 0.2], [1, 0, 0]])).tolist() == pytest.approx([0.38, 1.0])
    assert (criterion.name, criterion.measured_as, criterion.of_one_exit) == ("agreement", "agreement", True)


def test_definitions_are_text_and_texts_get_a_category():
    code = example("glosses", MODELS)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sample, *answers = done.stdout.splitlines()
    assert re.fullmatch(r"[a-z][a-z ,;()-]+ -> [a-z]+", sample)
    assert re.fullmatch(r"after layer 4: animal, [01]\.\d\d", answers[-1])
    assert len(answers) == 4
