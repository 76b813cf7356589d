"""Telemetry records that a node publishes to the experiment, and the commands that the experiment sends to a node.

They travel out of band, so that watching does not load the emulated links. The recorder writes the records, the monitor
shows them. Times are emulated seconds since the start of the run.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from node_agent.wire import Handover, Hop

TaskStatus = Literal["completed", "lost", "refused"]


class TaskRecord(Struct, frozen=True, tag="task"):
    """The end of one task, published by the device that owned it."""

    id: int  # number of the task, from 0, in the order of the workload trace
    device: str  # the device that owned it
    sample: int  # number of its input among the evaluation samples
    prediction: int | None  # class that the exit predicted; None without a result
    exit_stage: int | None  # stage at which it left, from 1; None without a result
    created_s: float  # when the trace wanted it [s], so that a late replay counts as delay
    completed_s: float | None  # when its result reached the device [s]; None without a result
    status: TaskStatus  # how it ended; its device refused it if the predicted delay exceeded the device's bound
    reason: str | None  # why it was lost or refused; None if completed
    attempts: int  # how often it was offered: the larger count of its device and its servers
    lateness_s: float  # how long after `created_s` the device really offered it [s]
    forced_exit: bool  # it left because no receiver answered, not because the exit was confident
    hops: tuple[Hop, ...]  # the servers that served it, in order; empty without a result
    offers: tuple[Handover, ...] = ()  # all offers of its device, in order; empty without a result
    predicted_delay_s: float | None = None  # as its device predicted on its arrival [s]; None if it did not predict


class RepeatRecord(Struct, frozen=True, tag="repeat"):
    """A further result of a task that was completed already, with the way it took."""

    id: int  # number of the task
    hops: tuple[Hop, ...]  # the servers that served it this time, in order


DEVICE_DOWN = "its device was down"  # the reason of a loss that no policy can prevent


def lost_task(
    task_id: int, device: str, sample: int, created_s: float, reason: str, *, attempts: int = 0, lateness_s: float = 0.0
) -> TaskRecord:
    """Return the record of a task that was offered but lost; the arguments are the fields of `TaskRecord`."""
    return _without_result("lost", task_id, device, sample, created_s, reason, attempts, lateness_s, None)


def refused_task(
    task_id: int,
    device: str,
    sample: int,
    created_s: float,
    lateness_s: float,
    predicted_delay_s: float,
    bound_s: float,
) -> TaskRecord:
    """Return the record of a task that its device refused; the arguments are fields of `TaskRecord`.

    `bound_s` is the device's bound on the predicted delay [s].
    """
    reason = f"a delay of {predicted_delay_s:.3f} s was predicted, above the bound of {bound_s:g} s"
    return _without_result("refused", task_id, device, sample, created_s, reason, 0, lateness_s, predicted_delay_s)


def _without_result(
    status: TaskStatus, task_id: int, device: str, sample: int, created_s: float, reason: str, attempts: int,
    lateness_s: float, predicted_delay_s: float | None,
) -> TaskRecord:  # fmt: skip
    return TaskRecord(
        id=task_id,
        device=device,
        sample=sample,
        prediction=None,
        exit_stage=None,
        created_s=created_s,
        completed_s=None,
        status=status,
        reason=reason,
        attempts=attempts,
        lateness_s=lateness_s,
        forced_exit=False,
        hops=(),
        predicted_delay_s=predicted_delay_s,
    )


class DecisionRecord(Struct, frozen=True, tag="decision"):
    """A node's decision at the end of a slot's configuration phase."""

    time_s: float  # when the phase ended at this node [s]
    node: str  # the device or server that decided
    slot: int  # the slot, from 0
    rounds: int  # rounds played in this slot
    offload: dict[str, float]  # receiver -> probability of offloading a task to it
    threshold: float | None  # confidence from which tasks exit; None for a device and for the last stage
    prices: dict[str, float]  # receiver -> marginal cost, including that of the link [s]
    gap: float | None  # devices: certified bound on the share of the marginal cost that an ideal plan saves; else None
    # Device: measured rate of the tasks that it admitted; server: arrival rate that was announced [task/s].
    arrival_rate_per_s: float
    service_rate_per_s: float | None  # measured service rate [task/s]; None for a device
    link_s: dict[str, float] = {}  # receiver -> measured transfer time of a task [s]; silent receivers are missing


class SampleRecord(Struct, frozen=True, tag="sample"):
    """A node's state, once a second; counts and sums cover the interval since its last sample.

    `cpu_s` and the fields with defaults describe the agent's process on this machine; they are zero or empty in a
    simulation.
    """

    time_s: float  # when the sample was taken [s]
    node: str  # the device or server
    stage: int  # its stage, 0 for a device
    queue_length: int  # tasks waiting or in service (device: tasks without a result yet)
    arrival_rate_per_s: float  # tasks that arrived, over the length of the interval [task/s]
    utilisation: float  # share of the interval in service, 0 to 1
    arrived: int  # tasks that arrived
    served: int  # tasks whose service ended (device: tasks whose result came)
    exits: int  # tasks that left here, forced exits included
    forwarded: int  # tasks sent on to the next stage (device: tasks offered to a receiver)
    duplicates: int  # devices: further results of tasks that were completed already
    overruns: int  # services whose real work took longer than their paced time
    cpu_s: float  # CPU time of the agent's process [real s]
    threshold: float | None  # confidence from which tasks exit; None for a device and for the last stage
    busy_s: float  # time in service, that of a service under way included [s]
    work_flop: float = 0.0  # work of the tasks whose service ended [FLOP]
    served_s: float = 0.0  # whole time in service of the tasks whose service ended [s]
    compute_cpu_s: float = 0.0  # CPU time inside the sub-model [real s]
    deadlines: int = 0  # timers fired, ends of service and arrivals included
    late_timers: int = 0  # deadlines missed by more than 1 ms, in real or emulated time, whichever is longer
    refused: int = 0  # devices: tasks refused, since their predicted delay exceeded the device's bound
    worst_timer_s: float = 0.0  # how late the worst of the deadlines was [s]
    stalls: tuple[tuple[float, float], ...] = ()  # the longest spans, from and to [s], in which the process did not run
    # Bytes of the messages sent, by peer [B]; left out if no link states its energy.
    sent_bytes: dict[str, int] = {}


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
    "battery-empty",
]


class EventRecord(Struct, frozen=True, tag="event"):
    """An event that was injected, or that went wrong: a line of events.jsonl.

    Kinds that the scenario injects:
        link-change: a link's rate, delay, jitter, loss or queue has changed.
        capacity-change: a server's capacity has changed.
        rate-change: a device's arrival rate has changed.
        node-down: a node's agent was killed.
        node-up: a node's agent was started again.
        link-trace: at time zero, names the links that follow a network trace; its steps are not recorded.

    Kinds that a node reports:
        receiver-silent: a receiver does not answer; no task is sent to it until it does.
        receiver-back: that receiver answers again.
        forced-exit: a task left here because no receiver answered, not because the exit was confident.
        plan-late: a slot began while the central policy's plan for the slot before was not ready.
        unexpected-message: a message arrived that its sender has no reason to send.
        foreign-message: bytes arrived that are no message, or came from a node that is no neighbour.
        dropped: a message that arrived before time zero was dropped, because too many were waiting.
        unsent: a message other than a report of a queue could not be sent.

    Kinds that the experiment reports:
        links-strained: links measured before the start are not quite as stated.
        links-broken: links measured before the start are not as stated.
        too-lively: the links change more often than a machine can change them in time.
        process-stopped: an agent, or the relay, stands still.
        foreign-telemetry: an agent sent bytes that are no telemetry.
        agent-died: an agent ended by itself.
        agent-not-stopped: an agent did not end when the run did.
        agents-gone: the agents ended before all their records had arrived.
        battery-empty: the battery of a device is used up: its agent was killed, or stays down.
    """

    time_s: float  # when it happened [s]; 0 if before the start
    node: str | None  # the node that it happened at; None if at no single node
    kind: EventKind  # one of the kinds above
    detail: str  # for people: names and values


class Ready(Struct, frozen=True, tag="ready"):
    """A node has bound its sockets and measured its links: it can start."""

    node: str  # the node
    unreachable: tuple[str, ...]  # receivers that answered no probe


class Start(Struct, frozen=True, tag="start"):
    """Command: start the run."""

    epoch_monotonic_s: float  # the run's time zero on CLOCK_MONOTONIC [real s]


class SetCapacity(Struct, frozen=True, tag="capacity"):
    """Command: change a server's capacity at once."""

    capacity_flop_per_s: float  # its new capacity [FLOP per emulated s]


class Stop(Struct, frozen=True, tag="stop"):
    """Command: send the remaining records and end."""


Record = TaskRecord | RepeatRecord | DecisionRecord | SampleRecord | EventRecord | Ready
Command = Start | SetCapacity | Stop

record_encoder = msgspec.msgpack.Encoder()
record_decoder: msgspec.msgpack.Decoder[list[Record]] = msgspec.msgpack.Decoder(list[Record])
command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
