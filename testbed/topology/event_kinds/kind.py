"""The base of every kind of timed event, and the part of a topology that an event may use."""

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

SUBJECTS = ("device", "server", "link", "node")  # the order in which kinds are listed; other subjects follow


class TopologySoFar(Protocol):
    """The nodes and links of a topology under compilation, and `complain` to report problems."""

    kinds: dict[str, str]  # node or switch -> device, server or switch
    devices: list[Device]
    servers: dict[str, Server]
    own_processors: dict[str, str]  # device that runs stage 1 -> the server that is its processor
    links: dict[tuple[str, str], Link]  # sorted ends -> link

    @property
    def time_scale(self) -> float:
        """Seconds of real time for one of emulated time."""

    def complain(self, path: Path, message: str, hint: str = "", *, of_key: bool = False) -> None:
        """Add a problem at `path`, or at its key."""

    def members(self, name: str, path: Path, *, what: str = "node", of_key: bool = False) -> tuple[str, ...]:
        """Return the members of the group or node `name`; report an unknown name at `path` and return none."""

    def intact(self, *sections: str) -> bool:
        """True if no problem has been found in these sections."""


class StateSoFar:
    """Links and rates at the time of an event, after all earlier ones. Kinds keep it up to date."""

    def __init__(self, topology: TopologySoFar) -> None:
        self.topology = topology
        self.shapes = {pair: link.shape for pair, link in topology.links.items()}  # by sorted ends
        # Further state that the steps of a kind keep for its later steps, by kind.
        self.kept: defaultdict[type[TimedEntry], dict[Hashable, float]] = defaultdict(dict)
        self.stated_rates_per_s = {device.name: device.rate_per_s for device in topology.devices}

    def shape_between(self, link: Link) -> LinkShape:
        """Return the present shape of a link."""
        return self.shapes[min(link.ends), max(link.ends)]

    def reshape(self, link: Link, shape: LinkShape) -> None:
        """Set the shape of a link for later steps."""
        self.shapes[min(link.ends), max(link.ends)] = shape


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a step [s], and the path of its event in the file."""

    at_s: float
    path: Path


@dataclass(frozen=True, slots=True)
class Step:
    """A single action of an entry. The steps of all entries are compiled in order of time."""

    at_s: float
    compile: Callable[[StateSoFar, Moment], list[Event]]


class TimedEntry(Entry):
    """An entry under `events` of topology.yaml: a change at time `at`.

    Several kinds may share a subject. An entry belongs to the kind of which it states the most marks.
    """

    subject: ClassVar[str]  # the key that names the node or link that changes
    marks: ClassVar[frozenset[str]] = frozenset()  # further keys that every entry of this kind states
    told_as: ClassVar[tuple[EventKind, ...]]  # the kinds of its lines in events.jsonl
    example: ClassVar[str]  # as docs/topologies.md states it

    at: Annotated[At, Field(description="time of the change: emulated time since the start, or % of the duration")]

    def steps(self, duration_s: float) -> tuple[Step, ...]:
        """Return the steps of this entry in a run of this length [s]; for most kinds one step, at `at`."""
        return (Step(self.at.seconds(duration_s), self.compile),)

    @abstractmethod
    def compile(self, so_far: StateSoFar, moment: Moment) -> list[Event]:
        """Return an event for each node or link that the entry names, at this moment; report misfits."""
