"""Executors run a sub-model as slowly as the emulated server would.

Paced: the sub-model runs at once, and its answer is held until work / capacity has passed since service began.
Quota: the sub-model runs in a process of its own, whose CPU time the kernel limits.
Both do real work, and both answer with `ComputeFinished`. Times are emulated seconds unless "real s" is stated.
"""

import math
import mmap
import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Protocol

import msgspec

from node_agent.core.events import ComputeFinished
from node_agent.errors import TestbedError
from node_agent.models.interface import SubModel
from node_agent.process.children import PipedChild
from node_agent.process.punctual import Priority
from node_agent.wire import Tensor, TensorForm

Infer = Callable[[Tensor], ComputeFinished]
PAUSE_S = 0.02  # before each lone task [real s]
LONE_RUNS = 12  # lone tasks that are measured
GIVE_UP = signal.SIGUSR1  # asks the compute process to abandon its tensor
BRIEF_SHARE = 0.25  # a sub-model that needs at most this share of its paced time may run before normal processes


def inference(sub_model: SubModel) -> Infer:
    """Return the sub-model as a function from tensor to answer, with the work that the tensor takes."""
    run, flop = sub_model.infer, sub_model.flop

    def infer(tensor: Tensor) -> ComputeFinished:
        answer = run(tensor)
        return ComputeFinished(
            answer.prediction, answer.confidence, answer.activation, overrun=False, work_flop=flop(tensor)
        )

    return infer


def cpu_s_of_lone_task(infer: Infer, form: TensorForm) -> float:
    """Return the CPU time of a task after a pause [real s]: the median of LONE_RUNS.

    Most tasks come after a pause. With cold caches a small sub-model takes several times as long as in a loop.
    """
    tensor = Tensor(form, bytes(form.byte_count))
    spent_s, real_s = [], []
    for _ in range(LONE_RUNS):
        time.sleep(PAUSE_S)
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        infer(tensor)
        spent_s.append(time.thread_time() - began_cpu_s)
        real_s.append(time.monotonic() - began_s)
    # A kernel that charges whole ticks (user-mode Linux: 10 ms) charges nothing for most tasks: use real time then.
    return statistics.median(spent_s if all(spent_s) else real_s)


