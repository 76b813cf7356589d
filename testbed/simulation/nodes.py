"""Nodes in virtual time: drive the node state machine with the agenda, the links and the recorded answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from node_agent.core.config import NodeConfig
from node_agent.core.events import Channel, PlanningFinished, Received, Send, TimerFired, TimerKey
from node_agent.core.machine import NodeCore, ServerCore
from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InvalidState
from node_agent.problem import Problem
from node_agent.process.driver import Driver, make_core
from node_agent.records import Record
from node_agent.wire import Tensor, message_bytes
from testbed.simulation.failure import NodeFailed
from testbed.simulation.links import Connection, Links
from testbed.simulation.processor import Answers, Processor
from testbed.virtual_time import Calendar, Entry


class Listener(Protocol):
    """Receives the records of nodes."""

    def told(self, record: Record) -> None:
        """Take a record of a node."""


def as_made(core: NodeCore) -> None:
    """Leave a new state machine as it is."""


@dataclass(frozen=True, slots=True)
class World:
    """The objects that all nodes of a simulation share."""

    agenda: Calendar
    links: Links
    answers: Answers
    table: ExitTable
    nodes: Mapping[str, "SimulatedNode"]
    listener: Listener
    prepare: Callable[[NodeCore], None] = as_made  # called with each new state machine before its first event


class SimulatedNode(Driver):
    """A node with its timers and connections. It may go down and come up again."""

    def __init__(self, world: World, config: NodeConfig, processor: Processor | None = None) -> None:
        """`processor` serves the tasks of a server; None for a device."""
        super().__init__(config.name)
        self.processor = processor
        self._world = world
        self._agenda = world.agenda
        self._links = world.links
        self.config = config
        self.life = 0  # how often it has come up
        self._timers: dict[TimerKey, Entry] = {}
        self._connections: dict[Channel, dict[str, tuple[Connection, SimulatedNode]]] = {"data": {}, "control": {}}
        self.unsent: list[tuple[Connection, int, Received]] = []  # messages of other nodes, kept until this node is up
        self._planning: Entry | None = None

    # Coming and going

    def switch_on(self) -> None:
        """Start the node's agent without any state, and send it the messages that waited for it.

        Raises:
            NodeFailed: the node's own code raised an error, for example a user's policy. `start`, `offer` and the
                node's actions in the agenda raise it, too.
        """
        self.life += 1
        try:
            core = make_core(self.config, self._world.table)
            self._world.prepare(core)
            self.come_up(core)
        except (Exception, SystemExit) as error:
            self._fail(error)
        unsent, self.unsent = self.unsent, []
        for connection, size_bytes, message in unsent:
            self._links.send(connection, size_bytes, message)

    def go_down(self) -> None:
        """Kill the node's agent: its state and its connections are gone."""
        super().go_down()
        if self._planning is not None:
            self._agenda.strike(self._planning)
        self._links.hang_up(self.name)
        for other in self._world.nodes.values():  # messages that waited for others were in this node's memory
            other.unsent = [kept for kept in other.unsent if kept[0].sender != self.name]

    def _fail(self, error: BaseException) -> NoReturn:
        self._attach_story(error)
        raise NodeFailed(self.name, error) from error

    # Effects of the state machine

    def _now_s(self) -> float:
        return self._agenda.now_s

    def _input_of(self, sample: int) -> Tensor:
        return self._world.answers.offered(sample)

    def _start_compute(self, tensor: Tensor, now_s: float) -> None:  # noqa: ARG002 - the agenda's time
        if self.processor is not None:
            self.processor.start(tensor, self.handle)

    def _stop_compute(self) -> None:
        if self.processor is not None:
            self.processor.abandon()

    def _plan(self, problem: Problem, now_s: float) -> None:
        assert self.core is not None
        policy = self.core.routing.policy
        try:
            plan = PlanningFinished(policy.plan(problem, self._world.table))
            due_s = now_s + policy.planning_s(problem)
        except (Exception, SystemExit) as error:
            self._fail(error)
        self._planning = self._agenda.at(due_s, self.handle, plan)

    def _set_timer(self, key: TimerKey, at_s: float) -> None:
        self._cancel_timer(key)
        self._timers[key] = self._agenda.at(at_s, self._fire, key)

    def _fire(self, key: TimerKey) -> None:
        del self._timers[key]
        self.handle(TimerFired(key))

    def _cancel_timer(self, key: TimerKey) -> None:
        entry = self._timers.pop(key, None)
        if entry is not None:
            self._agenda.strike(entry)

    def _forget_timers(self) -> None:
        for entry in self._timers.values():
            self._agenda.strike(entry)
        self._timers.clear()

    def _publish(self, record: Record) -> None:
        self._world.listener.told(record)

    def _send(self, send: Send) -> bool:
        message, tensor = send.message, send.tensor
        size_bytes = message_bytes(message, None if tensor is None else len(tensor.data))
        found = self._connections[send.channel].get(send.peer)
        connection, receiver = found or self._connect(send.peer, send.channel)
        received = Received(self.name, message, tensor)
        if receiver.core is not None:
            self._links.send(connection, size_bytes, received)
        elif self._connects_to(receiver.config):
            receiver.unsent.append((connection, size_bytes, received))  # ZeroMQ keeps messages for the next connection
        else:
            return False
        return True

    def _connect(self, peer: str, channel: Channel) -> "tuple[Connection, SimulatedNode]":
        receiver = self._world.nodes[peer]
        connection = self._links.connect(self.name, peer, receiver.receive, urgent=channel == "control")
        self._connections[channel][peer] = connection, receiver
        return connection, receiver

    def _connects_to(self, peer: NodeConfig) -> bool:
        """True if this node makes the connection to `peer`, so that messages wait while the peer is down."""
        config = self.config
        answers = config.stage > 1 and peer.is_device
        return answers or peer.name in config.receivers or peer.name == config.coordinator

    # Checks

    def validate(self) -> None:
        """Raise NodeFailed if timers or processor contradict the state machine."""
        timers = self.core.timers if self.core is not None else set()
        computing = isinstance(self.core, ServerCore) and self.core.tasks.computing
        try:
            if self._timers.keys() != timers:
                raise InvalidState("timers", f"{sorted(self._timers)} are set, the node has set {sorted(timers)}")
            if self.processor is not None:
                self.processor.validate(busy=computing)
        except InvalidState as error:
            self._fail(error)
