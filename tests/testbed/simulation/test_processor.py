"""Service in virtual time: its duration and the sub-models' answers."""

import numpy as np
import pytest

from node_agent.models import load_bundle
from node_agent.models.tables import ExitScores
from node_agent.wire import Tensor, TensorForm
from testbed.run.node_configs import tensor_forms
from testbed.simulation.processor import Answers, Processor, paced
from testbed.virtual_time import Calendar

FORMS = (TensorForm("uint8", (1, 4)), TensorForm("float32", (1, 2)))
ANSWERS = Answers(ExitScores(np.array([[0.5, 0.9], [0.6, 0.7]]), np.array([[3, 4], [5, 6]])), FORMS)


class Machine:
    def __init__(self, service_time=paced):
        self.agenda = Calendar()
        self.ended: list[tuple[float, int]] = []
        self.processor = Processor(
            "s", 1, work_flop=10.0, capacity_flop_per_s=2.0, answers=ANSWERS, agenda=self.agenda,
            service_time=service_time,
        )  # fmt: skip

    def start(self, sample=0):
        note = lambda answer: self.ended.append((self.agenda.now_s, answer.prediction))  # noqa: E731
        self.processor.start(ANSWERS.offered(sample), note)

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


def test_answers_follow_the_sample_through_the_stages():
    image = ANSWERS.offered(1)
    assert (image.form, len(image.data)) == (FORMS[0], 4)
    first = ANSWERS.of(1, image)
    assert (first.prediction, first.confidence) == (5, 0.6)
    assert (first.activation.form, len(first.activation.data)) == (FORMS[1], 8)
    last = ANSWERS.of(2, first.activation)
    assert (last.prediction, last.confidence, last.activation) == (6, 0.7, None)
    measurement = ANSWERS.of(2, Tensor(FORMS[1], bytes(8)))  # a server that measures its own speed
    assert measurement.activation is None


@pytest.mark.parametrize("activation", ["float32", "float16"])
def test_answers_are_those_of_the_real_sub_models(activation):
    from node_agent.process.executor import as_tensor, inference

    bundle, cut = load_bundle("glyphs"), (2, 3, 5)
    forms = tensor_forms(bundle.input_shapes(cut), activation)
    answers = Answers(bundle.scores(cut), forms)
    infers = [inference(sub_model, activation) for sub_model in bundle.sub_models(cut)]
    same = 0
    for sample in range(0, 2000, 40):
        tensor = as_tensor(bundle.evaluation.images[sample : sample + 1])
        simulated = answers.offered(sample)
        for stage, infer in enumerate(infers, start=1):
            assert simulated.form == tensor.form
            assert len(simulated.data) == len(tensor.data)
            real, looked_up = infer(tensor), answers.of(stage, simulated)
            assert looked_up.confidence == pytest.approx(real.confidence, abs=1e-4 if activation == "float32" else 2e-2)
            same += looked_up.prediction == real.prediction
            tensor, simulated = real.activation, looked_up.activation
        assert tensor is simulated is None
    assert same >= (150 if activation == "float32" else 148)