class Executor(Protocol):
    """Serves one tensor at a time."""

    @property
    def warm(self) -> bool:
        """False while `warm_up` is still running."""

    def start(self, tensor: Tensor, wanted_s: float, now_s: float) -> None:
        """Begin service now, at `now_s`; its time counts from `wanted_s`, which may be a little earlier."""

    def stop(self) -> None:
        """Abandon the service that has begun, if there is one: it is never answered, and another may begin."""

    def set_capacity(self, capacity_flop_per_s: float, now_s: float) -> None:
        """Compute at this rate from `now_s` on, the task in service included."""

    def due_s(self) -> float | None:
        """Return when service ends [s]; None if that is not known in advance or nothing is served."""

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable when `collect` has something to do; None if there is none."""

    def collect(self, now_s: float) -> ComputeFinished | None:
        """Return the answer; None if service has not ended."""

    @property
    def cpu_s(self) -> float:
        """CPU time spent inside the sub-model so far [real s]."""

    def close(self) -> None:
        """End the processes that were started."""


class PacedExecutor:
    """Service takes work / capacity, as an absolute deadline. Real work that takes longer is an overrun."""

    def __init__(self, infer: Infer, capacity_flop_per_s: float, time_scale: float, priority: Priority) -> None:
        """Serve with `infer`, whose answers state their work, at `capacity_flop_per_s` [FLOP per emulated s].

        `time_scale` is in real seconds per emulated second. `priority` is that of the computing thread: it is lowered
        during work, so that other nodes stay punctual.
        """
        self._infer = infer
        self._priority = priority
        self._capacity = capacity_flop_per_s
        self._time_scale = time_scale
        self._answer: ComputeFinished | None = None
        self._overrun = False
        self._due_s = 0.0
        self._cpu_s = 0.0
        # CPU time [real s] and work [FLOP] of the last task; without `warm_up`, the first one counts as long.
        self._last_s, self._last_flop = math.inf, 0.0

    @property
    def warm(self) -> bool:
        """Always True: `warm_up` returns when it has ended."""
        return True

    def warm_up(self, tensor: Tensor) -> None:
        """Run the sub-model twice before the run, on a tensor that is no task.

        The first inference after a fork takes several times as long as others. The second one measures whether tasks
        are brief. Otherwise the first task would run behind normal processes and could overrun, while the estimate of
        the service time is still young.
        """
        self._infer(tensor)
        self._timed(tensor)

    def _timed(self, tensor: Tensor) -> tuple[ComputeFinished, float, float]:
        """Return the answer, the CPU time and the real time that it took [real s]."""
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        answer = self._infer(tensor)
        cpu_s, real_s = time.thread_time() - began_cpu_s, time.monotonic() - began_s
        self._last_s = cpu_s or real_s  # a kernel that charges whole ticks charges nothing for most tasks
        self._last_flop = answer.work_flop
        return answer, cpu_s, real_s

    def start(self, tensor: Tensor, wanted_s: float, now_s: float) -> None:
        brief = self._last_s < BRIEF_SHARE * self._last_flop / self._capacity * self._time_scale
        with self._priority.lowered(brief=brief):
            answer, cpu_s, real_s = self._timed(tensor)
        self._cpu_s += cpu_s
        self._due_s = wanted_s + answer.work_flop / self._capacity
        self._overrun = now_s + real_s / self._time_scale > self._due_s
        self._answer = answer

    def stop(self) -> None:
        self._answer = None  # the real work is over; only its time was left

    def set_capacity(self, capacity_flop_per_s: float, now_s: float) -> None:
        if self._answer is not None and self._due_s > now_s:
            left_flop = (self._due_s - now_s) * self._capacity
            self._due_s = now_s + left_flop / capacity_flop_per_s
        self._capacity = capacity_flop_per_s

    def due_s(self) -> float | None:
        return None if self._answer is None else self._due_s

    def fileno(self) -> int | None:
        return None

    def collect(self, now_s: float) -> ComputeFinished | None:
        if self._answer is None or now_s < self._due_s:
            return None
        answer, self._answer = self._answer, None
        return msgspec.structs.replace(answer, overrun=self._overrun, late_s=now_s - self._due_s)

    @property
    def cpu_s(self) -> float:
        return self._cpu_s

    def close(self) -> None:
        """Do nothing: no process was started."""


class QuotaExecutor:
    """A child process runs the sub-model, under the CPU limit of the control groups that it joins.

    Each tensor has a number, which its answer carries. To abandon a tensor, this process writes its number into shared
    memory and sends a signal. The child checks the number between two layers of the sub-model. An answer that was on
    its way already is dropped.

    The agent's own messaging is outside the limit. The capacity is changed at the control group, not here.

    Create it before the process has threads, since it forks, and in a thread that lives as long as the agent, since the
    child ends with that thread.
    """

    def __init__(self, infer: Infer, procs_paths: Sequence[str]) -> None:
        """`procs_paths` are the cgroup.procs files of the control groups that the child joins."""
        self._cpu_s = 0.0
        self._number = 0  # of the tensor in service
        self._serving = False
        self._warming: int | None = None  # number of the warm-up tensor, until it has been served
        self._given_up = memoryview(mmap.mmap(-1, 8)).cast("Q")  # last number that is abandoned; shared with the child
        signal.pthread_sigmask(signal.SIG_BLOCK, {GIVE_UP})  # it would kill a child that has no handler yet
        self._child = PipedChild(lambda pipe: _serve(pipe, infer, procs_paths, self._given_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {GIVE_UP})

    @property
    def warm(self) -> bool:
        """False from `warm_up` until `collect` has read that the child has finished it."""
        return self._warming is None

    def warm_up(self, tensor: Tensor) -> None:
        """Send the child a tensor that is no task: its first inference takes several times as long as others.

        Under a small quota that may take seconds. This call does not wait: neighbours measure their links meanwhile.
        """
        self._number += 1
        self._warming = self._number
        _put(self._child.pipe, (self._number, tensor.form), tensor.data)

    def start(self, tensor: Tensor, wanted_s: float, now_s: float) -> None:  # noqa: ARG002 - the kernel keeps the time
        self._number += 1
        self._serving = True
        _put(self._child.pipe, (self._number, tensor.form), tensor.data)

    def stop(self) -> None:
        if self._serving:
            self._serving = False
            self._given_up[0] = self._number
            os.kill(self._child.pid, GIVE_UP)

    def set_capacity(self, capacity_flop_per_s: float, now_s: float) -> None:
        """Do nothing: the experiment changes the control group's quota."""

    def due_s(self) -> float | None:
        return None

    def fileno(self) -> int | None:
        return self._child.pipe.fileno()

    def collect(self, now_s: float) -> ComputeFinished | None:  # noqa: ARG002
        pipe = self._child.pipe
        while pipe.poll():
            try:
                answer = msgspec.msgpack.decode(pipe.recv_bytes(), type=_Answer)
                number, prediction, confidence, work_flop, form, cpu_s = answer
                activation = None if form is None else Tensor(form, pipe.recv_bytes())
            except (EOFError, ConnectionError) as error:
                hint = "it may have exceeded its memory limit"
                raise TestbedError("the process of the sub-model has ended unexpectedly", hint=hint) from error
            if number == self._warming:
                self._warming = None
                continue
            self._cpu_s += cpu_s
            if self._serving and number == self._number:
                self._serving = False
                return ComputeFinished(prediction, confidence, activation, overrun=False, work_flop=work_flop)
        return None

    @property
    def cpu_s(self) -> float:
        return self._cpu_s

    def close(self) -> None:
        self._child.close()


