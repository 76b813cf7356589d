"""A small training by the way that `model train glosses` takes, with a few of its samples."""

from dataclasses import replace

import numpy as np
import pytest

from node_agent.models import load_bundle
from node_agent.models.bundles.writing import write_bundle
from node_agent.models.families.glosses import GlossesNetwork
from node_agent.models.networks.scoring import exit_scores
from node_agent.models.training.tasks import job_for
from node_agent.models.training.train import build_content

COUNTS = {"validation": 20, "calibration": 40, "exit_table": 60, "evaluation": 40}


def few(samples, count: int):
    return samples.chosen(np.random.default_rng(1).permutation(len(samples))[:count])


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):  # noqa: ARG001 - skips where WordNet is missing
    """The same training twice: contents, and the bundle of the second."""
    job = job_for("glosses", epochs=2)
    whole = GlossesNetwork.training_data(job.task.recipe)
    learned = few(whole.train(1), 96)
    data = replace(
        whole, train=lambda _epoch: learned, train_count=96,
        **{name: few(getattr(whole, name), count) for name, count in COUNTS.items()},
    )  # fmt: skip
    task = replace(job.task, recipe=replace(job.task.recipe, batch=8))
    reports = []
    contents = [build_content(task, data, reports.append) for _ in range(2)]
    folder = tmp_path_factory.mktemp("glosses")
    write_bundle(folder, contents[1])
    return contents, reports, load_bundle(str(folder))


def test_a_seed_gives_one_result(trained):
    (first, again), reports, _ = trained
    assert all((tensor == again.weights[name]).all() for name, tensor in first.weights.items())
    assert reports[:2] == reports[2:]
    assert reports[1].loss < reports[0].loss


def test_what_was_measured_is_what_the_bundle_does(trained):
    (content, _), _, bundle = trained
    bundle.check()
    confidence, prediction = exit_scores(bundle.network(), bundle.evaluation)
    np.testing.assert_allclose(confidence, content.scores.measured["confidence"], atol=1e-6)
    np.testing.assert_array_equal(prediction, content.scores.prediction)
    assert bundle.family == "glosses"
    assert bundle.card["sources"]["wordnet-base"]["version"] == "3.0"
    assert (bundle.folder / "LICENSES.md").exists()


def test_a_few_steps_teach_something(trained):
    (content, _), _, _ = trained
    assert content.table.correct.mean() > 0.1  # chance gives .05
