"""What enters and leaves the node state machine: events in, effects out. Neither knows of sockets or clocks.

They are structs, not dataclasses, because a simulation makes millions of them and a frozen dataclass is slow to make.
"""

from typing import Literal

from msgspec import Struct

from node_agent.problem import Problem
from node_agent.records import Record
from node_agent.wire import Assignment, Message, Tensor

Channel = Literal["data", "control"]
TimerKey = tuple[str | int, ...]


class Received(Struct, frozen=True):
    """A message from a peer has arrived: at `received_s`, if that is not now."""

    peer: str
    message: Message
    tensor: Tensor | None = None
    received_s: float | None = None


class TaskArrived(Struct, frozen=True):
    """The device's workload wants a task now (`created_s` is when the trace wanted it)."""

    task_id: int
    sample: int
    created_s: float
    tensor: Tensor


class ComputeFinished(Struct, frozen=True):
    """The sub-model has answered. `activation` is None after the last stage."""

    prediction: int
    confidence: float
    activation: Tensor | None
    overrun: bool  # real work took longer than the time it should have taken
    late_s: float = 0.0  # by how much service took longer than it should have, for this reason or a late timer


class PlanningFinished(Struct, frozen=True):
    """The planner of a central policy has answered: what each node is to do."""

    assignments: dict[str, Assignment]


class TimerFired(Struct, frozen=True):
    """A timer set by an earlier effect is due."""

    key: TimerKey


class LinksWanted(Struct, frozen=True):
    """Measure the links to all receivers now, before the run starts."""


class RunStarted(Struct, frozen=True):
    """Emulated time has been set; slots and telemetry begin at or after zero."""


Event = Received | TaskArrived | ComputeFinished | PlanningFinished | TimerFired | LinksWanted | RunStarted


class Send(Struct, frozen=True):
    """Send a message to a peer; bulk tensors and control messages take different connections."""

    peer: str
    channel: Channel
    message: Message
    tensor: Tensor | None = None


class StartCompute(Struct, frozen=True):
    """Run the sub-model on this tensor; one at a time."""

    tensor: Tensor


class StopCompute(Struct, frozen=True):
    """Give up what the sub-model is running on: no answer is wanted, and another tensor may come at once."""


class StartPlanning(Struct, frozen=True):
    """Have a central policy plan, beside all else; one at a time."""

    problem: Problem


class SetTimer(Struct, frozen=True):
    """Fire `key` at `at_s`; an older timer of the same key is replaced."""

    key: TimerKey
    at_s: float


class CancelTimer(Struct, frozen=True):
    """Forget the timer `key`."""

    key: TimerKey


class Publish(Struct, frozen=True):
    """Tell the experiment."""

    record: Record


Effect = Send | StartCompute | StopCompute | StartPlanning | SetTimer | CancelTimer | Publish