_Asked = tuple[int, TensorForm]  # the tensor's number, its form
# The tensor's number, prediction, confidence, work [FLOP], form of the activation, CPU time [real s]. If the tensor was
# abandoned, only the CPU time counts.
_Answer = tuple[int, int, float, float, TensorForm | None, float]


class _GivenUp(BaseException):
    """Raised in the child when its answer is no longer wanted; no `Exception`, so that no library catches it."""


def _put(pipe: Connection, header: object, data: bytes | bytearray | memoryview | None) -> None:
    pipe.send_bytes(msgspec.msgpack.encode(header))
    if data is not None:
        pipe.send_bytes(data)


def _serve(pipe: Connection, infer: Infer, procs_paths: Sequence[str], given_up: memoryview) -> None:
    """Run the child: join the control groups, then answer tensors until the pipe closes."""
    number, inferring = 0, False

    def give_up(*_: object) -> None:
        if inferring and number <= given_up[0]:
            raise _GivenUp

    signal.signal(GIVE_UP, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {GIVE_UP})
    for path in procs_paths:
        with open(path, "w", encoding="ascii") as procs:
            procs.write("0")  # 0: the writing process
    while True:
        number, tensor_form = msgspec.msgpack.decode(pipe.recv_bytes(), type=_Asked)
        tensor = Tensor(tensor_form, pipe.recv_bytes())
        began_s = time.thread_time()
        answer = None
        try:
            inferring = True
            give_up()  # it may have been abandoned before it was read
            answer = infer(tensor)
            inferring = False
        except _GivenUp:
            inferring = False
        cpu_s = time.thread_time() - began_s
        if answer is None:
            _put(pipe, (number, 0, 0.0, 0.0, None, cpu_s), None)
            continue
        onward = answer.activation
        form, data = (onward.form, onward.data) if onward else (None, None)
        _put(pipe, (number, answer.prediction, answer.confidence, answer.work_flop, form, cpu_s), data)
