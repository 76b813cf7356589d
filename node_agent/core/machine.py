"""The node state machines of devices and servers, without I/O: (event, now) in, effects out.

`state_machine` has their common base. Times are emulated seconds since the start of the run.
"""

import math
from typing import assert_never

from node_agent.core.config import NodeConfig
from node_agent.core.device import RATE_WINDOW_SLOTS, DeviceTasks
from node_agent.core.estimators import Stillness
from node_agent.core.events import ComputeFinished, Event, PlanningFinished, TaskArrived, TimerFired, TimerKey
from node_agent.core.offloading.statuses import Statuses
from node_agent.core.planning.central import Coordinator
from node_agent.core.planning.continuous import DevicePlanning, ServerPlanning
from node_agent.core.planning.rounds import DeviceRounds, ServerRounds
from node_agent.core.returns import ReturnTimes
from node_agent.core.server import ServerTasks
from node_agent.core.state_machine import NodeStateMachine, OwnEvent, OwnMessage, UnexpectedEvent
from node_agent.core.story import in_one_line
from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InvalidState
from node_agent.records import SampleRecord
from node_agent.wire import Offer, ProbeAck, Result, State, Task, Tensor

__all__ = ["DeviceCore", "NodeCore", "NodeStateMachine", "ServerCore", "UnexpectedEvent"]


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
                sent_bytes=self._outbox.take_sent_bytes(),
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
                sent_bytes=self._outbox.take_sent_bytes(),
            )
        )


NodeCore = DeviceCore | ServerCore
