"""The node state machine, without I/O: (event, now) in, effects out.

It has no knowledge of sockets, threads, clocks or torch, so the same code runs over ZeroMQ in a namespace, in virtual
time, and in tests. Times are emulated seconds since the start of the run.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Set
from typing import assert_never

from node_agent.core.config import NodeConfig
from node_agent.core.device import RATE_WINDOW_SLOTS, DeviceTasks
from node_agent.core.estimators import Stillness
from node_agent.core.events import (
    ComputeFinished,
    Effect,
    Event,
    LinksWanted,
    PlanningFinished,
    Received,
    RunStarted,
    TaskArrived,
    TimerFired,
    TimerKey,
)
from node_agent.core.offloading.probing import LinkProbes
from node_agent.core.offloading.routing import Routing
from node_agent.core.offloading.statuses import Statuses
from node_agent.core.outbox import Outbox
from node_agent.core.planning.central import Coordinator, Member
from node_agent.core.planning.continuous import DevicePlanning, ServerPlanning
from node_agent.core.planning.rounds import DeviceRounds, ServerRounds
from node_agent.core.returns import ReturnTimes
from node_agent.core.server import ServerTasks
from node_agent.core.story import Story, in_one_line
from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InvalidState, TestbedError
from node_agent.records import SampleRecord
from node_agent.wire import Ack, Assignment, Offer, Probe, ProbeAck, Report, Result, State, Status, Task, Tensor

OwnEvent = TaskArrived | ComputeFinished | PlanningFinished | TimerFired  # handled by devices only, or by servers only
OwnMessage = Task | Result | Offer | ProbeAck | State  # handled differently by devices and servers


class UnexpectedEvent(TestbedError):
    """Raised for an event that this node cannot handle: a fault of the driver, not of a peer."""


class NodeStateMachine(ABC):
    """The common base of devices and servers: an event goes in, effects come out, and the story keeps both."""

    tasks: DeviceTasks | ServerTasks
    rounds: DeviceRounds | DevicePlanning | ServerRounds | ServerPlanning

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.story = Story(config.name) if config.story else None
        self._started = False
        self._last: tuple[float, ...] = ()
        self._outbox = Outbox(config.name)
        self.routing = Routing(config, self._outbox)
        self._probes = LinkProbes(config, self.routing, self._outbox)
        self._member = Member(config, self.routing, self._outbox)

    @property
    def timers(self) -> Set[TimerKey]:
        """Keys of the timers that are set now; maintained only with `config.debug`."""
        return self._outbox.timers

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Handle `event`, which happened at `now_s` [s], and return its effects in order.

        The caller performs the effects, and must not change the list. If the node keeps a story, every error carries it
        in its notes, which a traceback shows.

        Raises:
            UnexpectedEvent: this node cannot handle such an event.
            InvalidState: with `config.debug`, if `validate` finds a fault.
            TestbedError: a policy or the sub-model gave a wrong answer.
        """
        outbox, story = self._outbox, self.story
        outbox.now_s = now_s
        if story is None:
            self._react(event)
            return outbox.drain()
        try:
            self._react(event)
            if self.config.debug:
                outbox.follow_timers(event)
                self.validate()
        except (Exception, SystemExit) as error:
            story.add(now_s, event, outbox.drain())
            story.attach(error)
            raise
        effects = outbox.drain()
        story.add(now_s, event, effects)
        return effects

    def _react(self, event: Event) -> None:
        """Put the effects of `event` into the outbox."""
        match event:
            case Received():
                self._receive(event)
            case TimerFired(("sample",)):
                self._sample()
            case TimerFired(("probe", *_) as key):
                self._probes.timer(key)
            case LinksWanted():
                self._probes.start()
            case RunStarted():
                self._started = True
                self._last = (max(0.0, self._outbox.now_s), *self._last[1:])
                self._begin()
            case TaskArrived() | ComputeFinished() | PlanningFinished() | TimerFired():
                self._react_alone(event)
            case _:
                assert_never(event)

    @abstractmethod
    def _react_alone(self, event: OwnEvent) -> None:
        """Handle an event of this kind of node only; raise UnexpectedEvent for any other."""

    @abstractmethod
    def _begin(self) -> None:
        """Set the timers that are always set from the start of the run."""

    @abstractmethod
    def _sample(self) -> None:
        """Publish a sample with the counts since the last one, and set the timer of the next."""

    def _receive(self, event: Received) -> None:
        """Handle a message. It shows that its sender is alive; most kinds are handled alike by all nodes."""
        peer, message = event.peer, event.message
        received_s = self._outbox.now_s if event.received_s is None else event.received_s
        # No sign of life: a receiver that sends its queue may still leave tasks unacknowledged.
        if not isinstance(message, Status) and self.routing.heard(peer):
            self._probes.forget(peer)
        match message:
            case Ack():
                self.tasks.acknowledged(peer, message)
            case Report():
                self.rounds.report(peer, message, received_s)
            case Probe():
                self._outbox.send_data(peer, ProbeAck(message.sequence, received_s))
            case Status():
                self.routing.status(peer, message)
            case Assignment():
                self._member.assigned(peer, message)
            case Task() | Result() | Offer() | ProbeAck() | State():
                self._take(peer, message, event.tensor, received_s)
            case _:
                assert_never(message)

    @abstractmethod
    def _take(self, peer: str, message: OwnMessage, tensor: Tensor | None, received_s: float) -> None:
        """Handle a message that devices and servers handle differently, or refuse."""

    def _refuse(self, peer: str, message: OwnMessage) -> None:
        self._outbox.note("unexpected-message", f"{type(message).__name__} from {peer}")

    def validate(self) -> None:
        """Raise InvalidState if the node's state contradicts itself."""
        self._probes.validate()
        counts, sampled = self._counts()[1:], self._last[1:]
        if any(new < old for new, old in zip(counts, sampled, strict=True)):
            raise InvalidState("samples", f"counts have fallen from {sampled} to {counts}")

    @abstractmethod
    def _counts(self) -> tuple[float, ...]:
        """Return the present time [s] and the counters whose growth a sample reports."""

    def _validate_standing_timers(self, wanted: Set[TimerKey], kinds: Set[str]) -> None:
        """Raise InvalidState if, after the start, a `wanted` timer is not set, or a timer of another kind is."""
        missing = wanted - self.timers if self._started else set()
        if missing or not kinds >= {key[0] for key in self.timers}:
            raise InvalidState("timers", f"{sorted(self.timers)} are set; {sorted(missing)} should be")


