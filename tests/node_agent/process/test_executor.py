"""Executors: service takes as long as stated, and the answer is that of the sub-model."""

import mmap
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec import ValidationError

from node_agent.core.events import ComputeFinished
from node_agent.errors import TestbedError
from node_agent.models.interface import Answer, SubModel
from node_agent.models.tensors import as_array, as_tensor
from node_agent.process.executor import PacedExecutor, QuotaExecutor, inference
from node_agent.process.punctual import Priority
from node_agent.wire import InputForm, Tensor, TensorForm
from tests.node_agent.blocks import block_by_block

pytestmark = pytest.mark.timing

ROOT = Path(__file__).parents[3]
IMAGE = Tensor(TensorForm("uint8", (2, 3)), bytes(range(6)))


@pytest.fixture(scope="module")
def glyphs():
    from node_agent.models import load_bundle

    return load_bundle("glyphs")


def answer(tensor: Tensor, *, activation: Tensor | None = None, work_flop: float = 0.0) -> ComputeFinished:
    """Return an answer that shows its tensor: the prediction is the sum of the bytes."""
    return ComputeFinished(sum(bytes(tensor.data)), 0.5, activation, overrun=False, work_flop=work_flop)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("shape", [(1,), (1, 3, 4, 4), (2, 5)])
def test_arrays_travel_unchanged(dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    tensor = as_tensor(array)
    assert tensor.form == TensorForm(dtype, shape)
    assert tensor.form.byte_count == len(tensor.data)
    back = np.frombuffer(bytes(tensor.data), dtype=dtype).reshape(shape)
    assert (back == array).all()
    there = as_array(Tensor(tensor.form, bytes(tensor.data)))
    assert (there.dtype, there.shape) == (array.dtype, shape)
    assert (there == array).all()


def test_an_array_in_another_order_is_put_in_order():
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    assert bytes(as_tensor(array).data) == np.array([[0, 4, 8], [2, 6, 10]], dtype=np.float32).tobytes()


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 0), dtype=np.uint8)], ids=["float64", "empty"])
def test_what_the_wire_does_not_know_is_refused(array):
    with pytest.raises(ValidationError):
        as_tensor(array)


@pytest.mark.parametrize("activation", ["float32", "float16"])
def test_inference_answers_as_the_sub_model_itself(glyphs, activation):
    infer, infer_last = map(inference, glyphs.sub_models((2, 5), activation))
    flop, flop_last = (float(profile.flop) for profile in glyphs.profiles((2, 5), activation))
    image = glyphs.evaluation.images[7:8]
    expected = block_by_block(glyphs.network(), range(1, 3), image, activation)
    found = infer(as_tensor(image))
    assert found.work_flop == flop
    assert (found.prediction, found.confidence, found.overrun) == (expected.prediction, expected.confidence, False)
    assert found.activation.form == TensorForm(activation, expected.activation.shape)
    assert bytes(found.activation.data) == expected.activation.tobytes()

    expected_last = block_by_block(glyphs.network(), range(3, 6), expected.activation, activation)
    received = Tensor(found.activation.form, bytes(found.activation.data))  # read-only, as from a socket
    assert infer_last(received) == ComputeFinished(
        expected_last.prediction, expected_last.confidence, None, overrun=False, work_flop=flop_last
    )


class Lengthy(SubModel):
    """A sub-model whose work grows with the first dimension: 1 MFLOP for each row."""

    input_form = InputForm(TensorForm("uint8", (3, 2)), most=9)

    def infer(self, tensor: Tensor) -> Answer:
        return Answer(tensor.form.shape[0], 0.5, tensor)

    def flop(self, tensor: Tensor) -> float:
        return 1e6 * tensor.form.shape[0]


def rows(count: int) -> Tensor:
    form = Lengthy.input_form.sized(count)
    return Tensor(form, bytes(form.byte_count))


def test_an_answer_states_the_work_of_its_own_tensor():
    infer = inference(Lengthy())
    for count in (1, 4, 9):
        assert infer(rows(count)) == ComputeFinished(count, 0.5, rows(count), overrun=False, work_flop=count * 1e6)


def test_each_tensor_is_paced_by_its_own_work():
    executor = PacedExecutor(inference(Lengthy()), 1e7, 1.0, Priority())
    for start_s, count in ((5.0, 4), (7.0, 9), (9.0, 1)):
        executor.start(rows(count), start_s, start_s)
        assert executor.due_s() == pytest.approx(start_s + 0.1 * count)
        assert executor.collect(start_s + 0.1 * count - 1e-6) is None
        found = executor.collect(start_s + 0.1 * count)
        assert (found.prediction, found.work_flop) == (count, count * 1e6)


