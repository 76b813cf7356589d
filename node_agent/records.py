"""What a node tells the experiment: telemetry records, sent out of band so that watching does not load the links.

Times are emulated seconds since the start of the run. The recorder writes them; the monitor shows them.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from node_agent.wire import Handover, Hop


class TaskRecord(Struct, frozen=True, tag="task"):
    """The end of one task, told by the device that owned it."""

    id: int
    device: str
    sample: int
    prediction: int | None
    exit_stage: int | None
    created_s: float  # when the trace wanted it, so that a late replay counts as delay
    completed_s: float | None
    status: Literal["completed", "lost"]
    reason: str | None  # why it was lost
    attempts: int
    lateness_s: float  # how long after `created_s` the device really offered it
    forced_exit: bool
    hops: tuple[Hop, ...]
    offers: tuple[Handover, ...] = ()  # all that the device made


class RepeatRecord(Struct, frozen=True, tag="repeat"):
    """A task was served another time, and the result came when there was one already: the way it took."""

    id: int
    hops: tuple[Hop, ...]


DEVICE_DOWN = "its device was down"  # the reason for a loss that no policy can help


def lost_task(
    task_id: int, device: str, sample: int, created_s: float, reason: str, *, attempts: int = 0, lateness_s: float = 0.0
) -> TaskRecord:
    """The record of a task that ended without a result."""
    return TaskRecord(
        id=task_id,
        device=device,
        sample=sample,
        prediction=None,
        exit_stage=None,
        created_s=created_s,
        completed_s=None,
        status="lost",
        reason=reason,
        attempts=attempts,
        lateness_s=lateness_s,
        forced_exit=False,
        hops=(),
    )


class DecisionRecord(Struct, frozen=True, tag="decision"):
    """One node's decision at the end of a slot's configuration phase."""

    time_s: float
    node: str
    slot: int
    rounds: int
    offload: dict[str, float]  # receiver -> probability
    threshold: float | None  # None for a device and for the last stage
    prices: dict[str, float]  # receiver -> marginal cost including the link [s]
    gap: float | None  # devices: certified share of the marginal cost that an ideal plan could save
    arrival_rate_per_s: float
    service_rate_per_s: float | None
    link_s: dict[str, float] = {}  # receiver -> transfer time of a task, as measured [s]


class SampleRecord(Struct, frozen=True, tag="sample"):
    """One node's state, once a second; counts and sums are since the last sample.

    The last figures are of the machine that stands for the node, measured by what drives it; none in a simulation.
    """

    time_s: float
    node: str
    stage: int
    queue_length: int  # tasks waiting or in service (device: tasks without a result yet)
    arrival_rate_per_s: float
    utilisation: float  # share of the interval in service
    arrived: int
    served: int
    exits: int
    forwarded: int
    duplicates: int
    overruns: int
    cpu_s: float  # CPU time of the agent's process in the interval
    threshold: float | None
    busy_s: float  # emulated time in service in the interval
    compute_cpu_s: float = 0.0  # CPU time spent inside the sub-model
    deadlines: int = 0  # timers fired, ends of service and arrivals included
    late_timers: int = 0  # deadlines met more than 1 ms late, of real or emulated time, whichever is longer
    worst_timer_s: float = 0.0  # how late the worst of them was, emulated
    stalls: tuple[tuple[float, float], ...] = ()  # the longest times, from and to, in which the process did not run


EventKind = Literal[
    "link-change",
    "capacity-change",
    "rate-change",
    "node-down",
    "node-up",
    "link-trace",
    "receiver-silent",
    "receiver-back",
    "forced-exit",
    "plan-late",
    "unexpected-message",
    "foreign-message",
    "dropped",
    "unsent",
    "links-strained",
    "links-broken",
    "too-lively",
    "process-stopped",
    "foreign-telemetry",
    "agent-died",
    "agent-not-stopped",
    "agents-gone",
]


class EventRecord(Struct, frozen=True, tag="event"):
    """Something that was injected, or that went wrong; `detail` is for people. A line of events.jsonl.

    Kinds that the scenario injects:
        link-change: a link has another shape from now on.
        capacity-change: a server computes at another rate.
        rate-change: a device offers tasks at another rate.
        node-down: a node's agent was killed.
        node-up: a node's agent was started again.
        link-trace: at time zero, which links follow a network trace; its steps are not told.

    Kinds that a node tells:
        receiver-silent: a receiver does not answer; nothing is sent to it until it does.
        receiver-back: that receiver answers again.
        forced-exit: a task left here because no receiver answered, not because the exit was confident.
        plan-late: a slot began before the plan of a central policy for the one before was ready.
        unexpected-message: a message came that its sender has no reason to send.
        foreign-message: bytes came that are no message, or not from a neighbour.
        dropped: messages came before time zero that there was no room for.
        unsent: a message could not be sent.

    Kinds that the experiment tells:
        links-strained: links measured before the start are not quite as stated.
        links-broken: links measured before the start are not as stated.
        too-lively: the links change more often than a machine manages in time.
        process-stopped: an agent, or the relay, stands still.
        foreign-telemetry: bytes came from an agent that are no telemetry.
        agent-died: an agent ended by itself.
        agent-not-stopped: an agent did not end when the run did.
        agents-gone: the agents ended before they had told all.
    """

    time_s: float
    node: str | None
    kind: EventKind
    detail: str


class Ready(Struct, frozen=True, tag="ready"):
    """The node has bound its sockets and measured its links."""

    node: str
    unreachable: tuple[str, ...]


class Start(Struct, frozen=True, tag="start"):
    """Command: the run's time zero on CLOCK_MONOTONIC [s]."""

    epoch_monotonic_s: float


class SetCapacity(Struct, frozen=True, tag="capacity"):
    """Command: the server computes at this rate from now on."""

    capacity_flop_per_s: float


class Stop(Struct, frozen=True, tag="stop"):
    """Command: send what is left to tell and end."""


Record = TaskRecord | RepeatRecord | DecisionRecord | SampleRecord | EventRecord | Ready
Command = Start | SetCapacity | Stop

record_encoder = msgspec.msgpack.Encoder()
record_decoder: msgspec.msgpack.Decoder[list[Record]] = msgspec.msgpack.Decoder(list[Record])
command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