class DeviceCore(NodeStateMachine):
    """An end device: offers tasks to stage 1, and starts the rounds of every slot."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self.tasks: DeviceTasks = DeviceTasks(config, self.routing, self._outbox)
        planning = DevicePlanning if self.routing.policy.continuous else DeviceRounds
        self.rounds: DeviceRounds | DevicePlanning = planning(config, self.routing, self.tasks, self._outbox)
        self._stillness = Stillness(RATE_WINDOW_SLOTS * config.slot_s)
        self._last = self._counts()

    def _begin(self) -> None:
        self.tasks.rate.begin(max(0.0, self._outbox.now_s))
        self._await_slot(max(0, math.ceil(self._outbox.now_s / self.config.slot_s - 1e-9)))
        self._outbox.timer(("sample",), self.config.first_sample_s)

    def _react_alone(self, event: OwnEvent) -> None:
        match event:
            case TaskArrived():
                self.tasks.arrive(event)
                self.rounds.look()
            case TimerFired(("slot", slot)):
                self._start_slot(int(slot))
            case TimerFired(("reports" | "round",) as key):
                self.rounds.timer(key)
            case TimerFired(("ack" | "result", _) as key):
                self.tasks.timer(key)
            case ComputeFinished() | PlanningFinished() | TimerFired():
                raise UnexpectedEvent(f"device {self.config.name} cannot handle {in_one_line(event)}")
            case _:
                assert_never(event)

    def validate(self) -> None:
        """Raise InvalidState if the device's state contradicts itself."""
        self.tasks.validate()
        self.rounds.validate()
        self._stillness.validate(self.tasks.arrived)
        slots = {key for key in self.timers if key[0] == "slot"}
        if len(slots) != self._started:
            raise InvalidState("timers", f"{sorted(slots)} are set: one is, from the start on")
        self._validate_standing_timers({("sample",)}, {"slot", "sample", "reports", "round", "ack", "result", "probe"})
        super().validate()

    def _counts(self) -> tuple[float, ...]:
        tasks = self.tasks
        return self._outbox.now_s, tasks.arrived, tasks.completed, tasks.refused, tasks.duplicates

    def _take(self, peer: str, message: OwnMessage, tensor: Tensor | None, received_s: float) -> None:  # noqa: ARG002
        match message:
            case Result():
                self.tasks.result(message)
            case ProbeAck():
                self._probes.answered(peer, message)
            case Task() | Offer() | State():
                self._refuse(peer, message)
            case _:
                assert_never(message)

    def _await_slot(self, slot: int) -> None:
        self._outbox.timer(("slot", slot), slot * self.config.slot_s + self.config.slot_phase_s - self._outbox.now_s)

    def _start_slot(self, slot: int) -> None:
        self._await_slot(slot + 1)
        at_rest = self._stillness.at_rest(self.tasks.arrived, self.tasks.rate.per_s, self._outbox.now_s)
        if not at_rest:  # a device at rest sends nothing soon, and measures again before it does
            self._probes.refresh()
        self.rounds.start_slot(slot, at_rest=at_rest)
        self._member.tell(slot, self.tasks.rate.per_s, 0.0)

    def _sample(self) -> None:
        self._outbox.timer(("sample",), self.config.sample_every_s)
        now = self._counts()
        interval_s, arrived, completed, refused, duplicates = (
            new - old for new, old in zip(now, self._last, strict=True)
        )
        self._last = now
        self._outbox.publish(
            SampleRecord(
                time_s=self._outbox.now_s,
                node=self.config.name,
                stage=0,
                queue_length=self.tasks.unfinished,
                arrival_rate_per_s=arrived / max(interval_s, 1e-9),
                utilisation=0.0,
                arrived=int(arrived),
                served=int(completed),
                exits=0,
                forwarded=int(arrived - refused),
                duplicates=int(duplicates),
                overruns=0,
                cpu_s=0.0,
                threshold=None,
                busy_s=0.0,
                refused=int(refused),
            )
        )


