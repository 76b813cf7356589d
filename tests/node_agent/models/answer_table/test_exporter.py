"""The script that users copy writes a table without this package; of glyphs it is the table that glyphs is."""

import subprocess
import sys
import sysconfig
import textwrap
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from node_agent.models import load_bundle
from node_agent.models.answer_table import TableModel, exporter_text
from node_agent.wire import InputForm, TensorForm

CUT = (2, 3, 5)
ACTIVATIONS = ((1, 24, 16, 16), (1, 32, 16, 16))
# A user's environment has torch and numpy, and not this package: without `site`, no editable installation counts.
BEGINS = f"""
import importlib.util, sys
sys.path[:0] = [sys.argv[1], {sysconfig.get_path("purelib")!r}]
assert importlib.util.find_spec("node_agent") is None
import numpy as np, torch
from export_table import answers, costs, run, write
torch.set_num_threads(1)
"""
GLYPHS = """
load = lambda part, number: torch.jit.load(f"{sys.argv[1]}/{part}_{number}.pt")
parts = [(load("stage", number), load("head", number)) for number in (1, 2, 3)]
given = np.load(f"{sys.argv[1]}/given.npz")
batches = [(torch.from_numpy(given["images"][n : n + 250]), given["labels"][n : n + 250]) for n in range(0, 2000, 250)]
recorded = answers(run(parts, batches), temperatures=given["temperatures"].tolist())
write(f"{sys.argv[1]}/glyphs.npz", recorded, costs(parts, batches[0][0][:1]), card={"name": "glyphs"},
      plan_confidence=given["plan_confidence"], plan_correct=given["plan_correct"])
"""