def test_a_change_of_capacity_takes_the_work_left_of_the_tensor_in_service():
    executor = PacedExecutor(inference(Lengthy()), 1e7, 1.0, Priority())
    executor.start(rows(2), 0.0, 0.0)
    executor.collect(1.0)
    executor.start(rows(8), 1.0, 1.0)
    executor.set_capacity(2e7, 1.4)  # 4 of 8 MFLOP are left
    assert executor.due_s() == pytest.approx(1.6)


def test_a_process_of_its_own_passes_the_work_on():
    executor = QuotaExecutor(inference(Lengthy()), ())
    for count in (1, 9, 4):
        executor.start(rows(count), 0.0, 0.0)
        assert collect(executor) == ComputeFinished(count, 0.5, rows(count), overrun=False, work_flop=count * 1e6)
    executor.close()


def paced(*, work=1e6, capacity=1e7, time_scale=1.0, real_s=0.0) -> PacedExecutor:
    """Return an executor whose service takes work / capacity, by default 0.1 s, and its real work `real_s`."""

    def infer(tensor: Tensor) -> ComputeFinished:
        time.sleep(real_s)
        return answer(tensor, work_flop=work)

    return PacedExecutor(infer, capacity, time_scale, Priority())


def test_service_takes_work_over_capacity():
    executor = paced()
    assert executor.due_s() is None
    assert executor.collect(1e9) is None
    assert executor.fileno() is None
    executor.start(IMAGE, 5.0, 5.0)
    assert executor.due_s() == pytest.approx(5.1)
    assert executor.collect(5.0999) is None
    assert executor.collect(5.1) == ComputeFinished(15, 0.5, None, overrun=False, work_flop=1e6)
    assert executor.due_s() is None
    assert executor.collect(6.0) is None
    executor.close()


def test_a_late_end_of_service_is_reported():
    executor = paced()
    executor.start(IMAGE, 5.0, 5.0)
    assert executor.collect(5.125).late_s == pytest.approx(0.025)
    executor.start(IMAGE, 6.0, 6.0)
    executor.set_capacity(2e7, 6.0)
    assert executor.collect(6.25).late_s == pytest.approx(0.2)


def burnt(tensor: Tensor) -> ComputeFinished:
    """Return an answer after 20 ms of CPU time."""
    end_s = time.thread_time() + 0.02
    while time.thread_time() < end_s:
        pass
    return answer(tensor, work_flop=1e6)


def test_the_cpu_time_of_the_sub_model_is_counted():
    executor = PacedExecutor(burnt, 1e7, 1.0, Priority())
    assert executor.cpu_s == 0
    for _ in range(2):
        executor.start(IMAGE, 0.0, 0.0)
        executor.collect(1.0)
    assert 0.04 <= executor.cpu_s < 0.045
    assert paced(real_s=0.03).cpu_s < 0.01


def test_a_compute_process_reports_the_cpu_time_of_its_sub_model():
    executor = QuotaExecutor(burnt, ())
    for _ in range(2):
        executor.start(IMAGE, 0.0, 0.0)
        assert collect(executor).late_s == 0
    assert 0.04 <= executor.cpu_s < 0.045
    executor.close()


@pytest.mark.parametrize(
    ("changes", "due_s"),
    [
        ([(5.04, 2e7)], 5.07),  # 60 ms of work left, at twice the speed
        ([(5.04, 1e6)], 5.64),
        ([(5.05, 5e6), (5.10, 2.5e7)], 5.11),  # half of the work, then a quarter in the next 50 ms, then the rest
        ([(5.0, 1e7)], 5.1),
        ([(5.1, 1e6)], 5.1),  # too late: service has ended
    ],
)
def test_a_change_of_capacity_in_service_conserves_the_work_left(changes, due_s):
    executor = paced()
    executor.start(IMAGE, 5.0, 5.0)
    for now_s, capacity in changes:
        executor.set_capacity(capacity, now_s)
    assert executor.due_s() == pytest.approx(due_s)
    assert executor.collect(executor.due_s()) is not None
    executor.start(IMAGE, 9.0, 9.0)
    assert executor.due_s() == pytest.approx(9.0 + 1e6 / changes[-1][1])


