"""The lines of tasks.jsonl. Runs write them, readers decode them, and the summary is computed from them.

To add a column, add a field here, with its line of documentation, and its value in `TaskLine.of`. Give it a default,
so that files of earlier versions stay readable.
"""

from collections.abc import Iterable
from typing import Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from node_agent.records import TaskRecord, TaskStatus
from node_agent.wire import Handover, Hop


class HopLine(Hop, frozen=True, array_like=False, omit_defaults=True):
    """A server on a task's way: a `Hop` with its fields by name.

    Times are emulated seconds since the start of the run.

    Attributes:
        node: the server's name.
        received_s: when the server had received the task [s].
        started_s: when its service began [s].
        finished_s: when its service ended [s].
        sent_s: when the server sent the task, or its result, onward [s].
        late_s: service time beyond work / capacity, as this machine was slow [s]; 0 under quota and in simulations.
        failed: earlier handovers to receivers that did not answer: lists as in `offers`. Left out if there were none.
    """


Way = tuple[HopLine, ...]


class TaskLine(Struct, frozen=True, kw_only=True):
    """A task that has ended. Times are emulated seconds since the start of the run.

    Attributes:
        id: the task's number, from 0, in the order of the workload trace.
        device: the name of the device that owns it.
        sample: the number of its input among the model's evaluation samples, from 0.
        label: the true class of the sample.
        prediction: the class that the exit answered; None without a result.
        correct: true if `prediction` equals `label`; None without a result.
        exit_stage: the stage at which the task left, from 1; None without a result.
        created_s: when the workload created it [s].
        completed_s: when its result arrived at the device [s]; None without a result.
        delay_s: `completed_s` - `created_s` [s]; None without a result.
        status: "completed", "lost", or "refused" by its device.
        attempts: how often it was offered: the larger of the counts of its device and of the servers on its way.
        offers: every offer of the device, a list each: the receiver's name, when the task was sent [s], and true if
            the receiver is known to have taken it over.
        hops: the way of the first result, a `HopLine` per stage from stage 1 on; empty without a result.
        lateness_s: delay between `created_s` and the device's first offer, because this machine was late [s].
        forced_exit: true if the task left because no receiver answered, although the exit was not confident.
        reason: why it was lost or refused; None if it was completed.
        predicted_delay_s: the delay that its device predicted when it arrived [s]; left out without a prediction.
        deadline_s: the delay up to which its result is in time [s]; left out without a deadline.
        expected_delay_s: the `delay_s` that a machine that emulates exactly would have given [s]; None if unknown.
            Left out in simulations, and until a live run has ended.
        repeats: the ways of results that arrived after the first one, each as in `hops`; left out if there were none.
    """

    id: int
    device: str
    sample: int
    label: int
    prediction: int | None
    correct: bool | None
    exit_stage: int | None
    created_s: float
    completed_s: float | None
    delay_s: float | None
    status: TaskStatus
    attempts: int
    offers: tuple[Handover, ...] = ()
    hops: Way
    lateness_s: float
    forced_exit: bool
    reason: str | None
    predicted_delay_s: float | UnsetType = UNSET
    deadline_s: float | UnsetType = UNSET
    expected_delay_s: float | UnsetType | None = UNSET
    repeats: tuple[Way, ...] | UnsetType = UNSET

    @classmethod
    def of(cls, record: TaskRecord, label: int, deadline_s: float | None = None) -> Self:
        """Return the line of a task that has ended; `label` is its true class, `deadline_s` is None without one."""
        done_s = record.completed_s
        return cls(
            id=record.id,
            device=record.device,
            sample=record.sample,
            label=label,
            prediction=record.prediction,
            correct=None if done_s is None else record.prediction == label,
            exit_stage=record.exit_stage,
            created_s=record.created_s,
            completed_s=done_s,
            delay_s=None if done_s is None else done_s - record.created_s,
            status=record.status,
            attempts=record.attempts,
            offers=record.offers,
            hops=way_of(record.hops),
            lateness_s=record.lateness_s,
            forced_exit=record.forced_exit,
            reason=record.reason,
            predicted_delay_s=UNSET if record.predicted_delay_s is None else record.predicted_delay_s,
            deadline_s=UNSET if deadline_s is None else deadline_s,
        )

    @property
    def in_time(self) -> bool | None:
        """True if it was completed by its deadline; None if it has none."""
        if self.deadline_s is UNSET:
            return None
        return self.delay_s is not None and self.delay_s <= self.deadline_s

    @property
    def service_lateness_s(self) -> float:
        """The sum of `late_s` over its hops [s]."""
        return sum(hop.late_s for hop in self.hops)

    @property
    def ways(self) -> tuple[Way, ...]:
        """The way of the first result, then the repeats, which also took servers' time."""
        return (self.hops,) if self.repeats is UNSET else (self.hops, *self.repeats)

    def offer_of(self, way: Way) -> Handover | None:
        """Return the offer that began a way: the last one to its first server before the task arrived there.

        None if it is unknown: runs of earlier versions did not record offers.
        """
        first = way[0]
        fitting = [each for each in self.offers if each.receiver == first.node and each.sent_s <= first.received_s]
        return fitting[-1] if fitting else None

    def without_ways(self) -> Self:
        """Return the line without offers and hops, which are most of its size."""
        return msgspec.structs.replace(self, offers=(), hops=())


def way_of(hops: Iterable[Hop]) -> Way:
    """Convert the hops of a way to their written form."""
    return tuple(HopLine(*(getattr(hop, name) for name in Hop.__struct_fields__)) for hop in hops)
