"""Changes of a link's rate, delay, jitter, loss or queue: by an event, or by a step of a network trace."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from node_agent.records import EventKind
from testbed.scenario import ChangingRun, Direction, Event, Link, LinkShape
from testbed.topology.event_kinds.kind import Moment, StateSoFar, TimedEntry
from testbed.topology.form.link_entries import QueueLength
from testbed.topology.form.values import STATED, BitRateChange, Name, ShareChange, TimeChange, complaint
from testbed.topology.form.yaml_places import Path
from testbed.topology.shapes import shape_fault
from testbed.wording import counted, milliseconds, percent

_CHANGE = "absolute, or a factor on the topology's value, such as x0.5 (default: unchanged)"


@dataclass(frozen=True, slots=True)
class LinkChange(Event):
    """At `at_s` the link between `ends` takes `shape`, which is complete: fields that the event leaves out are kept.

    `traced` marks a step of a recorded network trace. With a `sender`, one of the ends, only the direction in which it
    sends changes. `stated` holds the keys that the topology's event states; they only choose the words.
    """

    noun: ClassVar[str] = "link change"

    ends: tuple[str, str]
    shape: LinkShape
    traced: bool = False
    sender: str | None = None
    stated: Set[str] = field(default=frozenset(), compare=False)

    def apply(self, run: ChangingRun) -> None:
        """Give the link its shape."""
        run.change_link(self.ends, self.shape, sender=self.sender)

    def told(self) -> tuple[str | None, EventKind, str]:
        """No node; the ends and values of `in_words`."""
        return None, "link-change", self.in_words()

    def in_words(self) -> str:
        """The ends, rate and delay, then jitter, loss and queue as far as the event states them."""
        ends = " - ".join(self.ends) if self.sender is None else " -> ".join(*self.shapes)
        values = [f"{self.shape.rate_mbit_per_s:g} Mbit/s", milliseconds(self.shape.delay_s, "g")]
        if "jitter" in self.stated:
            values.append(f"jitter {milliseconds(self.shape.jitter_s, 'g')}")
        if "loss" in self.stated:
            values.append(f"loss {percent(self.shape.loss, 'g')}")
        if "queue" in self.stated:
            values.append(f"queue of {counted(self.shape.queue_packets, 'frame')}")
        return f"{ends}: {', '.join(values)}"

    @property
    def shapes(self) -> Mapping[Direction, LinkShape]:
        """The new shape of both directions, or of the one in which `sender` sends."""
        there, back = self.ends, self.ends[::-1]
        if self.sender is None:
            return {there: self.shape, back: self.shape}
        return {there if self.sender == there[0] else back: self.shape}


class LinkEvent(TimedEntry):
    """At `at` a link changes; values that are not stated stay as they were just before."""

    subject: ClassVar[str] = "link"
    told_as: ClassVar[tuple[EventKind, ...]] = ("link-change",)
    example: ClassVar[str] = "{at: 20 s, link: [access, near-2], rate: 2 Mbit/s, delay: 50 ms}"

    link: Annotated[
        list[Name], Field(min_length=2, max_length=2, description="the link's two ends: nodes, switches or groups")
    ]
    rate: Annotated[BitRateChange | None, STATED, Field(description=f"new rate in each direction: {_CHANGE}")] = None
    delay: Annotated[TimeChange | None, STATED, Field(description=f"new one-way delay: {_CHANGE}")] = None
    jitter: Annotated[
        TimeChange | None, STATED, Field(description=f"new standard deviation of the delay: {_CHANGE}")
    ] = None
    loss: Annotated[
        ShareChange | None, STATED, Field(description=f"new share of frames that are dropped: {_CHANGE}")
    ] = None
    queue: Annotated[
        QueueLength | None,
        STATED,
        Field(description="new number of frames that may wait in each direction (default: unchanged)"),
    ] = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.model_fields_set <= {"at", "link"}:
            raise complaint("this link event changes nothing", "add rate, delay, jitter, loss or queue")
        return self

    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """Compile a change for each link; factors apply to the topology's values, unstated values stay as they are."""
        changes: list[Event] = []
        for link in links_between(self.link, so_far, moment):
            shape = self._changed(so_far.shape_between(link), link.shape)
            so_far.reshape(link, shape)
            if has_fault(shape, link, so_far, moment, self.model_fields_set):
                break
            changes.append(LinkChange(moment.at_s, link.ends, shape, stated=frozenset(self.model_fields_set)))
        return changes

    def _changed(self, now: LinkShape, base: LinkShape) -> LinkShape:
        if self.rate is not None:
            now = replace(now, rate_mbit_per_s=self.rate.applied_to(base.rate_mbit_per_s))
        if self.delay is not None:
            now = replace(now, delay_s=self.delay.applied_to(base.delay_s))
        if self.jitter is not None:
            now = replace(now, jitter_s=self.jitter.applied_to(base.jitter_s))
        if self.loss is not None:
            now = replace(now, loss=self.loss.applied_to(base.loss))
        if self.queue is not None:
            now = replace(now, queue_packets=self.queue)
        return now


def links_between(ends: list[str], so_far: StateSoFar, moment: Moment) -> Iterator[Link]:
    """Yield the links that join two nodes or groups; report if there is none, and the first that follows a trace."""
    topology, path = so_far.topology, (*moment.path, "link")
    members = [topology.members(name, (*path, position)) for position, name in enumerate(ends)]
    pairs = [(min(first, second), max(first, second)) for first in members[0] for second in members[1]]
    found = [topology.links[pair] for pair in pairs if pair in topology.links]
    if not found and all(members) and topology.intact("links", "devices", "servers", "switches"):
        topology.complain(path, f"no link joins {ends[0]!r} and {ends[1]!r}", "name the ends of a link")
    for link in found:
        if link.trace is not None:
            # Decision 047: events do not change links that follow a trace
            # (docs/decisions/047-no-events-on-traced-links.md).
            follows = f"follows {' and '.join(link.traces)}"
            message = f"the link {link.ends[0]} - {link.ends[1]} {follows}: events do not change it"
            topology.complain(path, message, "put the change into the trace, or state the link without one")
            return
        yield link


def has_fault(shape: LinkShape, link: Link, so_far: StateSoFar, moment: Moment, stated: Set[str]) -> bool:
    """True, after reporting it, if a link cannot have this shape; the place is the key at fault if it is stated."""
    fault = shape_fault(shape, so_far.topology.time_scale)
    if fault is None:
        return False
    where: Path = (*moment.path, fault.key) if fault.key in stated else moment.path
    so_far.topology.complain(where, f"the link {link.ends[0]} - {link.ends[1]}: {fault.message}", fault.hint)
    return True
