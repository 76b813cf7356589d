"""The bundle of glosses that comes with the project."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.families.glosses import GlossesNetwork
from node_agent.models.networks.cost import profile
from node_agent.models.networks.scoring import exit_scores
from node_agent.models.tensors import as_tensor

MOST_BYTES = 50_000_000
CUTS = [(4,), (1, 4), (1, 2, 4), (1, 3, 4), (1, 2, 3, 4)]
THRESHOLDS = (0.5, 0.8, 0.95)


@pytest.fixture(scope="module")
def network(bundle):
    return bundle.network()


@pytest.fixture(scope="module")
def answers(bundle, network):
    """Confidence and prediction of each exit on the evaluation samples, computed here from the shipped weights."""
    return exit_scores(network, bundle.evaluation)


def test_it_is_whole_and_small(bundle):
    bundle.check()
    assert bundle.exits == (1, 2, 3, 4)
    assert bundle.sample_count == 2000
    assert sum(file.stat().st_size for file in bundle.folder.iterdir()) < MOST_BYTES
    notices = (bundle.folder / "LICENSES.md").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notices
    assert "Apache License" in notices
    assert "END OF TERMS AND CONDITIONS" in notices


def test_weights_have_sixteen_bit(bundle):
    with safe_open(bundle.folder / "weights.safetensors", framework="numpy") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"F16"}  # noqa: SIM118


def test_its_recipe_is_that_of_the_family(bundle):
    stated = bundle.card["training"]
    stated["exit_weights"] = tuple(stated["exit_weights"])
    assert replace(GlossesNetwork.recipe, **stated) == GlossesNetwork.recipe


def test_exits_are_spread(bundle):
    accuracy = bundle.exit_table(bundle.exits).correct.mean(axis=0)
    assert accuracy[0] + 0.12 <= accuracy[-1]
    assert accuracy[0] + 0.05 < accuracy[1]
    assert accuracy[1] + 0.01 < accuracy[3]
    for threshold in THRESHOLDS:
        share, _ = bundle.exit_table((1, 2, 4)).outcome([threshold] * 2)
        assert share.min() > 0.05


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_what_tasks_do_is_what_the_table_says(bundle, answers, threshold):
    confidence, prediction = answers
    correct = prediction == bundle.evaluation.labels[:, None]
    for cut in CUTS[1:]:
        columns = [bundle.exits.index(block) for block in cut]
        thresholds = [threshold] * (len(cut) - 1)
        table = bundle.exit_table(cut)
        share, accuracy = table.outcome(thresholds)
        seen, seen_accuracy = ExitTable(confidence[:, columns], correct[:, columns]).outcome(thresholds)
        variance = 1 / len(table) + 1 / len(correct)
        for ours, theirs in zip([*share, accuracy], [*seen, seen_accuracy], strict=True):
            assert abs(ours - theirs) < 4 * np.sqrt(max(theirs * (1 - theirs), 0.01) * variance)


def test_a_confidence_is_the_probability_of_being_right(bundle, answers):
    confidence, prediction = answers
    gap = confidence.mean(axis=0) - (prediction == bundle.evaluation.labels[:, None]).mean(axis=0)
    assert np.abs(gap).max() < 0.04


def test_the_stored_scores_are_the_answers_of_the_weights(bundle, answers):
    stored = bundle.scores(bundle.exits)
    np.testing.assert_allclose(stored.confidence, answers[0], atol=1e-4)
    assert (stored.prediction != answers[1]).sum() <= 2  # a tie may fall otherwise on another processor


def test_sub_models_one_text_at_a_time_answer_as_the_whole_network(bundle, answers):
    sub_models = bundle.sub_models(bundle.exits, "float32")
    for row in np.linspace(0, bundle.sample_count - 1, 40).astype(int):
        tensor = as_tensor(bundle.evaluation.sample(int(row)))
        for column, sub_model in enumerate(sub_models):
            answer = sub_model.infer(tensor)
            assert answer.confidence == pytest.approx(answers[0][row, column], abs=1e-4)
            assert answer.prediction == answers[1][row, column]
            tensor = answer.activation


@pytest.mark.parametrize("activation", ["float32", "float16"])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_bytes_and_work_follow_the_number_of_tokens(bundle, cut, activation):
    lengths, costs = bundle.evaluation.lengths, bundle.sample_costs(cut, activation)
    assert 10 < lengths.mean() < 25
    begins = (0, *cut[:-1])
    for stage, (begin, end) in enumerate(zip(begins, cut, strict=True)):
        by_hand = (end - begin) * (3538944 * lengths + 1536 * lengths**2) + 15360  # layers, and one exit head
        np.testing.assert_array_equal(costs.flop[:, stage], by_hand)
        np.testing.assert_array_equal(costs.length[:, stage], lengths)
    sub_models = bundle.sub_models(cut, activation)
    assert bundle.input_forms(cut, activation) == tuple(sub_model.input_form for sub_model in sub_models)
    for sub_model, measured in zip(sub_models, profile(sub_models), strict=True):
        assert sub_model.flop(sub_model.example()) == measured.flop
        width = 1 if measured.stage == 1 else 384
        size = 2 if measured.stage == 1 or activation == "float16" else 4
        assert measured.input_bytes == round(lengths.mean()) * width * size


def test_samples_are_text(bundle, network):
    assert GlossesNetwork.from_card(bundle.card).words.pieces == network.words.pieces
    for row in (0, 1000, 1999):
        tokens = bundle.evaluation.sample(row)
        text = network.words.text(tokens)
        assert len(text.split()) >= 2
        assert network.words.tokens(text) == tokens.tolist()


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("a small bird that lives near rivers and eats fish", "animal"),
        ("a soup made of beans and onions", "food"),
        ("a tall tree with red leaves that grows in swamps", "plant"),
        ("the period between two meetings", "time"),
        ("a woman who repairs shoes", "person"),
    ],
)
def test_texts_of_ones_own_get_a_category(network, text, category):
    with torch.inference_mode():
        logits = network(torch.tensor([network.words.tokens(text)]))[-1]
    assert network.classes[int(logits.argmax())] == category


def test_all_but_the_network_is_read_without_torch():
    script = (
        "import sys; from node_agent.models import load_bundle\n"
        "bundle = load_bundle('glosses'); bundle.check()\n"
        "bundle.scores((1, 2, 4)); bundle.profiles((1, 4), 'float16'); bundle.sample_costs((1, 2, 4), 'float16')\n"
        "bundle.inputs((1, 4), 'float16').tensor(7); bundle.exit_table((1, 2, 4)); bundle.labels\n"
        "print([name for name in ('torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
