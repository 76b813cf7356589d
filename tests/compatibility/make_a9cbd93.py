"""The script that made `a9cbd93/` with the code of that commit. It documents the files; later code cannot run it.

    git clone REPOSITORY /tmp/dtoee && cd /tmp/dtoee && git checkout a9cbd93 && ./setup.sh --dev
    cp -r LATER/tests/compatibility tests/ && .venv/bin/python -m tests.compatibility.make_a9cbd93

Everything is small: a network of 8 channels, runs of a few seconds. The live run needs root. The imports are those of
that commit, so types are not checked.
"""

# mypy: ignore-errors

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from node_agent.models import data, train
from node_agent.models.architecture import Architecture
from node_agent.models.bundle import BundleContent, write_bundle
from node_agent.models.tables import ExitScores, Samples

HERE = Path(__file__).parent / "a9cbd93"
ROOT = Path(__file__).parents[2]
SAMPLES = 60


def testbed(*words: str) -> None:
    """Run a command as a user types it."""
    subprocess.run([sys.executable, "-c", "from cli.main import main; main()", *words], cwd=HERE, check=True)


def make_bundle() -> None:
    """Make a tiny model, hardly trained, with few samples."""
    settings = train.TrainSettings(
        Architecture(channels=(4, 8, 8), strides=(2, 2, 1), exits=(1, 2, 3)),
        epochs=2, exit_weights=(0.5, 0.8, 1.0), threads=1,
    )  # fmt: skip
    originals = data.read_originals()
    split = data.split_by_group(data.group_alike(originals.images), 500, 500, settings.seed)
    content = train.build_content(originals, split, settings)
    few = slice(0, SAMPLES)
    samples = Samples(content.evaluation.images[few], content.evaluation.labels[few], content.evaluation.severity[few])
    scores = ExitScores(content.scores.confidence[few], content.scores.prediction[few])
    content = replace(content, evaluation=samples, scores=scores)
    assert isinstance(content, BundleContent)
    write_bundle(HERE / "bundle", content)


def make_runs() -> None:
    """Make run directories of every kind, and a comparison."""
    short = ("--duration", "6s", "--monitor", "off")
    testbed("simulate", "topologies/quickstart.yaml", *short, "--out", "runs/simulated")
    testbed("simulate", "topologies/commute.yaml", *short, "--out", "runs/traced")
    testbed("simulate", "topologies/campus.yaml", "--duration", "10s", "--monitor", "off", "--out", "runs/events")
    never = "fixed-threshold:threshold=1.5"  # a number above one meant never
    testbed("simulate", "topologies/quickstart.yaml", *short, "--policy", never, "--out", "runs/never")
    own = "policies/nearest_first.py:NearestFirst:sharpness=2"
    testbed("simulate", "topologies/quickstart.yaml", *short, "--policy", own, "--out", "runs/own-policy")
    testbed("simulate", "own-model.yaml", "--monitor", "off", "--out", "runs/own-model")
    testbed("run", "topologies/quickstart.yaml", *short, "--out", "runs/live")
    policies = "dto-ee,computing-first"
    testbed("compare", "topologies/quickstart.yaml", "--simulate", "--duration", "6s", "-p", policies, "-n", "2",
            "--out", "comparison")  # fmt: skip


def main() -> None:
    """Make all files of the fixture."""
    for name in ("bundle", "topologies", "traces", "runs", "comparison"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    shutil.copytree(ROOT / "topologies", HERE / "topologies", ignore=shutil.ignore_patterns("*.pyc", "__pycache__"))
    shutil.copytree(ROOT / "traces/links", HERE / "traces/links")
    make_bundle()
    make_runs()
    for cache in HERE.rglob("__pycache__"):
        shutil.rmtree(cache)


if __name__ == "__main__":
    main()
