"""A model of one's own, in one file: trained, read back, cut, and each of its mistakes in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from node_agent.errors import InputError
from node_agent.models import load_bundle, load_model
from node_agent.models.networks.cost import profile
from node_agent.models.networks.scoring import exit_scores
from node_agent.models.training.tasks import job_for
from tests.node_agent.models.own_models import STRIPES, TEXTS, trained, written


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """The file and the folder of a trained model."""
    file = written(tmp_path_factory.mktemp("stripes"))
    return file, trained(f"{file}:Stripes")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = written(tmp_path_factory.mktemp("texts"), TEXTS)
    trained(f"{file}:Texts")
    return load_model(f"{file}:Texts")


def chain(model, cut, sample, activation="float32"):
    answers, tensor = [], model.inputs(cut, activation).tensor(sample)
    for sub_model in model.sub_models(cut, activation):
        answers.append(sub_model.infer(tensor))
        tensor = answers[-1].activation
    return answers


def test_a_trained_model_is_found_by_its_file_and_answers_as_its_scores_say(stripes):
    file, folder = stripes
    assert folder == file.parent / "mine-Stripes"
    model = load_model(f"{file}:Stripes")
    model.check()
    assert model.exits == (1, 2)
    assert (model.sample_count, model.input_forms((1, 2), "float16")[0].usual.shape) == (40, (1, 3, 6, 8))
    assert model.input_forms((1, 2), "float16")[1].usual == model.sub_models((1, 2), "float16")[1].input_form.usual
    scores = model.scores((1, 2))
    for sample in range(5):
        answers = chain(model, (1, 2), sample)
        assert [answer.prediction for answer in answers] == scores.prediction[sample].tolist()
        assert [answer.confidence for answer in answers] == pytest.approx(scores.confidence[sample], abs=1e-5)
    assert model.exit_table((1, 2)).correct.mean() > 0.5  # guessing: 0.25
    assert profile(model.sub_models((1, 2), "float32")) == model.profiles((1, 2), "float32")


def test_the_card_says_how_it_was_made(stripes):
    card = json.loads((stripes[1] / "card.json").read_text())
    assert card["code"]["file"] == "mine.py"
    assert card["code"]["name"] == "Stripes"
    assert (card["licence"], card["classes"]) == ("CC0", ["a", "b", "c", "d"])
    assert card["samples"] == {"train": 168, "calibration": 24, "exit_table": 24, "evaluation": 40}
    assert card["training"]["epochs"] == card["epochs_run"] == 2
    assert "family" not in card


def test_planning_runs_no_code_of_the_file_and_loads_no_torch(stripes):
    file, _ = stripes
    script = (
        "import sys; from node_agent.models import load_model\n"
        f"model = load_model({str(file) + ':Stripes'!r}); model.check(); cut = model.exits\n"
        "model.exit_table(cut), model.scores(cut), model.profiles(cut, 'float32'), model.input_forms(cut, 'float32')\n"
        "model.inputs(cut, 'float32').tensor(3), model.fingerprint(), model.labels\n"
        "print([name for name in sys.modules if name == 'torch' or 'user_model' in name])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bundle_that_is_named_as_a_folder_never_runs_the_file(stripes):
    bundle = load_bundle(str(stripes[1]))
    assert bundle.profiles((1, 2), "float32")
    for use in (bundle.check, lambda: bundle.sub_models((1, 2), "float32")):  # validate refuses what a run refuses
        with pytest.raises(InputError, match="a bundle does not run files") as caught:
            use()
        assert "{file: PATH/mine.py:Stripes, ...}" in caught.value.hint


def test_the_seed_decides_the_weights(tmp_path):
    found = []
    for number, seed in enumerate((5, 5, 6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        trained(f"{written(folder)}:Stripes", seed=seed, epochs=1)
        found.append((folder / "mine-Stripes" / "weights.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_frozen_backbone_keeps_its_weights(tmp_path):
    file = written(tmp_path)
    job = job_for(f"{file}:Stripes", backbone="frozen", epochs=2)
    trained_weights = job.run(job.folder).weights
    fresh = job_for(f"{file}:Stripes", epochs=0).run(tmp_path / "none").weights
    assert torch.equal(trained_weights["blocks.0.weight"], fresh["blocks.0.weight"])
    assert not torch.equal(trained_weights["heads.1.1.weight"], fresh["heads.1.1.weight"])


def test_heads_are_trained_behind_the_blocks_that_are_stored(tmp_path):
    """A bundle of trained blocks must not be replaced by one of random blocks."""
    text = f"{written(tmp_path)}:Stripes"
    job = job_for(text, backbone="frozen", epochs=1)
    assert job.begins_untrained(job.folder)
    folder = trained(text, epochs=2, seed=9)
    stored = load_model(text).network().state_dict()
    assert not job.begins_untrained(folder)
    content = job.run(folder)
    assert torch.equal(content.weights["blocks.0.weight"], stored["blocks.0.weight"])
    assert not torch.equal(content.weights["heads.1.1.weight"], stored["heads.1.1.weight"])
    assert content.card["training"]["seed"] == 9  # the split stays: else training samples would be measured
    other = job_for(text, epochs=1).run(folder)
    assert not torch.equal(other.weights["blocks.0.weight"], stored["blocks.0.weight"])


def test_training_stops_when_validation_no_longer_gains_and_keeps_the_best(tmp_path):
    source = STRIPES.replace("np.arange(240 if", "chance.integers(0, 4, 240 if")  # labels that nothing explains
    source = source.replace("2 * labels] += 100", "0] += 100")
    job = job_for(f"{written(tmp_path, source)}:Stripes", epochs=60, patience=2)
    reports = []
    content = job.run(job.folder, reports.append)
    losses = [report.validation for report in reports]
    assert len(losses) == content.card["epochs_run"] < 60
    assert losses.index(min(losses)) == len(losses) - 3


def test_a_file_that_changed_is_measured_again_with_the_stored_weights(tmp_path):
    file = written(tmp_path)
    text = f"{file}:Stripes"
    folder = trained(text, epochs=1, seed=9)
    before = (folder / "weights.safetensors").read_bytes()
    scores = load_model(text).scores((1, 2))
    file.write_text(STRIPES + "\n# a remark\n")
    with pytest.raises(InputError, match="measured with another version of the file") as caught:
        load_model(text)
    assert f"model train {text} --epochs 0" in caught.value.hint
    trained(text, epochs=0)
    assert (folder / "weights.safetensors").read_bytes() == before
    again = load_model(text)
    np.testing.assert_array_equal(again.scores((1, 2)).confidence, scores.confidence)
    assert again.card["training"]["seed"] == 9  # the split stays that of the training
    assert again.card["training"]["epochs"] == 1


def test_stored_weights_of_another_shape_are_named(tmp_path):
    file = written(tmp_path)
    trained(f"{file}:Stripes", epochs=1)
    file.write_text(STRIPES.replace("nn.Conv2d(3, 4, 3", "nn.Conv2d(3, 4, 1").replace("3, padding=1), nn", "1), nn"))
    job = job_for(f"{file}:Stripes", epochs=0)
    said = r"tensor blocks\.0\.weight has the shape \[4, 3, 3, 3\], the network needs \[4, 3, 1, 1\]"
    with pytest.raises(InputError, match=said):
        job.run(job.folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{file}", "names no class"),
        ("{file}:", "names no class"),
        ("{file}:Stripes", "is not trained yet"),
        ("{file}:Stripes:elsewhere", "is not trained yet"),
        ("{file}x.py:Stripes", "there is no model file"),
    ],
)
def test_a_model_that_cannot_be_found_says_what_to_do(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as caught:
        load_model(text.format(file=written(tmp_path)))
    assert caught.value.hint


def test_a_bundle_elsewhere_is_named_behind_the_class(tmp_path):
    file = written(tmp_path)
    trained(f"{file}:Stripes", epochs=0).rename(tmp_path / "other")
    model = load_model(f"{file}:Stripes:other")
    assert len(model.sub_models((1, 2), "float32")) == 2


def test_a_bundle_of_another_class_is_refused(tmp_path):
    file = written(tmp_path, STRIPES + "\n\nclass Other(Stripes):\n    pass\n")
    trained(f"{file}:Stripes", epochs=0)
    with pytest.raises(InputError, match="a bundle of the class Stripes, not of"):
        load_model(f"{file}:Other:mine-Stripes")


INIT = "super().__init__()\n        self.b"
CONV = "nn.Conv2d(4, 8, 3, padding=1)"
WRONG = {
    "a syntax error": ("import numpy as np", "import numpy as", "SyntaxError", "line 4"),
    "an import that fails": ("import numpy as np", "import nowhere", "No module named 'nowhere'", "line 4"),
    "another class": ("class Stripes(", "class Strips(", "has no model class 'Stripes'", "it holds Strips"),
    "no base class": ("class Stripes(EarlyExitModel)", "class Stripes", "has no model class", "derive it from"),
    "an exception in __init__": (INIT, "0 / 0\n        self.b", "ZeroDivisionError", "line 17"),
    "SystemExit": (INIT, "exit(3)\n        self.b", "SystemExit: 3", "line 17"),
    "no input": ("    input = Input(shape=(3, 6, 8))\n", "", "`input` must be an Input", ""),
    "no classes": ('    classes = ("a", "b", "c", "d")\n', "", "`classes` must be", ""),
    "one class": ('("a", "b", "c", "d")', '("a",)', "`classes` must be", ""),
    "no blocks": ("self.blocks = nn.ModuleList", "self.parts = nn.ModuleList", "self.blocks must be", ""),
    "no last head": (', "2": Head()', "", "the last of 2 blocks needs one", ""),
    "a head too many": (
        '"2": Head()', '"2": Head(), "3": Head()', "a head after block 3, but there are only blocks 1 to 2", "docs",
    ),
    "a head before the first block": ('{"1"', '{"0"', "a head after block 0, but there are only blocks 1 to 2", "docs"),
    "two names of one block": ('"2": Head()', '"2": Head(), "02": Head()', "self.heads must be", "docs"),
    "a head of a name": ('"2": Head()', '"last": Head()', "self.heads must be", ""),
    "a head of other classes": ("nn.Linear(192, 4)", "nn.Linear(192, 5)", "not [1, 4]", "a number per class"),
    "blocks that do not fit": (
        CONV, "nn.Conv2d(5, 8, 3, padding=1)", "block 2, with an input of [1, 4, 6, 8], fails: RuntimeError", "",
    ),
    "a first block that does not fit": (
        "nn.Conv2d(3, 4", "nn.Conv2d(1, 4", "Stripes: block 1, with an input of [1, 3, 6, 8], fails: RuntimeError", "",
    ),
    "a head that does not fit": (
        "nn.Linear(192, 4)", "nn.Linear(132, 4)",
        "Stripes: the head after block 1, with an input of [1, 4, 6, 8], fails: RuntimeError: mat1", "",
    ),
    "a last head that does not fit": (
        "nn.Linear(64, 4)", "nn.Linear(65, 4)", "the head after block 2, with an input of [1, 8, 6, 8], fails", "",
    ),
    "weights of half a float": ("Head()}", "Head().bfloat16()}", "weights of torch.bfloat16: use float32", ""),
    "no samples": (
        "    @classmethod\n    def samples", "    @classmethod\n    def other", "state where the labelled", "",
    ),
    "samples that raise": ("chance = np", "chance = 1 / 0, np", "samples('train') fails: ZeroDivisionError", "line 23"),
    "samples of another shape": (
        "(len(labels), 3, 6, 8)", "(len(labels), 1, 6, 8)", "the shape [1, 6, 8]", "uint8 [3, 6, 8]",
    ),
    "floats": ("return images, labels", "return images / 255, labels", "samples are float64", "uint8"),
    "labels beyond": (
        "return images, labels", "return images, labels + 1", "labels from 1 to 4, but classes from 0 to 3", "",
    ),
    "half of the labels": ("return images, labels", "return images, labels[::2]", "240 images, but 120 labels", ""),
    "nothing": ("return images, labels", "return None", "no images and labels", "read_idx"),
    "few samples": ("240 if", "12 if", "12 samples for training", "at least 20"),
    "no recipe": ("recipe = Recipe(epochs=2, batch=16)", "recipe = 3", "recipe is 3", ""),
    "too few exit weights": ("epochs=2, batch=16", "exit_weights=(1.0,)", "exit_weights is (1.0,), but", "2 numbers"),
    "an explosion": ("epochs=2, batch=16", "peak_learning_rate=1e30", "the loss is", ""),
    "dropout that stays": (
        "nn.Flatten(), nn.Linear(192, 4))", "nn.Flatten(), nn.Linear(192, 4), type('Always', (nn.Module,), {'forward': "
        "lambda self, x: nn.functional.dropout(x)})())", "the head after block 1 answers sample", "eval()",
    ),
    "logits that overflow": (
        "nn.Flatten(), nn.Linear(192, 4))", "nn.Flatten(), nn.Linear(192, 4), type('Huge', (nn.Module,), {'forward': "
        "lambda self, x: x if self.training else x * 1e38 * 1e38})())", "block 1 gives NaN", "peak_learning_rate",
    ),
    "tuples from a block": (
        CONV, "nn.AdaptiveMaxPool2d(3, return_indices=True)", "AdaptiveMaxPool2d gives a tuple, not a tensor", ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_the_file_is_one_line(tmp_path, name):
    before, after, said, hint = WRONG[name]
    assert before in STRIPES
    file = written(tmp_path, STRIPES.replace(before, after))
    with pytest.raises(InputError) as caught:
        trained(f"{file}:Stripes")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hint in caught.value.hint
    assert not (tmp_path / "mine-Stripes").exists()


@pytest.mark.parametrize("line", ["import layers", "from layers.deep import Layer", "from . import layers"])
@pytest.mark.parametrize("module", ["layers.py", "layers/__init__.py"])
def test_a_module_beside_the_file_gets_a_hint(tmp_path, line, module):
    beside = tmp_path / module
    beside.parent.mkdir(exist_ok=True)
    beside.touch()
    file = written(tmp_path, STRIPES.replace("import numpy as np", f"import numpy as np\n{line}"))
    with pytest.raises(InputError, match=r"mine\.py:Stripes: it fails: ") as caught:
        trained(f"{file}:Stripes")
    hint = "a model's file cannot import modules beside it: put all in one file, or install the module; "
    assert caught.value.hint == f"{hint}it was raised by {file}, line 5"


def test_a_module_that_is_nowhere_gets_no_such_hint(tmp_path):
    file = written(tmp_path, STRIPES.replace("import numpy as np", "import numpy as np, layers"))
    with pytest.raises(InputError, match="No module named 'layers'") as caught:
        trained(f"{file}:Stripes")
    assert caught.value.hint == f"it was raised by {file}, line 4"


def test_inputs_of_varying_length_cost_what_they_need(texts):
    cut = (1, 3)
    costs, lengths = texts.sample_costs(cut, "float16"), texts.evaluation.lengths
    assert costs.flop.shape == costs.length.shape == (30, 2)
    np.testing.assert_array_equal(costs.length[:, 0], lengths)
    n, width = lengths, 8
    # Three projections, and attention, which torch's own counter leaves out; then a head.
    layer = 3 * 2 * n * width**2 + 2 * 2 * n**2 * width
    np.testing.assert_array_equal(costs.flop[:, 0], layer + 2 * width * 3)
    np.testing.assert_array_equal(costs.flop[:, 1], layer + 2 * width * 6 + 2 * 6 * 3)
    first, second = texts.profiles(cut, "float16")
    assert first.flop == round(costs.flop[:, 0].mean())
    assert first.variability == pytest.approx(costs.flop[:, 0].var() / costs.flop[:, 0].mean() ** 2)
    assert (first.input_bytes, second.input_bytes) == (round(n.mean()) * 2, round(n.mean() * 8) * 2)
    assert texts.input_forms(cut, "float16")[1].largest.shape == (16, 8)


def test_inputs_of_varying_length_travel_as_they_are(texts):
    inputs, scores = texts.inputs((1, 3), "float32"), texts.scores((1, 3))
    first, second = texts.sub_models((1, 3), "float32")
    costs = texts.sample_costs((1, 3), "float32")
    for sample in range(8):
        tensor = inputs.tensor(sample)
        assert (tensor.form.dtype, tensor.form.shape) == ("uint16", (texts.evaluation.lengths[sample],))
        assert first.flop(tensor) == costs.flop[sample, 0]
        answer = first.infer(tensor)
        assert answer.activation.form.shape == (*tensor.form.shape, 8)
        assert second.flop(answer.activation) == costs.flop[sample, 1]
        last = second.infer(answer.activation)
        found = [answer.confidence, last.confidence]
        assert found == pytest.approx(scores.confidence[sample], abs=1e-5)
        assert [answer.prediction, last.prediction] == scores.prediction[sample].tolist()


def test_samples_of_all_lengths_are_scored_in_their_order(texts):
    confidence, prediction = exit_scores(texts.network(), texts.evaluation)
    np.testing.assert_array_equal(prediction, texts.scores(texts.exits).prediction)
    backwards = texts.evaluation.chosen(np.arange(len(texts.evaluation))[::-1])
    np.testing.assert_allclose(exit_scores(texts.network(), backwards)[0][::-1], confidence, atol=1e-6)


def test_a_length_that_is_no_line_is_one_line_of_error(tmp_path):
    file = written(tmp_path, TEXTS.replace("shape=(16,)", "shape=(15,)").replace("(3, 17)", "(3, 16)"))
    with pytest.raises(InputError, match="length of the output of block 2: no polynomial of degree 1") as caught:
        trained(f"{file}:Uneven", epochs=0)
    assert "c0 + c1 n" in caught.value.hint