def test_a_change_of_capacity_while_idle_counts_from_the_next_task_on():
    executor = paced()
    executor.set_capacity(1e6, 3.0)
    assert executor.due_s() is None
    executor.start(IMAGE, 5.0, 5.0)
    assert executor.due_s() == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("work", "time_scale", "overrun"),
    [
        (1e5, 1.0, True),  # 10 ms where the real work takes 30
        (5e6, 1.0, False),
        (1e5, 100.0, False),  # 10 emulated ms are a real second
        (1e5, 2.0, True),
    ],
)
def test_real_work_that_takes_longer_than_it_should_is_an_overrun(work, time_scale, overrun):
    executor = paced(work=work, time_scale=time_scale, real_s=0.03)
    executor.start(IMAGE, 0.0, 0.0)
    assert executor.collect(1.0).overrun is overrun


@pytest.mark.parametrize(("begun_s", "overrun"), [(5.0, False), (5.5, False), (5.98, True)])
def test_a_task_that_begins_late_is_paced_from_when_it_was_wanted(begun_s, overrun):
    """Of a paced second, 30 ms are real work, so work that begins 980 ms late cannot end in time."""
    executor = paced(work=1e7, real_s=0.03)
    executor.start(IMAGE, 5.0, begun_s)
    assert executor.due_s() == pytest.approx(6.0)
    assert executor.collect(6.2).overrun is overrun


def test_a_capacity_that_changes_before_a_wanted_task_begins_is_the_one_it_is_paced_by():
    executor = paced()
    executor.set_capacity(2e7, 5.001)
    executor.start(IMAGE, 5.0, 5.002)
    assert executor.due_s() == pytest.approx(5.05)


class Noting(Priority):
    """A priority that records each `brief` with which it is lowered."""

    def __init__(self):
        super().__init__()
        self.brief = []

    def lowered(self, *, brief=False):
        self.brief.append(brief)
        return super().lowered(brief=brief)


@pytest.mark.parametrize(("real_s", "later"), [(0.01, True), (0.3, False)])
def test_where_the_kernel_charges_nothing_real_time_decides_whether_tasks_are_brief(real_s, later, monkeypatch):
    """Kernels that charge whole ticks do that. Up to a quarter of the paced second is brief."""
    monkeypatch.setattr(time, "thread_time", lambda: 1.0)
    priority = Noting()

    def infer(tensor: Tensor) -> ComputeFinished:
        time.sleep(real_s)
        return answer(tensor, work_flop=1e7)

    executor = PacedExecutor(infer, 1e7, 1.0, priority)
    for now_s in (0.0, 2.0):
        executor.start(IMAGE, now_s, now_s)
        executor.collect(now_s + 1.5)
    assert priority.brief == [False, later]


@pytest.mark.parametrize(("real_s", "brief"), [(0.0, True), (0.3, False)])
def test_warmed_up_the_first_task_is_known_to_be_brief_or_not(real_s, brief):
    """Otherwise it would run behind normal processes. Tensors served before the run are no tasks."""
    priority, served = Noting(), []

    def infer(tensor: Tensor) -> ComputeFinished:
        served.append(tensor)
        time.sleep(real_s)
        end_s = time.thread_time() + real_s
        while time.thread_time() < end_s:
            pass
        return answer(tensor, work_flop=1e7)

    executor = PacedExecutor(infer, 1e7, 1.0, priority)
    executor.warm_up(IMAGE)
    assert len(served) == 2
    assert (priority.brief, executor.cpu_s, executor.due_s(), executor.collect(1e9)) == ([], 0.0, None, None)
    executor.start(IMAGE, 5.0, 5.0)
    assert priority.brief == [brief]
    assert executor.due_s() == pytest.approx(6.0)


def collect(executor, timeout_s=5.0) -> ComputeFinished:
    """Wait for the answer of a compute process; messages about abandoned tensors may come first."""
    deadline_s, found = time.monotonic() + timeout_s, None
    while found is None:
        assert select.select([executor.fileno()], [], [], max(0.0, deadline_s - time.monotonic()))[0]
        found = executor.collect(0.0)
    return found


