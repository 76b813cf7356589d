"""Service in virtual time: its duration and the sub-models' answers."""

import numpy as np
import pytest

from node_agent.models import load_bundle
from node_agent.models.data_types import ExitScores
from node_agent.models.interface import SampleCosts
from node_agent.wire import InputForm, Tensor, TensorForm
from testbed.simulation.processor import Answers, Processor, paced
from testbed.virtual_time import Calendar

FORMS = (TensorForm("uint8", (1, 4)), TensorForm("float32", (1, 2)))
SCORES = ExitScores(np.array([[0.5, 0.9], [0.6, 0.7]]), np.array([[3, 4], [5, 6]]))
WORK_FLOP = (10.0, 30.0)
ANSWERS = Answers(SCORES, [InputForm(form) for form in FORMS], WORK_FLOP)
COSTS = SampleCosts(flop=np.array([[4.0, 50.0], [6.0, 20.0]]), length=np.array([[2, 7], [5, 1]]))
VARYING = Answers(SCORES, [InputForm(form, most=9) for form in FORMS], WORK_FLOP, COSTS)


class Machine:
    def __init__(self, service_time=paced, answers=ANSWERS):
        self.agenda = Calendar()
        self.answers = answers
        self.ended: list[tuple[float, int]] = []
        self.processor = Processor(
            "s", 1, capacity_flop_per_s=2.0, answers=answers, agenda=self.agenda, service_time=service_time,
        )  # fmt: skip

    def start(self, sample=0):
        note = lambda answer: self.ended.append((self.agenda.now_s, answer.prediction))  # noqa: E731
        self.processor.start(self.answers.offered(sample), note)

    def at(self, time_s, action, *arguments):
        self.agenda.at(time_s, lambda _: action(*arguments), None)

    def run(self):
        assert self.agenda.run(1000.0, 1000)
        return self.ended


def test_service_takes_work_over_capacity():
    machine = Machine()
    machine.start(0)
    machine.at(7.0, machine.start, 1)
    assert machine.run() == [(5.0, 3), (12.0, 5)]


@pytest.mark.parametrize(
    ("changes", "ends_s"),
    [
        ([(2.0, 4.0)], 3.5),  # 6 of 10 are left, at 4 a second
        ([(2.0, 1.0)], 8.0),
        ([(2.0, 1.0), (4.0, 2.0)], 6.0),
        ([(5.5, 9.0)], 5.0),  # too late
    ],
)
def test_a_change_of_capacity_meets_the_task_in_service(changes, ends_s):
    machine = Machine()
    machine.start()
    for time_s, capacity in changes:
        machine.at(time_s, machine.processor.set_capacity, capacity)
    assert machine.run() == [(pytest.approx(ends_s), 3)]


def test_a_change_while_idle_counts_for_the_next_task():
    machine = Machine()
    machine.processor.set_capacity(10.0)
    machine.start()
    assert machine.run() == [(1.0, 3)]


def test_a_server_that_goes_down_never_answers():
    machine = Machine()
    machine.start()
    machine.at(1.0, machine.processor.abandon)
    machine.at(2.0, machine.start, 1)
    assert machine.run() == [(7.0, 5)]


def test_service_times_may_come_from_elsewhere():
    asked = []
    machine = Machine(lambda server, paced_s: asked.append((server, paced_s)) or 0.25)
    machine.start()
    assert machine.run() == [(0.25, 3)]
    assert asked == [("s", 5.0)]


def test_service_takes_the_work_of_the_sample():
    machine = Machine(answers=VARYING)
    machine.start(0)
    machine.at(3.0, machine.start, 1)
    machine.at(4.0, machine.processor.set_capacity, 4.0)  # 4 of 6 are left
    assert machine.run() == [(2.0, 3), (5.0, 5)]


@pytest.mark.parametrize("answers", [ANSWERS, VARYING], ids=["same", "varying"])
def test_a_tensor_without_a_sample_takes_the_usual_work(answers):
    """A server that measures its own speed computes on zeros."""
    machine = Machine(answers=answers)
    ended = []
    machine.processor.start(
        Tensor(FORMS[0], bytes(4)), lambda answer: ended.append((machine.agenda.now_s, answer.work_flop))
    )
    machine.run()
    assert ended == [(5.0, 10.0)]
    assert answers.of(2, Tensor(FORMS[1], bytes(8))).work_flop == 30.0


@pytest.mark.parametrize("sample", [0, 1])
def test_sizes_and_work_follow_the_sample(sample):
    tensor = VARYING.offered(sample)
    for stage, width, item_bytes in ((1, 4, 1), (2, 2, 4)):
        length, flop = int(COSTS.length[sample, stage - 1]), COSTS.flop[sample, stage - 1]
        assert tensor.form == TensorForm(FORMS[stage - 1].dtype, (length, width))
        assert len(tensor.data) == length * width * item_bytes
        found = VARYING.of(stage, tensor)
        assert (found.work_flop, type(found.work_flop)) == (flop, float)
        assert (found.prediction, found.confidence) == (
            SCORES.prediction[sample][stage - 1],
            SCORES.confidence[sample][stage - 1],
        )
        tensor = found.activation
    assert tensor is None


def test_answers_follow_the_sample_through_the_stages():
    image = ANSWERS.offered(1)
    assert (image.form, len(image.data)) == (FORMS[0], 4)
    first = ANSWERS.of(1, image)
    assert (first.prediction, first.confidence, first.work_flop) == (5, 0.6, 10.0)
    assert (type(first.prediction), type(first.confidence)) == (int, float)  # as records encode them
    assert (first.activation.form, len(first.activation.data)) == (FORMS[1], 8)
    last = ANSWERS.of(2, first.activation)
    assert (last.prediction, last.confidence, last.activation) == (6, 0.7, None)
    measurement = ANSWERS.of(2, Tensor(FORMS[1], bytes(8)))  # a server that measures its own speed
    assert measurement.activation is None


@pytest.mark.parametrize("activation", ["float32", "float16", "int8"])
def test_answers_are_those_of_the_real_sub_models(activation):
    from node_agent.process.executor import inference

    bundle, choice = load_bundle("glyphs"), ((2, 3, 5), activation)
    work_flop = [float(profile.flop) for profile in bundle.profiles(*choice)]
    answers = Answers(bundle.scores(choice[0]), bundle.input_forms(*choice), work_flop)
    infers, inputs = [inference(sub_model) for sub_model in bundle.sub_models(*choice)], bundle.inputs(*choice)
    same = 0
    for sample in range(0, 2000, 40):
        tensor = inputs.tensor(sample)
        simulated = answers.offered(sample)
        for stage, infer in enumerate(infers, start=1):
            assert (simulated.form.dtype, simulated.form.shape) == (tensor.form.dtype, tensor.form.shape)
            assert len(simulated.data) == len(tensor.data)
            real, looked_up = infer(tensor), answers.of(stage, simulated)
            assert looked_up.work_flop == real.work_flop
            assert looked_up.confidence == pytest.approx(real.confidence, abs=1e-4 if activation == "float32" else 2e-2)
            same += looked_up.prediction == real.prediction
            tensor, simulated = real.activation, looked_up.activation
        assert tensor is simulated is None
    assert same >= (150 if activation == "float32" else 148)
