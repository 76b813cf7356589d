"""Events that kill a node's agent, or start it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from node_agent.records import EventKind
from testbed.scenario import ChangingRun, Event
from testbed.topology.event_kinds.kind import Moment, StateSoFar, TimedEntry
from testbed.topology.form.values import Name


@dataclass(frozen=True, slots=True)
class NodeChange(Event):
    """At `at_s` a node's agent is killed (`up` false) or started again (`up` true)."""

    noun: ClassVar[str] = "node change"

    node: str
    up: bool

    def apply(self, run: ChangingRun) -> None:
        """Kill the agent, or start a new one."""
        run.switch(self.node, up=self.up)

    def told(self) -> tuple[str | None, EventKind, str]:
        """The node, and whether its agent was started or killed."""
        return self.node, "node-up" if self.up else "node-down", "agent started" if self.up else "agent killed"

    def in_words(self) -> str:
        """The node and its new state."""
        return f"{self.node} {'up' if self.up else 'down'}"

    @property
    def switched(self) -> Mapping[str, bool]:
        """The node's new state."""
        return {self.node: self.up}


class NodeEvent(TimedEntry):
    """At `at` the agent of a node (or of every node of a group) is killed (`down`) or started again (`up`).

    A device's own processor goes down and comes up with its device. Alone, it may do so while the device is up.
    """

    subject: ClassVar[str] = "node"
    told_as: ClassVar[tuple[EventKind, ...]] = ("node-down", "node-up")
    example: ClassVar[str] = "{at: 40 s, node: near-3, state: down}"

    node: Annotated[Name, Field(description="a device, a server, or a group of them")]
    state: Annotated[Literal["up", "down"], Field(description="down kills the agent, up starts it again")]

    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """Compile a change for each node; report a switch, and a node that is already in this state."""
        topology, path = so_far.topology, (*moment.path, "node")
        is_up, up = so_far.kept[NodeEvent], self.state == "up"
        changes: list[Event] = []
        for name in topology.members(self.node, path):
            if topology.kinds[name] == "switch":
                topology.complain(path, f"{name!r} is a switch and runs no agent", "name a device or a server")
                break
            device = topology.servers[name].device if name in topology.servers else None
            if is_up.get(name, True) == up:
                topology.complain(
                    (*moment.path, "state"),
                    f"{name!r} is already {self.state} at {moment.at_s:g} s",
                    "every node begins up; alternate down and up",
                )
                break
            if device is not None and not is_up.get(device, True):
                topology.complain(
                    path,
                    f"{name!r} is a part of {device!r}, which is down at {moment.at_s:g} s",
                    f"it comes up with {device!r}",
                )
                break
            for each in (name, *filter(None, [topology.own_processors.get(name)])):
                if is_up.get(each, True) != up:
                    is_up[each] = up
                    changes.append(NodeChange(moment.at_s, each, up))
        return changes