def child_of(executor) -> int:
    return executor._child.pid


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_a_process_of_its_own_gets_and_gives_tensors(dtype):
    def doubled(tensor: Tensor) -> ComputeFinished:
        array = np.frombuffer(tensor.data, dtype=tensor.form.dtype).reshape(tensor.form.shape)
        return ComputeFinished(os.getpid(), float(array.max()), as_tensor(array + array), overrun=False)

    executor = QuotaExecutor(doubled, ())
    try:
        for seed in range(3):
            array = np.random.default_rng(seed).integers(0, 100, (1, 24, 16, 16)).astype(dtype)
            assert executor.due_s() is None
            executor.start(as_tensor(array), 0.0, 0.0)
            found = collect(executor)
            assert found.prediction == child_of(executor) != os.getpid()
            assert found.confidence == array.max()
            assert found.activation.form == TensorForm(dtype, array.shape)
            assert bytes(found.activation.data) == (array + array).tobytes()
            assert executor.collect(0.0) is None
    finally:
        executor.close()


def test_a_process_without_an_activation_to_send_on():
    executor = QuotaExecutor(answer, ())
    executor.start(IMAGE, 0.0, 0.0)
    assert collect(executor) == ComputeFinished(15, 0.5, None, overrun=False)
    executor.set_capacity(1.0, 0.0)  # no effect: the control group has the limit
    executor.close()


def warmed_up(executor, timeout_s=5.0):
    """Read from the child until it is warm; no message is an answer to a task."""
    while not executor.warm:
        assert select.select([executor.fileno()], [], [], timeout_s)[0]
        assert executor.collect(0.0) is None


def test_a_process_of_its_own_warms_up_before_its_first_task():
    """The child runs the sub-model, not its parent, and the answer is no task's."""
    calls = mmap.mmap(-1, 8)

    def counting(_: Tensor) -> ComputeFinished:
        calls[0] += 1
        return ComputeFinished(calls[0], 0.5, None, overrun=False)

    executor = QuotaExecutor(counting, ())
    assert executor.warm
    executor.warm_up(IMAGE)
    assert not executor.warm
    warmed_up(executor)
    assert calls[0] == 1
    assert executor.cpu_s == 0
    executor.start(IMAGE, 0.0, 0.0)
    assert collect(executor).prediction == 2
    executor.close()


def test_a_process_that_ends_while_it_warms_up_says_so():
    def end(_: Tensor) -> ComputeFinished:
        os._exit(3)

    executor = QuotaExecutor(end, ())
    executor.warm_up(IMAGE)
    with pytest.raises(TestbedError, match="ended unexpectedly"):
        warmed_up(executor)
    executor.close()


def test_nobody_waits_for_a_process_that_warms_up():
    """Neighbours measure their links meanwhile. A task that comes early is served after the warm-up."""

    def slow(tensor: Tensor) -> ComputeFinished:
        time.sleep(0.5)
        return answer(tensor)

    executor = QuotaExecutor(slow, ())
    began_s = time.monotonic()
    executor.warm_up(IMAGE)
    executor.start(IMAGE, 0.0, 0.0)
    assert time.monotonic() - began_s < 0.25
    assert collect(executor).prediction == 15
    assert time.monotonic() - began_s >= 1.0
    assert executor.warm
    executor.close()


def test_an_answer_is_not_waited_for():
    def slow(tensor: Tensor) -> ComputeFinished:
        time.sleep(1.0)
        return answer(tensor)

    executor = QuotaExecutor(slow, ())
    began_s = time.monotonic()
    executor.start(IMAGE, 0.0, 0.0)
    assert executor.collect(0.0) is None
    assert time.monotonic() - began_s < 0.5
    assert collect(executor).prediction == 15
    assert time.monotonic() - began_s >= 1.0
    executor.close()


