from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.models import Samples, available_models, load_bundle
from node_agent.models.bundles.writing import BundleContent, write_bundle
from node_agent.models.data_types import Input
from node_agent.models.families.glyphs import GlyphsNetwork
from node_agent.models.families.glyphs.architecture import GLYPHS, GLYPHS_DEEP, architecture_of
from node_agent.models.families.glyphs.recipes import RECIPES, card_of, draw, drawn_data
from node_agent.models.families.glyphs.sources import Originals, Split
from node_agent.models.networks.early_exit import EarlyExitModel
from node_agent.models.networks.scoring import calibrate, check_scores, exit_answers, exit_scores
from node_agent.models.training.train import Training, build_content, fit, measured_table
from tests.node_agent.models.own_models import trained, written

EXITS = GLYPHS.exits
SMALL = replace(RECIPES["glyphs"][1], seed=3, epochs=1, batch=32, threads=1)


def task(recipe=SMALL, architecture=GLYPHS) -> Training:
    return Training(GlyphsNetwork, recipe, card_of(architecture), family="glyphs")


def content_of(originals, split, recipe=SMALL, architecture=GLYPHS, progress=None) -> BundleContent:
    return build_content(task(recipe, architecture), drawn_data(originals, split, recipe), progress)


def stripes(count: int) -> Originals:
    """An easy stand-in for real images: class k is a pattern of its own, with noise."""
    chance = np.random.default_rng(0)
    labels = np.arange(count) % 20
    patterns = chance.integers(0, 2, (20, 7, 7)) * 200
    images = np.kron(patterns[labels], np.ones((1, 4, 4))) + chance.integers(0, 50, (count, 28, 28))
    return Originals(images.astype(np.uint8), labels.astype(np.int64))


def part(begin: int, end: int) -> np.ndarray:
    return np.arange(begin, end, dtype=np.int64)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    originals, split = stripes(116), Split(part(0, 96), part(96, 106), part(106, 116))
    first, again, other = (
        fit(task(recipe), drawn_data(originals, split, recipe))[0].state_dict()
        for recipe in (SMALL, SMALL, replace(SMALL, seed=4))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["heads.5.linear.weight"], other["heads.5.linear.weight"])