def run_in_own_environment(folder, script):
    """Run a script that begins with the exporter, saved in `folder`, as a user would."""
    (folder / "export_table.py").write_text(exporter_text(), encoding="utf-8")
    command = [sys.executable, "-I", "-S", "-c", BEGINS + script, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder with the table of glyphs, written from TorchScript modules, which need no source code."""
    folder = tmp_path_factory.mktemp("exported")
    glyphs = load_bundle("glyphs")
    network = glyphs.network()
    x = torch.from_numpy(glyphs.evaluation.images[:1])
    for stage, (begin, end) in enumerate(pairwise((0, *CUT)), start=1):
        body = torch.nn.Sequential(*(network.part(block) for block in range(begin + 1, end + 1)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its successor is slow, and fixes the batch's size
            torch.jit.trace(body, x).save(folder / f"stage_{stage}.pt")
            torch.jit.trace(network.head(end), body(x)).save(folder / f"head_{stage}.pt")
        x = body(x)
    table, samples = glyphs.exit_table(CUT), glyphs.evaluation
    np.savez(folder / "given.npz", images=samples.images, labels=samples.labels, plan_confidence=table.confidence,
             plan_correct=table.correct, temperatures=[float(network.temperature(block)) for block in CUT])  # fmt: skip
    run_in_own_environment(folder, GLYPHS)
    return folder


@pytest.fixture(scope="module")
def table(exported):
    return TableModel(exported / "glyphs.npz")


def test_the_answers_are_those_of_the_model(table):
    glyphs = load_bundle("glyphs")
    ours, theirs = table.scores((1, 2, 3)), glyphs.scores(CUT)
    np.testing.assert_allclose(ours.confidence, theirs.confidence, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.prediction, theirs.prediction)
    for name in ("entropy", "margin", "patience"):
        theirs = glyphs.judged_by(name).scores(CUT)
        np.testing.assert_allclose(table.judged_by(name).scores((1, 2, 3)).confidence, theirs.confidence, atol=2e-6)
    np.testing.assert_array_equal(table.labels, glyphs.labels)
    assert table.name == "glyphs"


def test_the_plans_rows_are_those_of_the_model(table):
    ours, theirs = table.exit_table((1, 2, 3)), load_bundle("glyphs").exit_table(CUT)
    np.testing.assert_array_equal(ours.confidence, theirs.confidence)
    np.testing.assert_array_equal(ours.correct, theirs.correct)


@pytest.mark.parametrize("activation", ["float32", "float16"])
def test_the_costs_and_forms_are_those_of_the_model(table, activation):
    glyphs = load_bundle("glyphs")
    ours, theirs = table.profiles((1, 2, 3), activation), glyphs.profiles(CUT, activation)
    assert [(one.flop, one.input_bytes, one.output_bytes) for one in ours] == [
        (one.flop, one.input_bytes, one.output_bytes) for one in theirs
    ]
    assert table.input_forms((1, 2, 3), activation) == glyphs.input_forms(CUT, activation)
    assert table.table.forms == (
        InputForm(TensorForm("uint8", (1, 1, 32, 32))),
        *(InputForm(TensorForm("float32", shape)) for shape in ACTIVATIONS),
    )


TEXTS = """
class Output:
    def __init__(self, last_hidden_state):
        self.last_hidden_state = last_hidden_state

class Embedding(torch.nn.Embedding):
    def forward(self, ids):
        return Output(super().forward(ids).to(torch.bfloat16))

class Layer(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x), None

class Head(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.mean(dim=1))

torch.manual_seed(1)
half = {"dtype": torch.bfloat16}
parts = [(Embedding(100, 16), Head(16, 4, **half)), (Layer(16, 16, **half), Head(16, 4, **half))]
batches = [(torch.randint(0, 100, (1, tokens)), torch.tensor([tokens % 4])) for tokens in range(4, 24)]

def own():
    for ids, labels in batches:
        yield [logits for logits, _ in run(parts, [(ids, labels)])][0], labels

held_out = answers(run(parts, batches[::2]))
example = torch.zeros((1, 10), dtype=torch.int64)
write(f"{sys.argv[1]}/texts.npz", answers(own(), [3.0, 0.7]), costs(parts, example, varies=True),
      held_out=held_out, length=[ids.shape[1] for ids, _ in batches], classes=list("abcd"))
raw = [torch.cat(logits).float().numpy() for logits, _ in run(parts, batches)]
np.savez(f"{sys.argv[1]}/raw.npz", logits=np.stack(raw))
"""


def test_texts_of_a_model_with_other_outputs_and_types(tmp_path):
    run_in_own_environment(tmp_path, "with torch.inference_mode():\n" + textwrap.indent(TEXTS, "    "))
    model = TableModel(tmp_path / "texts.npz")
    assert model.table.forms == (
        InputForm(TensorForm("uint16", (14,)), 23),  # lengths 4..23, mean 13.5
        InputForm(TensorForm("float16", (14, 16)), 23),
    )
    assert model.table.flop.tolist() == [2 * 16 * 4, 2 * 10 * 16 * 16 + 2 * 16 * 4]
    assert model.table.parameters_bytes == (100 * 16 * 4 + 2 * 68, 2 * (16 * 17 + 68))
    assert len(model.table.plan) == 10
    logits = np.load(tmp_path / "raw.npz")["logits"]  # [N, E, classes]
    scaled = np.exp(logits / np.array([3.0, 0.7])[:, None])
    np.testing.assert_allclose(
        model.table.confidence, (scaled / scaled.sum(axis=2, keepdims=True)).max(axis=2), rtol=1e-5
    )
    np.testing.assert_array_equal(model.table.prediction, logits.argmax(axis=2))


def test_the_script_is_short_and_has_no_remarks_for_our_tools():
    text = exporter_text()
    assert len(text.splitlines()) < 96
    assert "noqa" not in text
    assert "fmt:" not in text
    assert "node_agent" not in text


TRANSFORMER = """
from torch import nn
class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    def forward(self, x):
        return self.layer(x.float())
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(32, 4), nn.Dropout(0.5)
    def forward(self, x):
        return self.linear(self.drop(x[:, 0]))
torch.manual_seed(1)
parts = [(Last(), Head()), (Last(), Head())]  # in training mode, as they are made
batches = [(torch.rand(8, 30, 32), torch.zeros(8, dtype=int))]
first, second = (answers(run(parts, batches)) for _ in range(2))
assert (first["confidence"] == second["confidence"]).all()
found = costs(parts, batches[0][0][:1], varies=True)
try:
    costs(parts, batches[0][0])
except ValueError as error:
    assert "example holds 8 samples" in str(error)
else:
    raise AssertionError("a batch was taken for a sample")
write(f"{sys.argv[1]}/texts.npz", first, found, length=[30] * 8, flop=[[1e6, 2e6]] * 8)
print(*found["flop"])
"""


def test_transformers_are_counted_in_evaluation_mode(tmp_path):
    """By hand, for 30 tokens of width 32: projections, both products of attention, feed-forward of 64, and the head."""
    said = run_in_own_environment(tmp_path, TRANSFORMER)
    tokens, width, inner = 30, 32, 64
    layer = 2 * tokens * (4 * width * width + 2 * width * inner) + 2 * 2 * tokens * tokens * width
    assert [int(word) for word in said.split()] == [layer + 2 * width * 4] * 2
    assert TableModel(tmp_path / "texts.npz").profiles((1, 2), "float32")[1].flop == 2e6
