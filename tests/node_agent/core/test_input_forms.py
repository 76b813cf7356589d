"""A server takes tensors of the forms that its sub-model takes; nodes measure with the usual one."""

import msgspec
import pytest

from node_agent.core.events import ComputeFinished, Publish, Received, RunStarted, StartCompute
from node_agent.core.machine import DeviceCore, ServerCore
from node_agent.wire import Ack, ExitAnswer, InputForm, Offer, Probe, Result, Task, Tensor, TensorForm
from tests.node_agent.played import PlayedNode
from tests.node_agent.small import node_config
from tests.node_agent.virtual import synthetic_table

TEXTS = InputForm(TensorForm("uint16", (4, 2)), most=6)


def taking(form):
    """Return a server whose sub-model takes this form."""
    config = msgspec.structs.replace(node_config("server", 1, offloaders=("cam",)), input_form=form)
    core = ServerCore(config, synthetic_table(1))
    core.handle(RunStarted(), 0.0)
    return core


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        (TEXTS.usual, True),
        (TEXTS.sized(1), True),
        (TEXTS.sized(6), True),
        (TEXTS.sized(7), False),
        (TensorForm("uint16", (4, 3)), False),
        (TensorForm("float16", (4, 2)), False),
        (TensorForm("uint16", (4,)), False),
    ],
    ids=str,
)
def test_a_server_takes_tasks_whose_first_dimension_fits_and_notes_others(form, taken):
    core, tensor = taking(TEXTS), Tensor(form, bytes(form.byte_count))
    effects = core.handle(Received("cam", Task(1, "cam", 1, 1, 2.9, (), form), tensor), 3.0)
    assert [e.tensor for e in effects if isinstance(e, StartCompute)] == [tensor] * taken
    assert [e.message.task_id for e in effects if isinstance(getattr(e, "message", None), Ack)] == [1] * taken
    noted = [e.record.kind for e in effects if isinstance(e, Publish)]
    assert noted == ([] if taken else ["unexpected-message"])


def test_a_form_that_does_not_vary_admits_one_size():
    core, longer = taking(InputForm(TEXTS.usual)), TEXTS.sized(3)
    tensor = Tensor(longer, bytes(longer.byte_count))
    effects = core.handle(Received("cam", Task(1, "cam", 1, 1, 2.9, (), longer), tensor), 3.0)
    assert not any(isinstance(e, StartCompute) for e in effects)


def test_a_node_measures_itself_and_its_links_with_tensors_of_the_usual_size():
    usual = Tensor(TEXTS.usual, bytes(TEXTS.usual.byte_count))
    server = taking(TEXTS)
    effects = server.handle(Received("cam", Offer(0, 0, 5.0, ((5.0, ()),), 2.98, False, True)), 3.0)
    assert [e.tensor for e in effects if isinstance(e, StartCompute)] == [usual]
    config = msgspec.structs.replace(node_config("cam", 0, receivers=("server",)), onward_form=TEXTS)
    device = PlayedNode(DeviceCore(config))
    device.measure_links()
    assert [send.tensor for send in device.sends if isinstance(send.message, Probe)] == [usual]


def test_a_criterion_that_looks_at_earlier_exits_needs_their_answers():
    """A server of stage 2 scores by patience: a task without the answer of stage 1 is refused."""
    config = msgspec.structs.replace(
        node_config("server", 2, offloaders=("near",)), stages=2, criterion="patience", input_form=TEXTS
    )
    form, tensor = TEXTS.usual, Tensor(TEXTS.usual, bytes(TEXTS.usual.byte_count))
    for passed, score in (((), None), ((ExitAnswer(3, 0.9),), 1.0), ((ExitAnswer(4, 0.9),), 0.5)):
        core = ServerCore(config, synthetic_table(2))
        core.handle(RunStarted(), 0.0)
        task = Task(1, "cam", 1, 1, 2.9, (), form, passed)
        effects = core.handle(Received("near", task, tensor), 3.0)
        if score is None:
            assert [e.record.kind for e in effects if isinstance(e, Publish)] == ["unexpected-message"]
            continue
        assert any(isinstance(e, StartCompute) for e in effects)
        effects = core.handle(ComputeFinished(3, 0.2, None, overrun=False), 3.1)
        results = [e.message for e in effects if isinstance(getattr(e, "message", None), Result)]
        assert [(result.prediction, result.confidence) for result in results] == [(3, score)]