def test_training_leaves_the_process_settings_alone():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    # Few images: threads that wait for one another are slow where others want the processors as well.
    content_of(stripes(40), Split(part(0, 20), part(20, 30), part(30, 40)), replace(SMALL, threads=2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_drawing_is_deterministic_and_spreads_severity():
    originals = stripes(200)
    first, again = (draw(originals, part(0, 200), seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    assert first.severity.min() < 0.1
    assert first.severity.max() > 0.9
    np.testing.assert_array_equal(first.labels, originals.labels)


@pytest.mark.parametrize("factor", [0.6, 1.8])
def test_calibration_undoes_over_and_under_confidence(factor):
    """Labels are drawn from the network's own softmax, so the right temperature is the factor its logits got."""
    torch.manual_seed(0)
    network = GlyphsNetwork(GLYPHS).fold()
    drawn = draw(stripes(1000), part(0, 1000), seed=5)
    for block in EXITS:
        head = network.head(block)
        head.linear.weight.mul_(40)
    images = torch.from_numpy(drawn.images)
    logits = network(images)[0]
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=torch.Generator().manual_seed(1)).flatten().numpy()
    head = network.head(EXITS[0])
    head.linear.weight.mul_(factor)
    head.linear.bias.mul_(factor)
    assert calibrate(network, Samples(drawn.images, labels))[0] == pytest.approx(factor, rel=0.15)


def test_a_written_bundle_reads_back_the_same(tmp_path):
    torch.manual_seed(1)
    network = GlyphsNetwork(GLYPHS).fold()
    drawn = draw(stripes(40), part(0, 40), seed=2)
    table = measured_table(network, drawn)
    samples = Samples(drawn.images, drawn.labels, drawn.severity)
    card = {"schema": 1, "exits": list(EXITS)}  # as in an earlier version
    scores = exit_answers(network, samples)
    write_bundle(tmp_path / "new", BundleContent(network.state_dict(), table, samples, scores, card, network.notices))
    bundle = load_bundle(str(tmp_path / "new"))
    np.testing.assert_array_equal(bundle.exit_table(EXITS).confidence, table.answers.measured["confidence"])
    np.testing.assert_array_equal(bundle.exit_table(EXITS).correct, table.correct)
    np.testing.assert_array_equal(bundle.evaluation.images, samples.images)
    np.testing.assert_array_equal(bundle.scores(EXITS).confidence, scores.measured["confidence"])
    np.testing.assert_array_equal(bundle.scores(EXITS).prediction, scores.prediction)
    for name in ("entropy", "margin"):
        judged = bundle.judged_by(name)
        np.testing.assert_allclose(judged.scores(EXITS).confidence, scores.measured[name], atol=1e-7)
        np.testing.assert_allclose(judged.exit_table(EXITS).confidence, table.answers.measured[name], atol=1e-7)
    np.testing.assert_array_equal(exit_scores(bundle.network(), samples)[0], exit_scores(network, samples)[0])
    assert (tmp_path / "new" / "LICENSES.md").stat().st_size > 1000


def test_a_network_of_another_architecture_trains_and_reads_back(tmp_path):
    recipe = replace(RECIPES["glyphs-deep"][1], epochs=1, batch=32)
    content = content_of(stripes(120), Split(part(0, 60), part(60, 90), part(90, 120)), recipe, GLYPHS_DEEP)
    write_bundle(tmp_path, content)
    bundle = load_bundle(str(tmp_path))
    assert architecture_of(bundle.card) == GLYPHS_DEEP
    assert bundle.exits == (2, 3, 4, 5, 7)
    assert bundle.family == "glyphs"
    np.testing.assert_allclose(
        exit_scores(bundle.network(), bundle.evaluation)[0], content.scores.measured["confidence"], atol=1e-6
    )
    assert [sub_model.last for sub_model in bundle.sub_models((2, 3, 4, 5, 7), "float32")] == [False] * 4 + [True]


def test_every_shipped_model_has_the_recipe_that_its_card_states():
    assert set(RECIPES) == set(GlyphsNetwork.variants()) <= set(available_models())
    for name, (architecture, recipe) in RECIPES.items():
        bundle = load_bundle(name)
        stated = bundle.card["training"]
        stated["exit_weights"] = tuple(stated["exit_weights"])
        assert replace(recipe, **stated) == recipe
        assert architecture_of(bundle.card) == architecture


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("seed", -1, "a whole number of at least 0"),
        ("epochs", -1, "a whole number of at least 0"),
        ("epochs", 2.0, "a whole number of at least 0"),
        ("batch", 0, "a whole number of at least 1"),
        ("batch", True, "a whole number of at least 1"),
        ("peak_learning_rate", 0.0, "a number above 0"),
        ("peak_learning_rate", float("nan"), "a number above 0"),
        ("peak_learning_rate", "fast", "a number above 0"),
        ("weight_decay", -0.1, "a number of at least 0"),
        ("exit_weights", (0, -1), "numbers of at least 0, one for each exit, and one of them above 0"),
        ("exit_weights", (0, 0), "numbers of at least 0, one for each exit, and one of them above 0"),
        ("exit_weights", 1, "numbers of at least 0, one for each exit, and one of them above 0"),
        ("exit_weights", (1, 2, 3), "one number for each exit"),
        ("threads", 0, "a whole number of at least 1"),
        ("backbone", "thawed", "'frozen' or 'full'"),
        ("patience", 0, "None or a whole number of at least 1"),
        ("channels_last", 1, "True or False"),
        ("held_out", 0, "a whole number of at least 1"),
        ("evaluation", -5, "a whole number of at least 1"),
    ],
)
def test_a_value_of_a_recipe_that_cannot_be_is_one_line(tmp_path, field, value, allowed):
    model = f"{written(tmp_path)}:Stripes"
    with pytest.raises(InputError) as caught:
        trained(model, **{field: value})
    assert str(caught.value) == f"model {model}: recipe.{field} is {value!r}, but must be {allowed}"
    assert caught.value.hint
    assert not (tmp_path / "mine-Stripes").exists()


@pytest.mark.parametrize("value", [{"patience": None}, {"exit_weights": (0, 1)}, {"weight_decay": 0, "batch": 1000}])
def test_values_at_the_border_are_allowed(tmp_path, value):
    assert trained(f"{written(tmp_path)}:Stripes", epochs=1, **value).is_dir()


@pytest.mark.slow
def test_a_few_epochs_on_real_images_learn_and_make_a_working_bundle(originals, tmp_path):
    losses = []
    rows = np.random.default_rng(0).permutation(len(originals.labels))
    split = Split(rows[:900], rows[3000:3200], rows[3600:3800])
    # Few images: six seconds of one processor. One thread: the same figures on every machine.
    recipe = replace(SMALL, seed=1, epochs=3)
    content = content_of(originals, split, recipe, progress=lambda report: losses.append(report.loss))
    assert len(losses) == 3
    # Four exits that know nothing would each lose ln(20) = 3.0, weighted 10.5 in all.
    assert losses[2] < losses[1] < losses[0] < 13
    assert losses[2] < 9.5
    write_bundle(tmp_path, content)
    bundle = load_bundle(str(tmp_path))
    confidence, prediction = exit_scores(bundle.network(), bundle.evaluation)
    live = ExitTable(confidence, prediction == bundle.labels[:, None])
    assert live.correct.mean(axis=0)[-1] > 0.15  # one that guesses: 0.05 +- 0.015
    assert bundle.exit_table((2, 5)).confidence.shape == (100, 2)


class Shortlist(nn.Module):
    """A head that answers some of the classes only: minus infinity for all others."""

    def __init__(self, classes, every):
        super().__init__()
        self.linear, self.classes, self.every = nn.Linear(8, classes // every), classes, every

    def forward(self, x):
        logits = torch.full((len(x), self.classes), -torch.inf)
        logits[:, :: self.every] = 6 * self.linear(x)
        return logits


class Words(EarlyExitModel):
    input = Input((8,), "float32")
    classes = 40_000

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.heads = nn.ModuleDict({"1": Shortlist(40_000, 100), "2": Shortlist(40_000, 1)})


@pytest.fixture
def words():
    torch.manual_seed(2)
    network = Words()
    network.add_temperatures()
    drawn = np.random.default_rng(3).normal(size=(230, 8)).astype(np.float32)
    return network.fold(), Samples(drawn, np.zeros(len(drawn), np.int64))


def test_answers_of_many_classes_are_reduced_batch_by_batch(words):
    """Batches are smaller than the samples; classes that an exit cannot answer count as impossible."""
    network, samples = words
    answers = exit_answers(network, samples)
    probabilities = [logits.softmax(dim=1).double().numpy() for logits in network(torch.from_numpy(samples.images))]
    for column, p in enumerate(probabilities):
        largest = np.sort(p, axis=1)[:, ::-1]
        np.testing.assert_array_equal(answers.prediction[:, column], p.argmax(axis=1))
        np.testing.assert_allclose(answers.measured["confidence"][:, column], largest[:, 0], rtol=1e-5)
        np.testing.assert_allclose(answers.measured["margin"][:, column], largest[:, 0] - largest[:, 1], atol=1e-5)
        logs = np.log(p, out=np.zeros_like(p), where=p > 0)
        wanted = 1 + (p * logs).sum(axis=1) / np.log(40_000)
        np.testing.assert_allclose(answers.measured["entropy"][:, column], wanted, atol=1e-5)
    check_scores(network, samples, "words")


def test_samples_of_classes_that_an_exit_cannot_answer_lower_its_confidence(words):
    """Labels are the exit's own answers, so it is too unsure; with a third out of its reach it is surer than right."""
    network, samples = words
    own = exit_answers(network, samples).prediction[:, 0]
    within = calibrate(network, Samples(samples.images, own))
    unaware = exit_scores(network, samples)[0][:, 0].mean()
    out_of_reach = np.where(np.arange(len(own)) % 3 == 0, own + 1, own)
    beyond = calibrate(network, Samples(samples.images, out_of_reach))
    assert within[0] == pytest.approx(0.25)
    assert beyond[0] > 1.5 * within[0]
    aware = exit_scores(network, samples)[0][:, 0].mean()
    assert aware < unaware
    # The slope of the least loss is 0: the mean of p, weighted by g / (1 - p), is the share of right answers. g is
    # the slope of log p in 1 / T: the largest logit less the mean one.
    with torch.inference_mode():
        logits = network(torch.from_numpy(samples.images))[0][:, ::100].double()
    shares = (logits / network.temperature(1)).softmax(dim=1)
    p = shares.max(dim=1).values
    weights = (logits.max(dim=1).values - (shares * logits).sum(dim=1)) / (1 - p)
    assert float((weights * p).sum() / weights.sum()) == pytest.approx(2 / 3, abs=0.03)
    assert all(np.isfinite(beyond))
