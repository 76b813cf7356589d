"""Running a sub-model as slowly as the node it stands for.

Paced: the real sub-model runs at once, and its answer is held until work / capacity has passed since service began.
Quota: the real sub-model runs in a process of its own whose CPU time the kernel limits.
Both run real work; both answer with `ComputeFinished`. Times are emulated seconds unless their name says otherwise.
"""

import math
import mmap
import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from node_agent.core.events import ComputeFinished
from node_agent.errors import TestbedError
from node_agent.models.tables import ActivationFormat
from node_agent.process.children import PipedChild
from node_agent.process.punctual import Priority
from node_agent.wire import Tensor, TensorForm

if TYPE_CHECKING:
    from node_agent.models.network import SubModel  # needs torch, which only the server's process pays for

Infer = Callable[[Tensor], ComputeFinished]
PAUSE_S = 0.02
LONE_RUNS = 12
GIVE_UP = signal.SIGUSR1
BRIEF_SHARE = 0.25  # of the paced time: a sub-model that takes no more than that may go before normal processes


def inference(sub_model: "SubModel", activation: ActivationFormat) -> Infer:
    """The sub-model as a function from tensor to answer; `activation` is the format of what it sends on."""

    import torch  # noqa: PLC0415 - as above

    from node_agent.models.straight import straight  # noqa: PLC0415

    forward, temperature = straight(sub_model), sub_model.head.temperature
    last, halved = sub_model.last, activation == "float16"

    def infer(tensor: Tensor) -> ComputeFinished:
        array = np.frombuffer(tensor.data, dtype=tensor.form.dtype).reshape(tensor.form.shape)
        with torch.inference_mode():
            features, logits = forward(sub_model.as_input(array))
            scores: list[float] = torch.softmax(logits[0] / temperature, dim=0).tolist()
            onward = None if last else as_tensor((features.half() if halved else features).numpy())
        confidence = max(scores)
        return ComputeFinished(scores.index(confidence), confidence, onward, overrun=False)

    return infer


def as_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """A numpy array as it travels, its bytes uncopied."""
    return Tensor(_form(array.dtype, array.shape), np.ascontiguousarray(array).data.cast("B"))


