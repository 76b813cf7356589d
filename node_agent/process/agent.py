"""A node as a process: drives the node state machine with ZeroMQ, the sub-model and the real clock."""

import select
import time
from typing import assert_never

import msgspec
import zmq
from msgspec import Struct
from zmq.backend import zmq_poll

from node_agent.core.config import NodeConfig
from node_agent.core.events import Channel, Received, Send, TimerFired, TimerKey
from node_agent.core.machine import NodeCore
from node_agent.errors import InvalidState
from node_agent.models.interface import Inputs
from node_agent.problem import Problem
from node_agent.process.driver import Driver
from node_agent.process.executor import Executor
from node_agent.process.planner import Planner
from node_agent.process.punctual import MESSENGER_PRIORITY, REAL_TIME, Deadlines, Priority, Stalls
from node_agent.process.timer import DeadlineTimer, Timers
from node_agent.process.transport import Transport
from node_agent.records import (
    Record,
    SampleRecord,
    SetCapacity,
    Start,
    Stop,
    TaskRecord,
    command_decoder,
    record_encoder,
)
from node_agent.wire import Tensor, WireError, as_sent, decode, encode

MESSAGES_PER_TURN = 64  # per channel; then due timers fire
FEW = 8  # most descriptors that a poll returns
# Decision 091: tasks that nothing paces follow one another in a turn (docs/decisions/091-turns-of-a-millisecond.md).
LONG_TURN_S = 0.001  # no inference begins in a turn that has taken longer and has had one: messages wait [real s]
FLUSH_EVERY_S = 0.25  # telemetry is sent in batches at this interval [real s]; after a pause at once
LINGER_MS = 1000  # time for the last telemetry when the agent ends [real ms]


class ScheduledTask(Struct, frozen=True, array_like=True):
    """A task that the workload wants from this device."""

    time_s: float  # when [s]
    task_id: int  # number of the task
    sample: int  # number of its sample


class AgentConfig(Struct, frozen=True, kw_only=True):
    """Configuration of an agent's process: its node, its peers' addresses, its time scale, its workload."""

    node: NodeConfig  # configuration of the state machine
    address: str  # IP address of this node
    connect_data: dict[str, str]  # peer -> address, for the data channel
    connect_control: dict[str, str]  # peer -> address, for the control channel
    answers_from: tuple[str, ...]  # device: servers that may send results without being its receivers
    telemetry: str  # ZeroMQ endpoint to which records are sent and from which commands come
    time_scale: float  # real seconds per emulated second
    capacity_flop_per_s: float  # server: capacity at the start [FLOP per emulated s]
    quota_procs_paths: tuple[str, ...]  # cgroup.procs files of the compute process; empty: paced
    arrivals: tuple[ScheduledTask, ...] = ()  # device: its workload, in the order of time
    epoch_monotonic_s: float | None = None  # time zero [real s], for an agent that comes up during the run; else None
    life: int = 1  # number of times that the node has come up, this time included

    @property
    def identity(self) -> str:
        """The agent's name for telemetry; it differs from that of the agent before, whose records may still arrive."""
        return identity(self.node.name, self.life)


def identity(node: str, life: int) -> str:
    """Return the name for telemetry of a node's agent in its `life`, counted from 1."""
    return node if life == 1 else f"{node}/{life}"


