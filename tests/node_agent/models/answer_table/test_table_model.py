"""A table as a model: its cuts, costs and tensors, and sub-models that look answers up."""

import struct
import subprocess
import sys

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.answer_table import TableModel
from node_agent.models.interface import Answer
from node_agent.wire import InputForm, Tensor, TensorForm
from tests.node_agent.models.answer_table.tables import E, N, arrays, csv_text, npz, set_in, task_order

LENGTH = arrays()["length"]


@pytest.fixture
def model(tmp_path):
    return TableModel(npz(tmp_path / "tiny.npz"))


@pytest.fixture
def varied(tmp_path):
    """A table whose work differs between samples."""
    return TableModel(npz(tmp_path / "varied.npz", flop=np.arange(1.0, N * E + 1).reshape(N, E)))


def test_its_exits_are_numbers_from_one(model):
    assert model.exits == (1, 2, 3)
    assert (model.name, model.sample_count) == ("tiny", N)
    assert model.answers == "recorded elsewhere"
    assert model.costs is None
    assert model.labels.tolist() == arrays()["label"].tolist()


@pytest.mark.parametrize("cut", [(1, 2, 3), (1, 3), (2, 3), (3,)])
def test_answers_of_a_cut_are_those_of_its_exits(model, cut):
    columns = [block - 1 for block in cut]
    scores, table = model.scores(cut), model.exit_table(cut)
    np.testing.assert_array_equal(scores.confidence, arrays()["confidence"][:, columns])
    np.testing.assert_array_equal(scores.prediction, arrays()["prediction"][:, columns])
    np.testing.assert_array_equal(table.confidence, arrays()["plan_confidence"][:, columns])
    np.testing.assert_array_equal(table.correct, arrays()["plan_correct"][:, columns])


def test_costs_of_merged_segments_add_up(model):
    first, last = model.profiles((1, 3), "float32")
    assert (first.flop, first.parameters_bytes, first.input_bytes, first.output_bytes) == (1_000_000, 10, 192, 90)
    assert (last.flop, last.parameters_bytes, last.input_bytes, last.output_bytes) == (5_000_000, 50, 90, 0)
    assert (first.stage, last.stage) == (1, 2)
    assert first.variability == last.variability == 0


def test_forms_of_merged_segments_are_those_of_the_first(model):
    picture, tokens, vector = (
        InputForm(TensorForm("uint8", (1, 3, 8, 8))),
        InputForm(TensorForm("float16", (8, 6)), 13),
        InputForm(TensorForm("float32", (1, 24))),
    )
    assert model.input_forms((1, 2, 3), "float32") == (picture, tokens, vector)
    assert model.input_forms((1, 3), "float32") == (picture, tokens)
    assert model.input_forms((2, 3), "float32") == (picture, vector)
    assert model.input_forms((2, 3), "float16") == (picture, InputForm(TensorForm("float16", (1, 24))))


def test_the_input_of_the_device_keeps_its_type_under_float16(tmp_path):
    path = npz(tmp_path / "a.npz", input=np.array(["float32 1x8"] * 3), length=None)
    forms = TableModel(path).input_forms((1, 2, 3), "float16")
    assert [form.usual.dtype for form in forms] == ["float32", "float16", "float16"]


def test_costs_that_differ_between_samples(varied):
    flop = np.arange(1.0, N * E + 1).reshape(N, E)
    costs = varied.sample_costs((1, 3), "float32")
    np.testing.assert_array_equal(costs.flop, np.stack([flop[:, 0], flop[:, 1] + flop[:, 2]], axis=1))
    np.testing.assert_array_equal(costs.length, np.stack([np.ones(N), LENGTH], axis=1))
    assert (costs.flop.dtype, costs.length.dtype) == (np.float64, np.int64)
    work = flop[:, 1] + flop[:, 2]
    profile = varied.profiles((1, 3), "float32")[1]
    assert profile.flop == round(work.mean())
    assert profile.variability == pytest.approx(work.var() / work.mean() ** 2)


def test_costs_of_samples_exist_only_where_a_stage_of_the_cut_varies(model, tmp_path):
    assert model.sample_costs((2, 3), "float32") is None  # the input that varies is inside the first stage
    costs = model.sample_costs((1, 3), "float32")
    assert costs.flop[3].tolist() == [1e6, 5e6]
    assert costs.length[:, 1].tolist() == LENGTH.tolist()
    same = TableModel(npz(tmp_path / "same.npz", length=np.full(N, 4)))
    assert same.sample_costs((1, 2, 3), "float32") is None
    assert same.input_forms((1, 2, 3), "float32")[1] == InputForm(TensorForm("float16", (4, 6)))


