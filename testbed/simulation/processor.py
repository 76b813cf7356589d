"""Compute in virtual time: answers are looked up, service times follow from work and capacity."""

import math
from collections.abc import Callable, Sequence
from functools import cache

from node_agent.core.events import ComputeFinished
from node_agent.errors import InvalidState
from node_agent.models.data_types import ExitScores
from node_agent.models.interface import SampleCosts
from node_agent.wire import InputForm, Tensor, TensorForm
from testbed.virtual_time import Calendar, Entry

ServiceTime = Callable[[str, float], float]  # server, work / capacity [s] -> service time of one task [s]


def paced(_server: str, paced_s: float) -> float:
    """Return `paced_s`, work / capacity [s], as paced compute does in live runs."""
    return paced_s


class SampleTensor(Tensor, frozen=True):
    """A tensor of zeros that represents an evaluation sample on its way through the stages."""

    sample: int


class Answers:
    """The sub-models' answers for every evaluation sample, recorded in advance."""

    def __init__(
        self,
        scores: ExitScores,
        forms: Sequence[InputForm],
        work_flop: Sequence[float],
        costs: SampleCosts | None = None,
    ) -> None:
        """Prepare the answers of H stages to N samples; stage h stands at index h - 1.

        Args:
            scores: the answers, [N, H].
            forms: the inputs.
            work_flop: the usual work [FLOP].
            costs: the costs of each sample; None if all samples cost the same.
        """
        self._confidence = scores.confidence if scores.alone is None else scores.alone
        self._prediction = scores.prediction
        self._forms = forms
        self._work_flop = work_flop
        self._costs = costs
        self._usual = [(form.usual, bytes(form.usual.byte_count)) for form in forms]
        self._sized = cache(self._zeros)

    def offered(self, sample: int) -> Tensor:
        """Return the tensor that a device sends for a sample."""
        return self._input(1, sample)

    def of(self, stage: int, tensor: Tensor) -> ComputeFinished:
        """Return the answer of a stage's sub-model (stages from 1).

        A tensor without a sample gets the answer to sample 0, and takes the usual work.
        """
        known = isinstance(tensor, SampleTensor)
        sample = tensor.sample if isinstance(tensor, SampleTensor) else 0
        column = stage - 1
        return ComputeFinished(
            prediction=int(self._prediction[sample, column]),
            confidence=float(self._confidence[sample, column]),
            activation=self._input(stage + 1, sample) if stage < len(self._forms) else None,
            overrun=False,
            work_flop=float(self._costs.flop[sample, column]) if self._costs and known else self._work_flop[column],
        )

    def usual_flop(self, stage: int) -> float:
        """Return the usual work of a task at a stage [FLOP]."""
        return self._work_flop[stage - 1]

    def _input(self, stage: int, sample: int) -> SampleTensor:
        if self._costs is None:
            form, zeros = self._usual[stage - 1]
        else:
            form, zeros = self._sized(stage, int(self._costs.length[sample, stage - 1]))
        return SampleTensor(form, zeros, sample)

    def _zeros(self, stage: int, length: int) -> tuple[TensorForm, bytes]:
        form = self._forms[stage - 1].sized(length)
        return form, bytes(form.byte_count)


class Processor:
    """Serves one tensor at a time. A change of capacity also affects the task in service."""

    def __init__(
        self,
        server: str,
        stage: int,
        *,
        capacity_flop_per_s: float,
        answers: Answers,
        agenda: Calendar,
        service_time: ServiceTime,
    ) -> None:
        self._server = server
        self._stage = stage
        self._capacity = capacity_flop_per_s
        self._answers = answers
        self._agenda = agenda
        self._service_time = service_time
        self._entry: Entry | None = None  # the end of service in the agenda
        self._due_s = 0.0
        self._answer: ComputeFinished | None = None
        self._finished: Callable[[ComputeFinished], None] | None = None

    @property
    def left_s(self) -> float:
        """Time until the tensor in service is done, at the present capacity [s]; 0 without one."""
        return self._due_s - self._agenda.now_s if self._entry is not None else 0.0

    @property
    def usual_s(self) -> float:
        """Service time of the usual work, at the present capacity [s]."""
        return self._answers.usual_flop(self._stage) / self._capacity

    def start(self, tensor: Tensor, finished: Callable[[ComputeFinished], None]) -> None:
        """Begin service; call `finished` with the answer when it ends."""
        self._answer, self._finished = self._answers.of(self._stage, tensor), finished
        self._wait(self._service_time(self._server, self._answer.work_flop / self._capacity))

    def set_capacity(self, capacity_flop_per_s: float) -> None:
        """Change the capacity [FLOP/s], also for the rest of the task in service."""
        if self._entry is not None:
            left_s = self._due_s - self._agenda.now_s
            self.abandon()
            self._wait(left_s * self._capacity / capacity_flop_per_s)
        self._capacity = capacity_flop_per_s

    def abandon(self) -> None:
        """Drop the task in service without an answer."""
        if self._entry is not None:
            self._agenda.strike(self._entry)
            self._entry = None

    def validate(self, *, busy: bool) -> None:
        """Raise InvalidState unless a tensor is in service exactly if `busy`, and its end is entered for the future."""
        if (self._entry is not None) != busy:
            raise InvalidState(f"processor of {self._server}", f"busy: {not busy}, but the node has it busy: {busy}")
        if self._entry is not None and not self._agenda.now_s <= self._due_s == self._entry[0]:
            entered = f"due at {self._due_s} s, entered for {self._entry[0]} s, and it is {self._agenda.now_s} s"
            raise InvalidState(f"processor of {self._server}", entered)
        if not 0 < self._capacity < math.inf:
            raise InvalidState(f"processor of {self._server}", f"its capacity is {self._capacity} FLOP/s")

    def _wait(self, left_s: float) -> None:
        self._due_s = self._agenda.now_s + left_s
        self._entry = self._agenda.at(self._due_s, self._end, None)

    def _end(self, _: None) -> None:
        self._entry = None
        assert self._finished is not None
        assert self._answer is not None
        self._finished(self._answer)
