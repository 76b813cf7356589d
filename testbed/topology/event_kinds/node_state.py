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
    """At `at` the agent of a node (or of every node of a group) is killed (`down`) or started again (`up`)."""

    subject: ClassVar[str] = "node"
    told_as: ClassVar[tuple[EventKind, ...]] = ("node-down", "node-up")
    example: ClassVar[str] = "{at: 40 s, node: near-3, state: down}"

    node: Annotated[Name, Field(description="a device, a server, or a group of them")]
    state: Annotated[Literal["up", "down"], Field(description="down kills the agent, up starts it again")]

    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """Compile a change for each node; report a switch, and a node that is already in this state."""
        topology, path = so_far.topology, (*moment.path, "node")
        is_up = so_far.kept[NodeEvent]
        changes: list[Event] = []
        for name in topology.members(self.node, path):
            if topology.kinds[name] == "switch":
                topology.complain(path, f"{name!r} is a switch and runs no agent", "name a device or a server")
                break
            if is_up.get(name, True) == (self.state == "up"):
                topology.complain(
                    (*moment.path, "state"),
                    f"{name!r} is already {self.state} at {moment.at_s:g} s",
                    "every node begins up; down and up take turns",
                )
                break
            is_up[name] = self.state == "up"
            changes.append(NodeChange(moment.at_s, name, self.state == "up"))
        return changes