@pytest.mark.parametrize("activation", ["float32", "float16"])
def test_a_sample_passes_all_stages_and_finds_its_answers(varied, activation):
    cut, wrote = (1, 2, 3), arrays()
    subs, forms = varied.sub_models(cut, activation), varied.input_forms(cut, activation)
    costs = varied.sample_costs(cut, activation)
    for sample in range(N):
        tensor = varied.inputs(cut, activation).tensor(sample)
        for stage, sub_model in enumerate(subs):
            assert sub_model.input_form == forms[stage]
            assert forms[stage].fits(tensor.form)
            assert tensor.form.shape[0] == costs.length[sample, stage]
            assert len(tensor.data) == tensor.form.byte_count
            assert bytes(tensor.data) == (sample + 1).to_bytes(8, "little") + bytes(tensor.form.byte_count - 8)
            assert sub_model.flop(tensor) == costs.flop[sample, stage]
            answer = sub_model.infer(tensor)
            assert answer.confidence == wrote["confidence"][sample, stage]
            assert answer.prediction == wrote["prediction"][sample, stage]
            assert type(answer.confidence) is float
            assert type(answer.prediction) is int
            tensor = answer.activation
        assert tensor is None


def test_a_tensor_without_a_sample_has_the_usual_work_and_the_first_answers(varied):
    sub_models, profiles = varied.sub_models((1, 2, 3), "float32"), varied.profiles((1, 2, 3), "float32")
    tensor = None
    for stage, sub_model in enumerate(sub_models):
        form = sub_model.input_form.usual
        tensor = tensor or Tensor(form, bytes(form.byte_count))
        assert tensor.form == form
        assert not any(tensor.data)
        assert sub_model.flop(tensor) == profiles[stage].flop
        answer = sub_model.infer(tensor)
        assert answer.confidence == arrays()["confidence"][0, stage]
        tensor = answer.activation


def test_tensors_may_be_read_only_views(model):
    tensor = model.inputs((1, 3), "float32").tensor(7)
    first = model.sub_models((1, 3), "float32")[0]
    answer = first.infer(tensor)
    assert isinstance(answer, Answer)
    for data in (bytes(tensor.data), memoryview(bytes(tensor.data)), memoryview(tensor.data).toreadonly()):
        again = first.infer(Tensor(tensor.form, data))
        assert (again.prediction, again.confidence) == (answer.prediction, answer.confidence)
        assert bytes(again.activation.data) == bytes(answer.activation.data)


def test_tensors_of_two_tasks_share_no_memory(model):
    inputs = model.inputs((1, 3), "float32")
    one, other = inputs.tensor(1), inputs.tensor(1)
    one.data[20] = 9
    assert not other.data[20]


@pytest.mark.parametrize("number", [N + 1, 2**64 - 1])
def test_a_number_that_no_sample_has(model, number):
    first = model.sub_models((1, 3), "float32")[0]
    form = first.input_form.usual
    tensor = Tensor(form, struct.pack("<Q", number) + bytes(form.byte_count - 8))
    for call in (first.infer, first.flop):
        with pytest.raises(ValueError, match=rf"sample {number} of {N}"):
            call(tensor)


@pytest.mark.parametrize("form", [TensorForm("uint8", (1, 3, 8, 9)), TensorForm("float16", (96,))])
def test_a_tensor_of_another_form(model, form):
    with pytest.raises(ValueError, match="where this sub-model takes"):
        model.sub_models((1, 3), "float32")[0].infer(Tensor(form, bytes(form.byte_count)))


@pytest.mark.parametrize("sample", [-1, N])
def test_a_sample_that_is_not_there(model, sample):
    with pytest.raises(ValueError, match=f"sample {sample} of {N}"):
        model.inputs((1, 3), "float32").tensor(sample)


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    one, same = TableModel(npz(tmp_path / "a.npz")), TableModel(npz(tmp_path / "b.npz"))
    other = TableModel(npz(tmp_path / "c.npz", label=set_in(arrays()["label"], 0, 3 - arrays()["label"][0])))
    assert len(one.fingerprint()) == 64
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_a_model_without_rows_for_plans_says_so(model, tmp_path):
    assert not model.plans_with_its_tasks
    assert TableModel(npz(tmp_path / "a.npz", plan_confidence=None, plan_correct=None)).plans_with_its_tasks


def test_forked_children_share_the_table(tmp_path):
    rows = 200_000
    chance = np.random.default_rng(1)
    path = npz(
        tmp_path / "a.npz",
        confidence=chance.random((rows, E), dtype=np.float32),
        prediction=chance.integers(0, 4, (rows, E)),
        label=np.zeros(rows, int),
        length=np.full(rows, 3),
    )
    script = f"""
import gc, os
from pathlib import Path
from node_agent.errors import InputError
from node_agent.models.answer_table import TableModel

def private_kib():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

model = TableModel(Path({str(path)!r}))
inputs, sub_models = model.inputs((1, 3), "float32"), model.sub_models((1, 3), "float32")
gc.freeze()
if not os.fork():
    before = private_kib()
    for task in range(2000):
        tensor = inputs.tensor(task * 97 % {rows})
        for sub_model in sub_models:
            tensor = sub_model.infer(tensor).activation
    print(private_kib() - before, flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2048  # its confidences alone have 2400 KiB


def test_nothing_loads_torch(tmp_path):
    path = npz(tmp_path / "a.npz")
    script = f"""
