"""One node as a process: drives the node state machine with ZeroMQ, the sub-model and the real clock."""

import heapq
import itertools
import time
from collections import deque

import msgspec
import zmq
from msgspec import Struct

from node_agent.compute import Executor, as_tensor
from node_agent.config import NodeConfig
from node_agent.core import NodeCore
from node_agent.events import (
    CancelTimer,
    Channel,
    Effect,
    Event,
    LinksWanted,
    Publish,
    Received,
    RunStarted,
    Send,
    SetTimer,
    StartCompute,
    StartPlanning,
    TaskArrived,
    TimerFired,
    TimerKey,
)
from node_agent.models.tables import ActivationFormat, Samples
from node_agent.notes import EventThinner
from node_agent.planner import Planner
from node_agent.punctual import MESSENGER_PRIORITY, REAL_TIME, Deadlines, Priority
from node_agent.records import (
    DEVICE_DOWN,
    EventRecord,
    Record,
    SampleRecord,
    SetCapacity,
    Start,
    Stop,
    command_decoder,
    lost_task,
    record_encoder,
)
from node_agent.timer import DeadlineTimer
from node_agent.transport import QUEUED_MESSAGES, Transport
from node_agent.wire import Probe, ProbeAck, WireError, decode, encode

MESSAGES_PER_TURN = 64  # then due timers get their turn
FLUSH_EVERY_S = 0.05  # telemetry travels in batches, real seconds
LINGER_MS = 1000  # for the last telemetry when the agent ends


class Arrival(Struct, frozen=True, array_like=True):
    """A task the workload wants from this device."""

    time_s: float
    task_id: int
    sample: int


class AgentConfig(Struct, frozen=True, kw_only=True):
    """What one agent's process is told: its node, where its peers are, how time runs, what to replay."""

    node: NodeConfig
    address: str
    connect_data: dict[str, str]  # peer -> address
    connect_control: dict[str, str]
    answers_from: tuple[str, ...]  # device: servers that may send results without being its receivers
    control_room: str  # where telemetry goes and commands come from (ZeroMQ endpoint)
    time_scale: float
    capacity_flop_per_s: float
    work_flop: float
    activation: ActivationFormat
    quota_procs_paths: tuple[str, ...]  # control groups of the compute process; none: paced
    arrivals: tuple[Arrival, ...] = ()
    epoch_monotonic_s: float | None = None  # the run's time zero, for an agent that comes up while it goes on