def test_closing_ends_the_process():
    executor = QuotaExecutor(answer, ())
    pid = child_of(executor)
    assert Path(f"/proc/{pid}").exists()
    executor.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_the_process_ends_with_a_killed_agent_even_if_others_hold_its_pipe():
    """A sibling forked later inherits the other end of the pipe; it lives until the test closes its input."""
    code = (
        "import os, sys; from node_agent.process.executor import QuotaExecutor\n"
        "executor = QuotaExecutor(lambda tensor: None, ())\n"
        "if os.fork(): print(executor._child.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as agent:
        watched = os.pidfd_open(int(agent.stdout.readline()))
        agent.kill()
        ended = select.select([watched], [], [], 10)[0]
        os.close(watched)
    assert ended


def test_closing_while_it_computes_ends_the_process(capfd):
    executor = QuotaExecutor(lambda tensor: answer(tensor, activation=as_tensor(np.zeros(10**6, np.float32))), ())
    executor.start(IMAGE, 0.0, 0.0)  # its answer does not fit into the pipe
    executor.close()
    assert not Path(f"/proc/{child_of(executor)}").exists()
    assert capfd.readouterr().err == ""


def test_the_process_joins_its_groups_first(tmp_path):
    files = [tmp_path / "cpu.procs", tmp_path / "memory.procs"]
    executor = QuotaExecutor(answer, [str(file) for file in files])
    executor.start(IMAGE, 0.0, 0.0)
    collect(executor)
    executor.close()
    assert [file.read_text() for file in files] == ["0", "0"]


def test_a_process_that_has_died_is_an_error_not_a_silence():
    executor = QuotaExecutor(answer, ())
    os.kill(child_of(executor), signal.SIGKILL)
    assert select.select([executor.fileno()], [], [], 5.0)[0]
    with pytest.raises(TestbedError, match="the sub-model has ended unexpectedly"):
        executor.collect(0.0)
    executor.close()


def test_a_process_that_cannot_join_its_group_says_why(tmp_path, capfd):
    executor = QuotaExecutor(answer, [str(tmp_path / "absent" / "cgroup.procs")])
    assert select.select([executor.fileno()], [], [], 5.0)[0]
    with pytest.raises(TestbedError):
        executor.collect(0.0)
    executor.close()
    assert "absent/cgroup.procs" in capfd.readouterr().err


class Leisurely:
    """A sub-model of many small steps, like layers; `done` counts the steps per tensor, across processes."""

    STEPS = 300

    def __init__(self) -> None:
        self.done = memoryview(mmap.mmap(-1, 8 * 256)).cast("Q")  # by tensor, across processes

    def __call__(self, tensor: Tensor) -> ComputeFinished:
        for _ in range(self.STEPS):
            time.sleep(0.001)
            self.done[tensor.data[0]] += 1
        return answer(tensor)

    def await_begin(self, number: int) -> None:
        """Wait until the first step on tensor `number` is done."""
        deadline_s = time.monotonic() + 10
        while not self.done[number]:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)


def of(number: int) -> Tensor:
    """Return a tensor whose answer is this number."""
    return Tensor(TensorForm("uint8", (1,)), bytes([number]))


def test_service_that_is_given_up_is_never_answered_and_the_next_begins_at_once():
    executor = paced()
    executor.stop()  # nothing yet
    executor.start(of(1), 5.0, 5.0)
    executor.stop()
    assert executor.due_s() is None
    assert executor.collect(9.0) is None
    executor.start(of(2), 9.0, 9.0)
    assert executor.due_s() == pytest.approx(9.1)
    assert executor.collect(9.1).prediction == 2
    executor.stop()
    assert executor.collect(20.0) is None


def test_a_process_of_its_own_gives_up_between_two_layers():
    infer = Leisurely()
    executor = QuotaExecutor(infer, ())
    executor.stop()
    executor.start(of(1), 0.0, 0.0)
    infer.await_begin(1)
    executor.stop()
    executor.start(of(2), 0.0, 0.0)
    assert collect(executor).prediction == 2
    assert 0 < infer.done[1] < infer.STEPS == infer.done[2]
    executor.close()


def test_what_is_given_up_before_the_process_has_read_it_is_not_begun():
    infer = Leisurely()
    executor = QuotaExecutor(infer, ())
    pid = child_of(executor)
    executor.start(of(1), 0.0, 0.0)
    infer.await_begin(1)
    os.kill(pid, signal.SIGSTOP)
    for number in (2, 3):
        executor.stop()
        executor.start(of(number), 0.0, 0.0)
    os.kill(pid, signal.SIGCONT)
    assert collect(executor).prediction == 3
    assert (infer.done[2], infer.done[3]) == (0, infer.STEPS)
    assert infer.done[1] < infer.STEPS
    assert executor.collect(0.0) is None
    executor.close()


def test_every_answer_is_that_of_the_tensor_in_service_however_often_others_are_given_up():
    """Tensors are abandoned while they are computed, while their answer is on its way, or before they are read."""

    def quick(tensor: Tensor) -> ComputeFinished:
        for _ in range(tensor.data[0] % 5):
            time.sleep(0.0005)
        return answer(tensor, activation=as_tensor(np.zeros(100, np.float32)))

    executor = QuotaExecutor(quick, ())
    for number in range(250):
        executor.start(of(number), 0.0, 0.0)
        time.sleep(0.0004 * (number % 7))
        if number % 3:
            executor.stop()
        else:
            assert collect(executor).prediction == number
    executor.close()
