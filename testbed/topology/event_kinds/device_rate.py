"""Events that change the mean rate at which a device offers tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from node_agent.records import EventKind
from testbed.scenario import ChangingRun, Event
from testbed.topology.event_kinds.kind import Moment, StateSoFar, TimedEntry
from testbed.topology.form.values import Name, TaskRateChange


@dataclass(frozen=True, slots=True)
class RateChange(Event):
    """From `at_s` on, `device` offers tasks at a mean rate of `rate_per_s`.

    The workload generator draws arrivals by it. A given workload trace already holds its arrivals; the event is then
    only recorded.
    """

    noun: ClassVar[str] = "rate change"

    device: str
    rate_per_s: float

    def apply(self, run: ChangingRun) -> None:
        """Do nothing: the workload already holds the arrivals."""

    def told(self) -> tuple[str | None, EventKind, str]:
        """The device and its rate."""
        return self.device, "rate-change", f"offers {self.rate_per_s:g} tasks/s"

    def in_words(self) -> str:
        """The device and its rate."""
        return f"{self.device}: {self.rate_per_s:.3g} tasks/s"

    @property
    def rates_per_s(self) -> Mapping[str, float]:
        """The device's new mean rate."""
        return {self.device: self.rate_per_s}


class DeviceEvent(TimedEntry):
    """From `at` on, a device (or every device of a group) offers tasks at another mean rate.

    The generated workload follows it; a given workload trace stays as it is.
    """

    subject: ClassVar[str] = "device"
    told_as: ClassVar[tuple[EventKind, ...]] = ("rate-change",)
    example: ClassVar[str] = "{at: 30 s, device: cam, rate: x2}"

    device: Annotated[Name, Field(description="a device, or a group of devices")]
    rate: Annotated[
        TaskRateChange,
        Field(description="new mean task rate: absolute, or a factor on the topology's value, such as x2"),
    ]

    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """Compile a change for each device; factors apply to the rates that the topology states."""
        topology, path = so_far.topology, (*moment.path, "device")
        stated_per_s = so_far.stated_rates_per_s
        changes: list[Event] = []
        for name in topology.members(self.device, path, what="device"):
            if name not in stated_per_s:
                message = f"{name!r} is a {topology.kinds[name]}, not a device"
                topology.complain(path, message, "only devices offer tasks")
                break
            changes.append(RateChange(moment.at_s, name, self.rate.applied_to(stated_per_s[name])))
        return changes
