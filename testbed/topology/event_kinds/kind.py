"""What every kind of timed event is made of, and what it may ask of the topology that it stands in."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from pydantic import Field

from node_agent.records import EventKind
from testbed.scenario import Device, Event, Link, LinkShape, Server
from testbed.topology.form.values import At, Entry
from testbed.topology.form.yaml_places import Path

SUBJECTS = ("device", "server", "link", "node")  # in which order kinds are listed; of others, after these


class TopologySoFar(Protocol):
    """The nodes and links of a topology, and whom to complain to."""

    kinds: dict[str, str]  # node or switch -> device, server or switch
    devices: list[Device]
    servers: dict[str, Server]
    links: dict[tuple[str, str], Link]  # sorted ends -> link

    @property
    def time_scale(self) -> float:
        """Seconds of real time for one of emulated time."""

    def complain(self, path: Path, message: str, hint: str = "", *, of_key: bool = False) -> None:
        """Note a problem at `path`."""

    def members(self, name: str, path: Path, *, what: str = "node", of_key: bool = False) -> tuple[str, ...]:
        """The nodes that `name` stands for; none, with a complaint at `path`, if there is no such name."""

    def intact(self, *sections: str) -> bool:
        """Whether nothing is wrong so far in these sections."""


class StateSoFar:
    """Links and rates at the time of an event, after all earlier ones. Kinds keep it up to date."""

    def __init__(self, topology: TopologySoFar) -> None:
        self.topology = topology
        self.shapes = {pair: link.shape for pair, link in topology.links.items()}  # by sorted ends
        # By kind, what its steps have made of nodes or links so far that stands nowhere else, for its later steps.
        self.kept: defaultdict[type[TimedEntry], dict[Hashable, float]] = defaultdict(dict)
        self.stated_rates_per_s = {device.name: device.rate_per_s for device in topology.devices}

    def shape_between(self, link: Link) -> LinkShape:
        """The present shape of a link."""
        return self.shapes[min(link.ends), max(link.ends)]

    def reshape(self, link: Link, shape: LinkShape) -> None:
        """A link has this shape from now on."""
        self.shapes[min(link.ends), max(link.ends)] = shape


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step of an event takes place, and where in the file that event stands."""

    at_s: float
    path: Path


@dataclass(frozen=True, slots=True)
class Step:
    """What an entry does at one time. Steps of all entries are taken in the order of time."""

    at_s: float
    compile: Callable[[StateSoFar, Moment], list[Event]]


class TimedEntry(Entry):
    """An entry under `events` of topology.yaml: something that happens at `at`.

    Several kinds may be about one subject: an entry is of the one of which it states the most marks.
    """

    subject: ClassVar[str]  # the key that names what it is about
    marks: ClassVar[frozenset[str]] = frozenset()  # further keys, without which an entry is not of this kind
    told_as: ClassVar[tuple[EventKind, ...]]  # the kinds of its lines in events.jsonl
    example: ClassVar[str]  # as docs/topologies.md states it

    at: Annotated[At, Field(description="time since the start, or % of the duration")]

    def steps(self, duration_s: float) -> tuple[Step, ...]:
        """What it does and when, in a run of this length; in most kinds one thing at `at`."""
        return (Step(self.at.seconds(duration_s), self.compile),)

    @abstractmethod
    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """The events, at this moment, of every node or link that it is about; complains of what does not fit."""