import sys
from pathlib import Path
from node_agent.errors import InputError
from node_agent.models.answer_table import TableModel
model = TableModel(Path({str(path)!r}))
model.check()
model.sub_models((1, 3), "float16")[0].infer(model.inputs((1, 3), "float16").tensor(0))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_scores_of_other_criteria_are_looked_up(tmp_path):
    chance = np.random.default_rng(5)
    more = {"entropy": chance.random((N, E)), "plan_entropy": chance.random((len(arrays()["plan_correct"]), E))}
    table = TableModel(npz(tmp_path / "a.npz", **more)).judged_by("entropy")
    np.testing.assert_allclose(table.scores((1, 3)).confidence, more["entropy"][:, [0, 2]], rtol=1e-6)
    np.testing.assert_allclose(table.exit_table((1, 3)).confidence, more["plan_entropy"][:, [0, 2]], rtol=1e-6)
    first = table.sub_models((1, 3), "float32")[0]
    assert first.infer(table.inputs((1, 3), "float32").tensor(4)).confidence == np.float32(more["entropy"][4, 0])


def test_patience_needs_the_predictions_of_the_plan_rows(tmp_path):
    with pytest.raises(InputError, match="has no array plan_prediction, which the criterion patience needs"):
        TableModel(npz(tmp_path / "a.npz")).judged_by("patience").exit_table((1, 2, 3))
    rows = len(arrays()["plan_correct"])
    predicted = np.array([[1, 1, 1], [2, 1, 1]] * rows)[:rows]
    patient = TableModel(npz(tmp_path / "b.npz", plan_prediction=predicted)).judged_by("patience")
    np.testing.assert_allclose(patient.exit_table((1, 2, 3)).confidence[:2] * 3, [[1, 2, 3], [1, 1, 2]])
    own = TableModel(npz(tmp_path / "c.npz", plan_confidence=None, plan_correct=None)).judged_by("patience")
    np.testing.assert_array_equal(own.exit_table((1, 2, 3)).confidence, own.scores((1, 2, 3)).confidence)


@pytest.mark.parametrize("name", ["entropy", "margin"])
def test_a_table_without_the_scores_of_a_criterion_names_the_array(tmp_path, name):
    judged = TableModel(npz(tmp_path / "a.npz")).judged_by(name)
    with pytest.raises(InputError, match=f"has no array {name}, which") as caught:
        judged.scores((1, 2, 3))
    assert "criterion: confidence" in caught.value.hint
    with pytest.raises(InputError, match=f"has no array plan_{name}, which"):
        judged.exit_table((1, 2, 3))


def test_columns_hold_the_scores_of_criteria_and_the_predictions_of_plans(tmp_path):
    plans = len(arrays()["plan_correct"])
    margins = np.random.default_rng(2).random((N + plans, E)).astype(np.float32)
    stated = {f"margin_{number + 1}": margins[:, number].tolist() for number in range(E)}
    (tmp_path / "a.csv").write_text(csv_text(**stated))
    table, cut = TableModel(tmp_path / "a.csv"), (1, 2, 3)
    np.testing.assert_allclose(table.judged_by("margin").scores(cut).confidence, margins[task_order()], rtol=1e-6)
    of_plans = np.sort(table.judged_by("margin").exit_table(cut).confidence, axis=0)
    np.testing.assert_allclose(of_plans, np.sort(margins[N:], axis=0), rtol=1e-6)
    assert table.judged_by("patience").exit_table(cut).confidence.shape == (plans, E)


def test_int8_takes_a_quarter_of_float32_and_half_of_float16(model):
    picture, tokens, vector = model.input_forms((1, 2, 3), "int8")
    assert (picture.usual.dtype, tokens.usual.dtype, vector.usual.dtype) == ("uint8", "int8", "int8")
    assert (tokens.most, vector.usual.byte_count) == (13, 24)
    assert model.profiles((1, 2, 3), "int8")[2].input_bytes * 4 == model.profiles((1, 2, 3), "float32")[2].input_bytes
    for sample in range(N):
        tensor = model.inputs((1, 2, 3), "int8").tensor(sample)
        for stage, sub_model in enumerate(model.sub_models((1, 2, 3), "int8")):
            answer = sub_model.infer(tensor)
            assert answer.confidence == arrays()["confidence"][sample, stage]
            tensor = answer.activation


def test_an_activation_that_is_too_small_in_int8_is_refused(tmp_path):
    small = TableModel(npz(tmp_path / "a.npz", input=np.array(["uint8 1x3x8x8", "float16 ?x6", "float32 1x4"])))
    assert small.input_forms((1, 2, 3), "float16")[2].usual.byte_count == 8
    with pytest.raises(InputError, match="the input of stage 3 has 4 bytes in int8") as caught:
        small.input_forms((1, 2, 3), "int8")
    assert caught.value.hint == "use activation: float32"
