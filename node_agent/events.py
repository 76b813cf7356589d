"""What enters and leaves the node state machine: events in, effects out. Neither knows of sockets or clocks."""

from dataclasses import dataclass
from typing import Literal

from node_agent.records import Record
from node_agent.wire import Message, Tensor

Channel = Literal["data", "control"]
TimerKey = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A message from a peer has arrived."""

    peer: str
    message: Message
    tensor: Tensor | None = None


@dataclass(frozen=True, slots=True)
class TaskArrived:
    """The device's workload wants a task now (`created_s` is when the trace wanted it)."""

    task_id: int
    sample: int
    created_s: float
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class ComputeFinished:
    """The sub-model has answered. `activation` is None after the last stage."""

    prediction: int
    confidence: float
    activation: Tensor | None
    overrun: bool  # real work took longer than the time it should have taken


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by an earlier effect is due."""

    key: TimerKey


@dataclass(frozen=True, slots=True)
class LinksWanted:
    """Measure the links to all receivers now, before the run starts."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Emulated time has been set; slots and telemetry begin at or after zero."""


Event = Received | TaskArrived | ComputeFinished | TimerFired | LinksWanted | RunStarted


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a peer; bulk tensors and control messages take different connections."""

    peer: str
    channel: Channel
    message: Message
    tensor: Tensor | None = None


@dataclass(frozen=True, slots=True)
class StartCompute:
    """Run the sub-model on this tensor; one at a time."""

    tensor: Tensor


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire `key` at `at_s`; an older timer of the same key is replaced."""

    key: TimerKey
    at_s: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer `key`."""

    key: TimerKey


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the experiment."""

    record: Record


Effect = Send | StartCompute | SetTimer | CancelTimer | Publish