class Agent:
    """The poll loop of one node."""

    def __init__(
        self,
        config: AgentConfig,
        core: NodeCore,
        priority: Priority,
        *,
        executor: Executor | None = None,
        samples: Samples | None = None,
        planner: Planner | None = None,
    ) -> None:
        """`priority` is taken by the thread that calls `run`; `executor` serves a server's sub-model.

        `samples` are what a device offers; `planner`, if it coordinates.
        """
        self._config = config
        self._core = core
        self._priority = priority
        self._executor = executor
        self._samples = samples
        self._planner = planner
        # Before the start, times count from the boot of the machine: the same zero for all who measure their links.
        self._epoch_s = config.epoch_monotonic_s or 0.0
        self._started = False
        self._stopping = False
        self._held: deque[Received] = deque(maxlen=QUEUED_MESSAGES)
        self._timers: list[tuple[float, int, TimerKey]] = []
        self._timer_numbers: dict[TimerKey, int] = {}
        self._count = itertools.count()
        self._next_arrival = 0
        self._records: list[Record] = []
        self._flushed_s = 0.0
        self._cpu_s = time.process_time()
        self._compute_cpu_s = 0.0
        self._deadlines = Deadlines(config.time_scale)
        self._thinner = EventThinner()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        if Priority.is_allowed():  # also for ZeroMQ's own thread, through which every message goes
            self._context.set(zmq.THREAD_SCHED_POLICY, REAL_TIME)
            self._context.set(zmq.THREAD_PRIORITY, MESSENGER_PRIORITY)
        connect: dict[Channel, dict[str, str]] = {"data": config.connect_data, "control": config.connect_control}
        self._transport = Transport(self._context, config.node.name, config.address, connect)
        self._peers = {
            *config.node.offloaders, *config.connect_data, *config.connect_control, *config.answers_from,
            *config.node.places,
        }  # fmt: skip
        self._room = self._context.socket(zmq.DEALER)
        self._room.setsockopt_string(zmq.IDENTITY, config.node.name)
        self._room.setsockopt(zmq.LINGER, LINGER_MS)
        self._room.connect(config.control_room)
        self._deadline = DeadlineTimer()

    def run(self) -> None:
        """Serve until told to stop."""
        poller = zmq.Poller()
        for socket in (*self._transport.sockets.values(), self._room):
            poller.register(socket, zmq.POLLIN)
        poller.register(self._deadline.fileno(), zmq.POLLIN)
        executor_fd = self._executor.fileno() if self._executor else None
        if executor_fd is not None:
            poller.register(executor_fd, zmq.POLLIN)
        if self._planner is not None:
            poller.register(self._planner.fileno(), zmq.POLLIN)
        self._priority.take()
        self._give(LinksWanted())
        while not self._stopping:
            self._arm()
            readable = {source for source, _ in poller.poll()}
            self._fire_due()
            # Asking a socket that has nothing costs as much as a message: forty nodes do little else.
            for channel, socket in self._transport.sockets.items():
                if socket in readable:
                    self._receive_messages(channel)
            if self._room in readable:
                self._receive_commands()
            self._flush()
        self._priority.give_up()
        self._flush(now=True)
        self._close()

    def _now_s(self) -> float:
        """Emulated seconds since the start of the run; before the start, since the machine booted."""
        return (time.monotonic() - self._epoch_s) / self._config.time_scale

    def _arm(self) -> None:
        due = [self._epoch_s + self._config.time_scale * due_s for due_s in self._due_times()]
        if self._records:
            due.append(self._flushed_s + FLUSH_EVERY_S)
        self._deadline.arm(min(due, default=None))

    def _due_times(self) -> list[float]:
        while self._timers and self._timer_numbers.get(self._timers[0][2]) != self._timers[0][1]:
            heapq.heappop(self._timers)
        due = [self._timers[0][0]] if self._timers else []
        if self._started and self._next_arrival < len(self._config.arrivals):
            due.append(self._config.arrivals[self._next_arrival].time_s)
        computed_s = self._executor.due_s() if self._executor else None
        planned_s = self._planner.due_s() if self._planner else None
        due += [due_s for due_s in (computed_s, planned_s) if due_s is not None]
        return due

    def _fire_due(self) -> None:
        self._collect_answers()
        now_s = self._now_s()
        while self._timers and self._timers[0][0] <= now_s:
            due_s, number, key = heapq.heappop(self._timers)
            if self._timer_numbers.get(key) == number:
                del self._timer_numbers[key]
                self._met(due_s)
                self._give(TimerFired(key))
        while self._started and self._next_arrival < len(self._config.arrivals):
            arrival = self._config.arrivals[self._next_arrival]
            if arrival.time_s > now_s:
                break
            self._next_arrival += 1
            self._met(arrival.time_s)
            self._offer(arrival)

    def _collect_answers(self) -> None:
        """Of the sub-model, and of the planner."""
        if self._executor is not None:
            due_s, now_s = self._executor.due_s(), self._now_s()
            finished = self._executor.collect(now_s)
            if finished is not None:
                if due_s is not None:
                    self._met(due_s)
                self._give(finished, now_s)
        if self._planner is not None:
            planned = self._planner.collect(self._now_s())
            if planned is not None:
                self._give(planned)

    def _met(self, due_s: float) -> None:
        """Keep account of a deadline that is met now."""
        self._deadlines.meet((self._now_s() - due_s) * self._config.time_scale)

    def _offer(self, arrival: Arrival) -> None:
        if self._samples is None:
            raise WireError(f"{self._config.node.name} is to offer tasks but has no samples")
        image = self._samples.images[arrival.sample : arrival.sample + 1]
        self._give(TaskArrived(arrival.task_id, arrival.sample, arrival.time_s, as_tensor(image)))

    def _receive_messages(self, channel: Channel) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = self._transport.receive(channel)
            if received is None:
                break
            peer, frames = received
            if peer not in self._peers:
                self._note("foreign-message", f"from {peer!r}, who is no neighbour")
                continue
            try:
                message, tensor = decode(frames)
            except WireError as error:
                self._note("foreign-message", f"from {peer}: {error}")
                continue
            if self._started or isinstance(message, Probe | ProbeAck):
                self._give(Received(peer, message, tensor))
            else:  # tasks and prices have no meaning before time zero is known
                self._held.append(Received(peer, message, tensor))

    def _receive_commands(self) -> None:
        while self._room.poll(0):
            command = command_decoder.decode(self._room.recv())
            match command:
                case Start(epoch_monotonic_s):
                    self._start(epoch_monotonic_s)
                case SetCapacity(capacity_flop_per_s):
                    if self._executor is not None:
                        self._executor.set_capacity(capacity_flop_per_s, self._now_s())
                case Stop():
                    self._give(TimerFired(("sample",)))  # the last interval, too
                    self._stopping = True

    def _start(self, epoch_monotonic_s: float) -> None:
        """Time zero is known: forget what was measured against another zero.

        An agent that comes up while the run goes on has missed some tasks. It may call tasks lost that it ended before
        it went down: the first word on a task is the one that counts.
        """
        self._epoch_s = epoch_monotonic_s
        self._timers.clear()
        self._timer_numbers.clear()
        now_s = self._now_s()
        arrivals = self._config.arrivals
        came_late = self._config.epoch_monotonic_s is not None
        while came_late and self._next_arrival < len(arrivals) and arrivals[self._next_arrival].time_s < now_s:
            missed = arrivals[self._next_arrival]
            name, reason = self._config.node.name, DEVICE_DOWN
            self._publish(lost_task(missed.task_id, name, missed.sample, missed.time_s, reason))
            self._next_arrival += 1
        self._started = True
        self._give(RunStarted())
        while self._held:
            self._give(self._held.popleft())

    def _give(self, event: Event, now_s: float | None = None) -> None:
        """Have the node act on an event of this moment, or of the one given."""
        now_s = self._now_s() if now_s is None else now_s
        for effect in self._core.handle(event, now_s):
            self._perform(effect, now_s)

    def _perform(self, effect: Effect, now_s: float) -> None:
        """`now_s` is when the node wanted it: what it times begins then, not after the effects before it."""
        match effect:
            case Send(peer, channel, message, tensor):
                if not self._transport.send(peer, channel, encode(message, tensor)):
                    self._note("unsent", f"{type(message).__name__} to {peer}: not connected, or too much is queued")
            case StartCompute(tensor):
                if self._executor is not None:
                    self._executor.start(tensor, now_s)
            case StartPlanning(problem):
                if self._planner is not None:
                    self._planner.start(problem, now_s)
            case SetTimer(key, at_s):
                number = next(self._count)
                self._timer_numbers[key] = number
                heapq.heappush(self._timers, (at_s, number, key))
            case CancelTimer(key):
                self._timer_numbers.pop(key, None)
            case Publish(record):
                self._publish(record)

    def _publish(self, record: Record | None) -> None:
        if isinstance(record, SampleRecord):
            record = self._measured(record)
        elif isinstance(record, EventRecord):
            record = self._thinned(record)
        if record is not None:
            self._records.append(record)

    def _measured(self, record: SampleRecord) -> SampleRecord:
        """The sample with what only the process itself knows, since the one before."""
        before_s, self._cpu_s = self._cpu_s, time.process_time()
        compute_before_s = self._compute_cpu_s
        if self._executor is not None:
            self._compute_cpu_s = self._executor.cpu_s
        deadlines, late_timers, worst_s = self._deadlines.take()
        return msgspec.structs.replace(
            record,
            cpu_s=self._cpu_s - before_s,
            compute_cpu_s=self._compute_cpu_s - compute_before_s,
            deadlines=deadlines,
            late_timers=late_timers,
            worst_timer_s=worst_s / self._config.time_scale,
        )

    def _note(self, kind: str, detail: str) -> None:
        self._publish(EventRecord(self._now_s(), self._config.node.name, kind, detail))

    def _thinned(self, event: EventRecord) -> EventRecord | None:
        thinned = self._thinner.thinned(event)
        if thinned is None or self._started:
            return thinned
        return msgspec.structs.replace(thinned, time_s=0.0)  # before the start there is no emulated time

    def _flush(self, *, now: bool = False) -> None:
        real_s = time.monotonic()
        if self._records and (now or real_s >= self._flushed_s + FLUSH_EVERY_S):
            self._room.send(record_encoder.encode(self._records))
            self._records.clear()
            self._flushed_s = real_s

    def _close(self) -> None:
        if self._executor is not None:
            self._executor.close()
        if self._planner is not None:
            self._planner.close()
        self._transport.close()
        self._room.close()
        self._deadline.close()
        self._context.term()
