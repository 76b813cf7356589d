"""One line of tasks.jsonl: what a run writes, what figures are taken of, what observers get, and what readers decode.

A column more is a field here, with its line of documentation and its value in `TaskLine.of`. A field that files of
earlier versions lack has a default, so that they stay readable.
"""

from collections.abc import Iterable
from typing import Literal, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from node_agent.records import TaskRecord
from node_agent.wire import Handover, Hop


class HopLine(Hop, frozen=True, array_like=False, omit_defaults=True):
    """One server on a task's way: a `Hop` with its fields by name.

    Attributes:
        node: the server.
        received_s: when the task was there [s].
        started_s: when its service began [s].
        finished_s: when its service ended [s].
        sent_s: when the task, or its result, was sent on [s].
        late_s: how much longer the service took than the stated capacity says, because this machine was slow [s].
        failed: the handovers before to servers that did not answer, as in `offers`; left out if there were none.
    """


Way = tuple[HopLine, ...]


class TaskLine(Struct, frozen=True, kw_only=True):
    """A task that has ended. Times are emulated seconds since the start of the run.

    Attributes:
        id: its number, from 0, in the order of the workload trace.
        device: the device that owns it.
        sample: its picture, by number among those of the model's evaluation.
        label: the true class of the picture.
        prediction: the class that the exit said; None without a result.
        correct: whether that is the label; None without a result.
        exit_stage: the stage at which it left, from 1; None without a result.
        created_s: when the workload wanted it [s].
        completed_s: when its result was back at the device [s]; None without a result.
        delay_s: from creation to completion [s]; None without a result.
        status: completed or lost.
        attempts: how often its device offered it.
        offers: all that its device made: receiver, when sent [s], and whether it is known to have taken the task over.
        hops: the way whose result came first, a `HopLine` per stage from stage 1 on; none without a result.
        lateness_s: how long after `created_s` the device really offered it [s].
        forced_exit: whether it left because no receiver answered, not because the exit was confident.
        reason: why it was lost; None if it was completed.
        expected_delay_s: what `delay_s` would have been on a machine that emulates exactly [s]; None where that is not
            known. Left out of simulations, and until a live run has ended.
        repeats: the ways of results that came when there was one already; left out if there were none.
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
    status: Literal["completed", "lost"]
    attempts: int
    offers: tuple[Handover, ...] = ()
    hops: Way
    lateness_s: float
    forced_exit: bool
    reason: str | None
    expected_delay_s: float | UnsetType | None = UNSET
    repeats: tuple[Way, ...] | UnsetType = UNSET

    @classmethod
    def of(cls, record: TaskRecord, label: int) -> Self:
        """The line of a task whose end was told; `label` is the true class of its picture."""
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
        )

    @property
    def service_lateness_s(self) -> float:
        """How much longer all its services took because this machine was slow [s]."""
        return sum(hop.late_s for hop in self.hops)

    @property
    def ways(self) -> tuple[Way, ...]:
        """The way that counts first, then the repeats: they were served, too, and other tasks waited behind them."""
        return (self.hops,) if self.repeats is UNSET else (self.hops, *self.repeats)

    def offer_of(self, way: Way) -> Handover | None:
        """The offer with which a way began: the last one to its first server before the task came there.

        None where it is not known: runs of earlier versions do not say.
        """
        first = way[0]
        fitting = [each for each in self.offers if each.receiver == first.node and each.sent_s <= first.received_s]
        return fitting[-1] if fitting else None

    def without_ways(self) -> Self:
        """The line without offers and hops, which are most of its size."""
        return msgspec.structs.replace(self, offers=(), hops=())


def way_of(hops: Iterable[Hop]) -> Way:
    """A way as it is written."""
    return tuple(HopLine(*(getattr(hop, name) for name in Hop.__struct_fields__)) for hop in hops)