class ServerCore(NodeStateMachine):
    """An edge server of stage 1 to H: queue, sub-model, early exit, next hop, and the server's part in the rounds."""

    def __init__(self, config: NodeConfig, table: ExitTable) -> None:
        super().__init__(config)
        self.tasks: ServerTasks = ServerTasks(config, self.routing, self._outbox)
        self.returns = ReturnTimes(config, self._outbox)
        planning = ServerPlanning if self.routing.policy.continuous else ServerRounds
        parts = self.routing, self.tasks, self.returns
        self.rounds: ServerRounds | ServerPlanning = planning(config, *parts, table, self._outbox)
        self._statuses = Statuses(
            config, self.routing, self.tasks, lambda: (self.rounds.remaining_ratio, self.rounds.pricing.return_s),
            self._outbox,
        )  # fmt: skip
        self._coordinator = Coordinator(config, self.routing, self._outbox)
        self._slot = -1
        self._last = self._counts()

    def _begin(self) -> None:
        self._outbox.timer(("sample",), self.config.first_sample_s)
        self._statuses.await_next()

    def _react(self, event: Event) -> None:
        super()._react(event)
        self._statuses.after(event)

    def _react_alone(self, event: OwnEvent) -> None:
        match event:
            case ComputeFinished():
                self.tasks.finish(event)
                self.rounds.look()
            case PlanningFinished(assignments):
                self._coordinator.planned(assignments)
            case TimerFired(("status",)):
                self._statuses.send()
            case TimerFired(("late",)):
                pass  # the review after every event looks at the task in service
            case TimerFired(("plan",)):
                self._coordinator.timer()
            case TimerFired(("offers" | "reports" | "settle" | "round" | "gather",) as key):
                self.rounds.timer(key)
            case TimerFired(("ack", *_) as key):
                self.tasks.timer(key)
            case TaskArrived() | TimerFired():
                raise UnexpectedEvent(f"server {self.config.name} cannot handle {in_one_line(event)}")
            case _:
                assert_never(event)

    def validate(self) -> None:
        """Raise InvalidState if the server's state contradicts itself."""
        self.tasks.validate()
        self.returns.validate()
        self.rounds.validate()
        self._coordinator.validate()
        status: set[TimerKey] = {("status",)} if self._statuses.every_s is not None else set()
        kinds = {
            "sample", "status", "late", "plan", "offers", "reports", "settle", "round", "gather", "ack", "probe"
        }  # fmt: skip
        self._validate_standing_timers({("sample",)} | status, kinds)
        super().validate()

    def _counts(self) -> tuple[float, ...]:
        tasks = self.tasks
        served = tasks.served, tasks.exits, tasks.forwards, tasks.overruns, tasks.work_flop, tasks.served_s
        return self._outbox.now_s, tasks.busy_s(), tasks.arrived, *served

    def _take(self, peer: str, message: OwnMessage, tensor: Tensor | None, received_s: float) -> None:
        match message:
            case Task() if tensor is not None and self.config.takes(tensor.form) and self.tasks.can_judge(message):
                self.tasks.receive(peer, message, tensor, received_s)
                self.returns.arrived(message.device)
            case Offer() if peer in self.config.offloaders and self._is_near(message.slot):
                if message.slot > self._slot:
                    self._start_slot(message.slot)
                self.rounds.offer(peer, message, received_s)
                self._statuses.offered(peer, message)
            case ProbeAck():
                (self._probes if peer in self.routing.receivers else self.returns).answered(peer, message)
            case State():
                self._coordinator.state(peer, message)
            case Task() | Offer() | Result():
                self._refuse(peer, message)
            case _:
                assert_never(message)

    def _is_near(self, slot: int) -> bool:
        """True unless the slot lies further ahead than the small clock differences between neighbours explain."""
        return slot <= self._outbox.now_s / self.config.slot_s + 1

    def _start_slot(self, slot: int) -> None:
        """Begin a new slot, on the first offer of one."""
        self._slot = slot
        self._probes.refresh()
        self.returns.start_slot()
        tasks, return_s = self.tasks, self.rounds.pricing.return_s
        own_state = self._member.tell(slot, tasks.service_rate_per_s, tasks.service.variability, return_s)
        if own_state is not None:
            self._coordinator.state(self.config.name, own_state)

    def _sample(self) -> None:
        self._outbox.timer(("sample",), self.config.sample_every_s)
        tasks = self.tasks
        now = self._counts()
        interval_s, busy_s, arrived, served, exits, forwards, overruns, work_flop, served_s = (
            new - old for new, old in zip(now, self._last, strict=True)
        )
        self._last = now
        self._outbox.publish(
            SampleRecord(
                time_s=self._outbox.now_s,
                node=self.config.name,
                stage=self.config.stage,
                queue_length=tasks.backlog,
                arrival_rate_per_s=arrived / max(interval_s, 1e-9),
                utilisation=min(1.0, busy_s / max(interval_s, 1e-9)),
                arrived=int(arrived),
                served=int(served),
                exits=int(exits),
                forwarded=int(forwards),
                duplicates=0,
                overruns=int(overruns),
                cpu_s=0.0,
                threshold=self.routing.threshold,
                busy_s=busy_s,
                work_flop=work_flop,
                served_s=served_s,
            )
        )


NodeCore = DeviceCore | ServerCore