@cache
def _form(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> TensorForm:
    """Kept, since a node sees one or two of them and numpy takes longer to spell a type than to copy a tensor."""
    return msgspec.convert((dtype.name, shape), TensorForm)


def cpu_s_of_lone_task(infer: Infer, form: TensorForm) -> float:
    """Processor time of one task that comes after a pause, as most tasks do [s]; the median of LONE_RUNS.

    With cold caches a small sub-model takes several times what it takes in a loop.
    """
    tensor = Tensor(form, bytes(form.byte_count))
    spent_s, real_s = [], []
    for _ in range(LONE_RUNS):
        time.sleep(PAUSE_S)
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        infer(tensor)
        spent_s.append(time.thread_time() - began_cpu_s)
        real_s.append(time.monotonic() - began_s)
    # A kernel that charges whole ticks (user-mode Linux: 10 ms) shows most tasks as free: real time is then nearer.
    return statistics.median(spent_s if all(spent_s) else real_s)


class Executor(Protocol):
    """Serves one tensor at a time."""

    @property
    def warm(self) -> bool:
        """False while `warm_up` goes on."""

    def start(self, tensor: Tensor, wanted_s: float, now_s: float) -> None:
        """Begin service now; it counts from `wanted_s`, which may be a moment ago."""

    def stop(self) -> None:
        """Give up the service that was begun, if it has not ended: it is never answered, and another may begin."""

    def set_capacity(self, capacity_flop_per_s: float, now_s: float) -> None:
        """Compute at another rate from now on, the task in service included."""

    def due_s(self) -> float | None:
        """When to call `collect`, if that is known in advance."""

    def fileno(self) -> int | None:
        """What to poll for being able to `collect`, if there is such a thing."""

    def collect(self, now_s: float) -> ComputeFinished | None:
        """The answer, if service has ended."""

    @property
    def cpu_s(self) -> float:
        """CPU time spent inside the sub-model so far [real s]."""

    def close(self) -> None:
        """End whatever was started."""


class PacedExecutor:
    """Service takes work / capacity, kept by an absolute timer; real work that takes longer is an overrun."""

    def __init__(
        self, infer: Infer, work_flop: float, capacity_flop_per_s: float, time_scale: float, priority: Priority
    ) -> None:
        """`priority` is the thread's that computes: lowered while it does, so that other nodes stay punctual."""
        self._infer = infer
        self._priority = priority
        self._work_flop = work_flop
        self._capacity = capacity_flop_per_s
        self._time_scale = time_scale
        self._answer: ComputeFinished | None = None
        self._due_s = 0.0
        self._cpu_s = 0.0
        self._last_s = math.inf  # CPU time of the last task [real s]; unless warmed up, the first may be long

    @property
    def warm(self) -> bool:
        """True: `warm_up` has ended when it returns."""
        return True

    def warm_up(self, tensor: Tensor) -> None:
        """Serve before the run what is no task: the first inference after a fork takes five times as long.

        A second one tells whether tasks are brief. Otherwise the first task would run behind normal processes, and on a
        busy machine it would overrun, just while the estimate of the service time is young.
        """
        self._infer(tensor)
        self._timed(tensor)

    def _timed(self, tensor: Tensor) -> tuple[ComputeFinished, float, float]:
        """The answer, and the CPU time and the real time it took [s]."""
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        answer = self._infer(tensor)
        cpu_s, real_s = time.thread_time() - began_cpu_s, time.monotonic() - began_s
        self._last_s = cpu_s or real_s  # a kernel that charges whole ticks shows most tasks as free
        return answer, cpu_s, real_s

    def start(self, tensor: Tensor, wanted_s: float, now_s: float) -> None:
        paced_s = self._work_flop / self._capacity
        brief = self._last_s < BRIEF_SHARE * paced_s * self._time_scale
        with self._priority.lowered(brief=brief):
            answer, cpu_s, real_s = self._timed(tensor)
        self._cpu_s += cpu_s
        self._due_s = wanted_s + paced_s
        self._answer = msgspec.structs.replace(answer, overrun=now_s + real_s / self._time_scale > self._due_s)

    def stop(self) -> None:
        self._answer = None  # the real work is over: what was left of it is waiting

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
        return msgspec.structs.replace(answer, late_s=now_s - self._due_s)

    @property
    def cpu_s(self) -> float:
        return self._cpu_s

    def close(self) -> None:
        """Nothing was started."""


class QuotaExecutor:
    """A child process runs the sub-model, under the CPU limit of the control groups it has joined.

    Each tensor has a number, which its answer carries. To give one up, its number is put where the child can read it,
    and a signal has it look, between two layers of the sub-model. An answer that was on its way by then is dropped.
    The agent's own messaging stays outside the limit. Capacity changes are the group's business, not this class's.
    Must be made before the process has threads, since it forks, and by a thread that lives as long as the agent, since
    the child ends with it.
    """

    def __init__(self, infer: Infer, procs_paths: Sequence[str]) -> None:
        """`procs_paths`: the files of the control groups that a process joins by writing its id."""
        self._cpu_s = 0.0
        self._number = 0  # of the tensor in service
        self._serving = False
        self._warming: int | None = None  # the number of the tensor that is no task, until it has been served
        self._given_up = memoryview(mmap.mmap(-1, 8)).cast("Q")  # the last number that is not wanted; the child's, too
        signal.pthread_sigmask(signal.SIG_BLOCK, {GIVE_UP})  # it would end a child that has not come to expect it
        self._child = PipedChild(lambda pipe: _serve(pipe, infer, procs_paths, self._given_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {GIVE_UP})

    @property
    def warm(self) -> bool:
        """False from `warm_up` until `collect` has met the child's word that it is done."""
        return self._warming is None

    def warm_up(self, tensor: Tensor) -> None:
        """Have the child serve what is no task: its first inference takes five times as long.

        Under a small quota that may be seconds. Nobody waits here: the neighbours measure their links meanwhile.
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
        """The control group's quota is changed from outside."""

    def due_s(self) -> float | None:
        return None

    def fileno(self) -> int | None:
        return self._child.pipe.fileno()

    def collect(self, now_s: float) -> ComputeFinished | None:  # noqa: ARG002
        pipe = self._child.pipe
        while pipe.poll():
            try:
                number, prediction, confidence, form, cpu_s = msgspec.msgpack.decode(pipe.recv_bytes(), type=_Answer)
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
                return ComputeFinished(prediction, confidence, activation, overrun=False)
        return None

    @property
    def cpu_s(self) -> float:
        return self._cpu_s

    def close(self) -> None:
        self._child.close()


_Asked = tuple[int, TensorForm]  # the tensor's number, what follows
# The tensor's number, prediction, confidence, what follows, CPU time [s]; to one that was given up, only that counts.
_Answer = tuple[int, int, float, TensorForm | None, float]


class _GivenUp(BaseException):
    """The answer is no longer wanted. No `Exception`, so that no library takes it for its own."""


def _put(pipe: Connection, header: object, data: bytes | bytearray | memoryview | None) -> None:
    pipe.send_bytes(msgspec.msgpack.encode(header))
    if data is not None:
        pipe.send_bytes(data)


def _serve(pipe: Connection, infer: Infer, procs_paths: Sequence[str], given_up: memoryview) -> None:
    """The child: join the control groups, then answer until the pipe closes."""
    number, inferring = 0, False

    def give_up(*_: object) -> None:
        if inferring and number <= given_up[0]:
            raise _GivenUp

    signal.signal(GIVE_UP, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {GIVE_UP})
    for path in procs_paths:
        with open(path, "w", encoding="ascii") as procs:
            procs.write("0")  # the writer itself
    while True:
        number, tensor_form = msgspec.msgpack.decode(pipe.recv_bytes(), type=_Asked)
        tensor = Tensor(tensor_form, pipe.recv_bytes())
        began_s = time.thread_time()
        answer = None
        try:
            inferring = True
            give_up()  # it may have been given up before it was read
            answer = infer(tensor)
            inferring = False
        except _GivenUp:
            inferring = False
        cpu_s = time.thread_time() - began_s
        if answer is None:
            _put(pipe, (number, 0, 0.0, None, cpu_s), None)
            continue
        onward = answer.activation
        form, data = (onward.form, onward.data) if onward else (None, None)
        _put(pipe, (number, answer.prediction, answer.confidence, form, cpu_s), data)