class Agent(Driver):
    """The poll loop of one node."""

    def __init__(
        self,
        config: AgentConfig,
        core: NodeCore,
        priority: Priority,
        *,
        executor: Executor | None = None,
        inputs: Inputs | None = None,
        planner: Planner | None = None,
    ) -> None:
        """Bind the node's sockets.

        Args:
            config: the agent's configuration.
            core: the state machine.
            priority: taken by the thread that calls `run`.
            executor: runs a server's sub-model; None for a device.
            inputs: the samples that a device offers; None for a server.
            planner: plans for all nodes if this node is the coordinator; else None.

        Raises:
            zmq.ZMQError: the address is not this node's, or a port is taken.
        """
        super().__init__(config.node.name)
        self.come_up(core)
        self._config = config
        self._priority = priority
        self._executor = executor
        self._inputs = inputs
        self._planner = planner
        self._answering = tuple(source for source in (executor, planner) if source is not None)
        self._wanted: tuple[Tensor, float] | None = None  # tensor that the sub-model must start on, and since when
        # Before the start, times count from the boot of the machine: agents that measure their links share this zero.
        self._epoch_s = config.epoch_monotonic_s or 0.0
        self._stopping = False
        self._timers = Timers()
        self._next_arrival = 0
        self._records: list[Record] = []
        self._flushed_s = 0.0
        self._cpu_s = time.process_time()
        self._compute_cpu_s = 0.0
        self._deadlines = Deadlines(config.time_scale)
        self._stalls = Stalls()
        self._woke_s = time.monotonic()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        if Priority.is_allowed():  # also for ZeroMQ's own thread, which handles every message
            self._context.set(zmq.THREAD_SCHED_POLICY, REAL_TIME)
            self._context.set(zmq.THREAD_PRIORITY, MESSENGER_PRIORITY)
        self._transport = Transport(self._context, config.node.name, config.address, {}, time_scale=config.time_scale)
        self._peers = {
            *config.node.offloaders, *config.connect_data, *config.connect_control, *config.answers_from,
            *config.node.places,
        }  # fmt: skip
        self._room = self._context.socket(zmq.DEALER)
        self._room.setsockopt_string(zmq.IDENTITY, config.identity)
        self._room.setsockopt(zmq.LINGER, LINGER_MS)
        self._room.connect(config.telemetry)
        self._room_asked = [(self._room, int(zmq.POLLIN))]
        self._deadline = DeadlineTimer()
        self._epoll = select.epoll()

    def run(self) -> None:
        """Serve until a `Stop` command; an error that ends it earlier carries the node's story in its notes.

        The agent connects to its peers only now. If all agents have bound their sockets before, no connection is
        refused.
        """
        try:
            self._serve()
        except BaseException as error:
            self._attach_story(error)
            raise

    def _serve(self) -> None:
        transport = self._transport
        answer_fds = {fd for source in self._answering if (fd := source.fileno()) is not None}
        room_fd = int(self._room.getsockopt(zmq.FD))
        for fd in (*transport.filenos, *answer_fds, room_fd, self._deadline.fileno()):
            self._epoll.register(fd, select.EPOLLIN)
        self._priority.take()
        self._transport.connect({"data": self._config.connect_data, "control": self._config.connect_control})
        self._receive_commands()
        measuring = False
        while not self._stopping:
            if not measuring and (self._executor is None or self._executor.warm):  # it must be warm before time zero
                self.measure_links()
                measuring = True
            woken_by = self._woken_by(may_sleep=transport.may_sleep())
            self._collect_answers(signalled=not answer_fds.isdisjoint(woken_by))
            self._fire_due()
            for channel in transport.to_ask(woken_by):
                self._receive_messages(channel)
            if self._flush() or room_fd in woken_by:
                self._receive_commands()
            self._compute()
        self._priority.give_up()
        self._flush(now=True)
        self._close()

    def _now_s(self) -> float:
        """Return emulated seconds since the start of the run; before the start, since the boot of the machine."""
        return self._emulated_s(time.monotonic())

    def _emulated_s(self, monotonic_s: float) -> float:
        return (monotonic_s - self._epoch_s) / self._config.time_scale

    def _woken_by(self, *, may_sleep: bool) -> set[int]:
        """Return the readable descriptors; if `may_sleep`, sleep until there is one or a deadline passes."""
        due_s = self._due_monotonic_s()
        if due_s is not None and due_s <= time.monotonic():
            may_sleep = False  # setting a timer that is due already would take longer than this turn
        slept_s = time.monotonic()
        self._stalls.note(self._woke_s, slept_s)  # an undisturbed turn takes milliseconds at most
        if may_sleep:
            self._deadline.arm(due_s)
        woken_by = {fd for fd, _ in self._epoll.poll(None if may_sleep else 0, FEW)}
        self._woke_s = time.monotonic()
        if due_s is not None:
            self._stalls.note(max(due_s, slept_s), self._woke_s)
        return woken_by

    def _due_monotonic_s(self) -> float | None:
        """Return the next deadline on CLOCK_MONOTONIC [real s]; None if there is none."""
        due_s = [self._timers.next_s(), *[source.due_s() for source in self._answering]]
        if self.started and self._next_arrival < len(self._config.arrivals):
            due_s.append(self._config.arrivals[self._next_arrival].time_s)
        due = [self._epoch_s + self._config.time_scale * at_s for at_s in due_s if at_s is not None]
        if self._records:
            due.append(self._flushed_s + FLUSH_EVERY_S)
        return min(due, default=None)

    def _fire_due(self) -> None:
        now_s = self._now_s()
        while (fired := self._timers.pop(now_s)) is not None:
            due_s, key = fired
            self._met(due_s)
            self.handle(TimerFired(key))
        while self.started and self._next_arrival < len(self._config.arrivals):
            arrival = self._config.arrivals[self._next_arrival]
            if arrival.time_s > now_s:
                break
            self._next_arrival += 1
            self._met(arrival.time_s)
            self.offer(arrival.task_id, arrival.sample, arrival.time_s)

    def _collect_answers(self, *, signalled: bool) -> None:
        """Handle the answers of the sub-model and of the planner, if one of them has signalled or is due."""
        for source in self._answering:
            due_s, now_s = source.due_s(), self._now_s()
            if signalled or (due_s is not None and due_s <= now_s):
                answer = source.collect(now_s)
                if answer is not None:
                    if due_s is not None:
                        self._met(due_s)
                    self.handle(answer, now_s)

    def _compute(self) -> None:
        """Start the sub-model. This comes last in a turn, since the thread is busy until it ends.

        An answer that is due at once ends its task in the same turn, and the next task may follow. Inferences and
        messages that alternate both take longer than several of a kind in a row.
        """
        while self._wanted is not None and self._executor is not None:
            (tensor, wanted_s), self._wanted = self._wanted, None
            self._executor.start(tensor, wanted_s, self._now_s())
            if time.monotonic() > self._woke_s + LONG_TURN_S:
                return
            self._collect_answers(signalled=False)

    def _met(self, due_s: float) -> None:
        """Count a deadline at `due_s` [s], which is handled now."""
        self._deadlines.meet((self._now_s() - due_s) * self._config.time_scale)

    def _input_of(self, sample: int) -> Tensor:
        if self._inputs is None:
            raise WireError(f"{self.name} is to offer tasks but has no samples")
        return self._inputs.tensor(sample)

    def _receive_messages(self, channel: Channel) -> None:
        """Handle at most MESSAGES_PER_TURN messages; the next turn handles the others."""
        arrived = self._transport.receive_all(channel, MESSAGES_PER_TURN)
        # Read the clock now, not when the loop woke: messages that came since would seem to outrun their link.
        received_s = self._now_s()
        for peer, frames in arrived:
            self._meet(peer, frames, received_s)

    def _meet(self, peer: str, frames: list[bytes], received_s: float) -> None:
        """Handle a message that had arrived at `received_s` [s]; publish an event for bytes that are none."""
        if peer not in self._peers:
            self._note("foreign-message", f"from {peer!r}, who is no neighbour")
            return
        try:
            message, tensor = decode(frames)
        except WireError as error:
            self._note("foreign-message", f"from {peer}: {error}")
            return
        self.receive(Received(peer, message, tensor, received_s))

    def _receive_commands(self) -> None:
        while zmq_poll(self._room_asked, 0):
            command = command_decoder.decode(self._room.recv())
            match command:
                case Start(epoch_monotonic_s):
                    self._begin(epoch_monotonic_s)
                case SetCapacity(capacity_flop_per_s):
                    if self._executor is not None:
                        self._executor.set_capacity(capacity_flop_per_s, self._now_s())
                case Stop():
                    self.end()
                    self._stopping = True
                case _:
                    assert_never(command)

    def _begin(self, epoch_monotonic_s: float) -> None:
        """Start the run at this time zero [real s]. An agent that comes up during the run has missed earlier tasks."""
        self._epoch_s = epoch_monotonic_s
        now_s = self._now_s()
        arrivals = self._config.arrivals
        came_late = self._config.epoch_monotonic_s is not None
        while came_late and self._next_arrival < len(arrivals) and arrivals[self._next_arrival].time_s < now_s:
            missed = arrivals[self._next_arrival]
            self.offer(missed.task_id, missed.sample, missed.time_s)
            self._next_arrival += 1
        self.start()

    def _send(self, send: Send) -> bool:
        frames = encode(as_sent(send.message, self._now_s()), send.tensor)
        return self._transport.send(send.peer, send.channel, frames)

    def _start_compute(self, tensor: Tensor, now_s: float) -> None:
        self._wanted = tensor, now_s  # started at the end of this turn; service counts from now

    def _stop_compute(self) -> None:
        self._wanted = None
        if self._executor is not None:
            self._executor.stop()

    def _plan(self, problem: Problem, now_s: float) -> None:
        if self._planner is not None:
            self._planner.start(problem, now_s)

    def _set_timer(self, key: TimerKey, at_s: float) -> None:
        self._timers.set(key, at_s)

    def _cancel_timer(self, key: TimerKey) -> None:
        self._timers.cancel(key)

    def _forget_timers(self) -> None:
        self._timers.clear()

    def validate(self) -> None:
        """Raise InvalidState unless the timers set are those of the state machine."""
        core = self.core
        if core is not None and self._timers.keys() != core.timers:
            found = f"{sorted(self._timers.keys())} are set, the node has set {sorted(core.timers)}"
            raise InvalidState("timers", found)

    def _publish(self, record: Record) -> None:
        self._records.append(self._measured(record) if isinstance(record, SampleRecord) else record)

    def _measured(self, record: SampleRecord) -> SampleRecord:
        """Return the sample with the figures of this process since the last one."""
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
            stalls=tuple((self._emulated_s(from_s), self._emulated_s(to_s)) for from_s, to_s in self._stalls.take()),
        )

    def _flush(self, *, now: bool = False) -> bool:
        """Send the collected records, if `now` or if a batch is due; return True if they were sent."""
        if not self._records:
            return False
        real_s = time.monotonic()
        # The end of a task is sent at once: it must not be lost if this agent is killed.
        now = now or any(isinstance(record, TaskRecord) for record in self._records)
        if not now and real_s < self._flushed_s + FLUSH_EVERY_S:
            return False
        self._room.send(record_encoder.encode(self._records))
        self._records.clear()
        self._flushed_s = real_s
        return True

    def _close(self) -> None:
        if self._executor is not None:
            self._executor.close()
        if self._planner is not None:
            self._planner.close()
        self._transport.close()
        self._room.close()
        self._deadline.close()
        self._epoll.close()
        self._context.term()
