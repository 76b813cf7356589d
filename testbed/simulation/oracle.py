"""Offloaders that know every queue as it is: a yardstick that no live node can reach.

Live, knowledge of a queue is as old as the way of a message, at least, and tasks of others on their way are unknown.
Here a simulated offloader sees the unfinished work at its receivers now, and all tasks on their way to them. So the
difference to a usual run is what better knowledge of queues could still gain, under the same policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from node_agent.core.machine import NodeCore, ServerCore
from node_agent.core.offloading.queue_estimate import Flow, QueueEstimate
from node_agent.errors import InputError
from node_agent.policies import make_policy
from testbed.scenario import PolicyChoice
from testbed.simulation.processor import Processor
from testbed.virtual_time import Calendar


def check_fresh(policy: PolicyChoice) -> None:
    """Raise InputError unless a policy brings queues up to date: else it would not see what the oracle knows."""
    if not make_policy(policy.name, policy.parameters).fresh:
        hint = "for example dto-ee, or shortest-expected-delay"
        raise InputError(f"policy {policy.label} does not bring queues up to date: an oracle is of no use", hint=hint)


class Node(Protocol):
    """A simulated node."""

    core: NodeCore | None  # None while it is down
    processor: Processor | None  # None for a device


class Oracle:
    """Gives every offloader true knowledge of its receivers' queues."""

    def __init__(self, nodes: Mapping[str, Node], agenda: Calendar) -> None:
        """`nodes` holds all nodes of the simulation by name; it may still be filled."""
        self._nodes = nodes
        self._agenda = agenda

    def prepare(self, core: NodeCore) -> None:
        """Replace the estimates of a node that has not begun."""
        for name, receiver in core.routing.receivers.items():
            receiver.queue = TrueQueue(name=name, nodes=self._nodes, agenda=self._agenda)


@dataclass(slots=True, kw_only=True)
class TrueQueue(QueueEstimate):
    """The unfinished work at a receiver, as it is."""

    name: str
    nodes: Mapping[str, Node]
    agenda: Calendar

    def age_s(self, now_s: float) -> float:  # noqa: ARG002 - it is never old
        """0."""
        return 0.0

    def at(self, arrival_s: float, link_s: float, known_until_s: float, flow: Flow) -> float:
        """Unfinished work that a task finds if no offloader sends another one meanwhile [s].

        The arguments are those of `QueueEstimate.at`.
        """
        server, processor = self.nodes[self.name].core, self.nodes[self.name].processor
        if not isinstance(server, ServerCore) or processor is None:  # it is down, and nobody knows it yet
            return super(TrueQueue, self).at(arrival_s, link_s, known_until_s, flow)
        waiting = server.tasks.backlog - (server.tasks.in_service_s is not None)
        time_s, work_s = self.agenda.now_s, processor.left_s + waiting * processor.usual_s
        for came_s in sorted(self._coming_s(time_s)):
            if came_s > arrival_s:
                break
            work_s = max(0.0, work_s - (came_s - time_s)) + processor.usual_s
            time_s = came_s
        return max(0.0, work_s - (arrival_s - time_s))

    def _coming_s(self, now_s: float) -> list[float]:
        """The times at which the tasks of all offloaders that are on their way will arrive [s]."""
        cores = [node.core for node in self.nodes.values()]
        senders = [core.routing.receivers.get(self.name) for core in cores if core is not None]
        return [
            sent_s + receiver.link.transfer_s
            for receiver in senders
            if receiver is not None
            for sent_s in receiver.queue.under_way_s
            if sent_s + receiver.link.transfer_s > now_s  # else it is there, and only its acknowledgement is under way
        ]
