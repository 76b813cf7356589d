"""Events that change the compute capacity of a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from node_agent.records import EventKind
from testbed.scenario import ChangingRun, Event
from testbed.topology.event_kinds.kind import Moment, StateSoFar, TimedEntry
from testbed.topology.form.values import ComputeChange, Name


@dataclass(frozen=True, slots=True)
class CapacityChange(Event):
    """At `at_s` a server's compute capacity becomes `capacity_flop_per_s`."""

    noun: ClassVar[str] = "capacity change"

    server: str
    capacity_flop_per_s: float

    def apply(self, run: ChangingRun) -> None:
        """Set the server's capacity."""
        run.set_capacity(self.server, self.capacity_flop_per_s)

    def told(self) -> tuple[str | None, EventKind, str]:
        """The server and its capacity."""
        return self.server, "capacity-change", f"{self.capacity_flop_per_s / 1e9:g} GFLOP/s"

    def in_words(self) -> str:
        """The server and its capacity."""
        return f"{self.server}: {self.capacity_flop_per_s / 1e9:.3g} GFLOP/s"

    @property
    def capacities_flop_per_s(self) -> Mapping[str, float]:
        """The server's new capacity."""
        return {self.server: self.capacity_flop_per_s}


class ServerEvent(TimedEntry):
    """At `at` the capacity of a server (or of every server of a group) changes."""

    subject: ClassVar[str] = "server"
    told_as: ClassVar[tuple[EventKind, ...]] = ("capacity-change",)
    example: ClassVar[str] = "{at: 50 %, server: near-1, capacity: x0.33}"

    server: Annotated[Name, Field(description="a server, or a group of servers")]
    capacity: Annotated[
        ComputeChange, Field(description="new capacity: absolute, or a factor on the topology's value, such as x0.33")
    ]

    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """Compile a change for each server; factors apply to the capacities that the topology states."""
        topology, path = so_far.topology, (*moment.path, "server")
        changes: list[Event] = []
        for name in topology.members(self.server, path, what="server"):
            server = topology.servers.get(name)
            if server is None:
                message = f"{name!r} is a {topology.kinds[name]}, not a server"
                topology.complain(path, message, "only servers have a capacity")
                break
            changes.append(CapacityChange(moment.at_s, name, self.capacity.applied_to(server.capacity_flop_per_s)))
        return changes
