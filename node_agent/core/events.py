"""The events that enter the node state machine, and the effects that leave it. Neither knows sockets or clocks.

They are structs, not dataclasses: a simulation creates millions of them, and a frozen dataclass is slow to create.
"""

from typing import Literal

from msgspec import Struct

from node_agent.problem import Problem
from node_agent.records import Record
from node_agent.wire import Assignment, Message, Tensor

Channel = Literal["data", "control"]
TimerKey = tuple[str | int, ...]


class Received(Struct, frozen=True):
    """A message from a peer has arrived."""

    peer: str  # the node that sent it
    message: Message  # the decoded message
    tensor: Tensor | None = None  # its tensor frame, if it has one
    received_s: float | None = None  # when it arrived [s]; None: now


class TaskArrived(Struct, frozen=True):
    """The device's workload wants a task now."""

    task_id: int  # number of the task
    sample: int  # number of its input
    created_s: float  # when the trace wanted it [s]
    tensor: Tensor  # its input


class ComputeFinished(Struct, frozen=True):
    """The sub-model has answered.

    Decision 090: the work of a task comes with its answer (docs/decisions/090-work-comes-with-the-answer.md).
    """

    prediction: int  # class that the exit predicts
    confidence: float  # number that the exit criterion makes of the exit's probabilities, 0 to 1
    activation: Tensor | None  # input of the next sub-model; None at the last stage
    overrun: bool  # the real work took longer than its paced time
    late_s: float = 0.0  # how much longer service took than its paced time [s]: an overrun, or a late timer
    work_flop: float = 0.0  # work of the sub-model on the tensor [FLOP]


class PlanningFinished(Struct, frozen=True):
    """The planner of a central policy has answered."""

    assignments: dict[str, Assignment]  # by node


class TimerFired(Struct, frozen=True):
    """A timer set by an earlier effect is due."""

    key: TimerKey


class LinksWanted(Struct, frozen=True):
    """Measure the links to all receivers now, before the run starts."""


class RunStarted(Struct, frozen=True):
    """Emulated time counts from the start of the run now; slots and telemetry begin."""


Event = Received | TaskArrived | ComputeFinished | PlanningFinished | TimerFired | LinksWanted | RunStarted


class Send(Struct, frozen=True):
    """Send a message to a peer. Tasks (`data`) and prices (`control`) take different connections."""

    peer: str
    channel: Channel
    message: Message
    tensor: Tensor | None = None


class StartCompute(Struct, frozen=True):
    """Run the sub-model on this tensor. It runs on at most one tensor at a time."""

    tensor: Tensor


class StopCompute(Struct, frozen=True):
    """Abandon the tensor that the sub-model is running on: its answer is dropped, and another may start at once."""


class StartPlanning(Struct, frozen=True):
    """Run the planner of a central policy in parallel to all else. It plans at most one problem at a time."""

    problem: Problem


class SetTimer(Struct, frozen=True):
    """Fire the timer `key` at `at_s` [s]; it replaces an older timer of the same key."""

    key: TimerKey
    at_s: float


class CancelTimer(Struct, frozen=True):
    """Cancel the timer `key`, if it is set."""

    key: TimerKey


class Publish(Struct, frozen=True):
    """Publish a record to the experiment."""

    record: Record


Effect = Send | StartCompute | StopCompute | StartPlanning | SetTimer | CancelTimer | Publish
