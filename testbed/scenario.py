"""A scenario: one topology file with every range drawn, every group expanded and every unit converted.

`testbed.topology.compiler` makes it; the network, the launcher, the trace generator and the recorder read it. All
quantities carry their unit in their name; times are emulated seconds.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from node_agent.records import EventKind

DRAIN_S = 90.0  # how long results are waited for after the end of the workload, and on while some still come

ComputeMode = Literal["paced", "quota"]
ArrivalProcess = Literal["poisson", "bursty"]
Parameter = float | int | bool | str  # of a policy
Direction = tuple[str, str]  # of a link: its sending and its receiving end


@dataclass(frozen=True, slots=True)
class LinkShape:
    """How a link, or one direction of it, treats frames.

    In a `lull` a network trace tells next to no rate: what it has carries a frame now and then.
    """

    rate_mbit_per_s: float  # what a TCP transfer gets
    delay_s: float  # one way, without queueing and transmission
    jitter_s: float = 0.0  # standard deviation of the delay
    loss: float = 0.0  # probability that a frame is dropped, 0..1
    queue_packets: int = 1000  # frames that may wait for transmission
    lull: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """An end device: offers tasks at a mean rate and owns them until their result is back."""

    name: str
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Server:
    """An edge server that hosts the sub-model of its stage (1 is nearest to the devices)."""

    name: str
    stage: int
    capacity_flop_per_s: float
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two nodes or switches, named by its ends in the order of the file.

    `trace` is the file of the network trace that it follows, as the topology states it; `shape` is then the first one.
    Both hold for both directions, unless the link follows two traces: then they hold for what the first end sends, and
    `down_trace` and `down_shape` for what the second one does.
    """

    ends: tuple[str, str]
    shape: LinkShape
    trace: str | None = None
    down_shape: LinkShape | None = None
    down_trace: str | None = None

    @property
    def shapes(self) -> tuple[LinkShape, LinkShape]:
        """For what the first end sends, and for what the second one does."""
        return self.shape, self.down_shape or self.shape

    @property
    def traces(self) -> tuple[str, ...]:
        """The files that it follows: none, one, or one for each direction."""
        return tuple(file for file in (self.trace, self.down_trace) if file is not None)


class ChangingRun(Protocol):
    """What an event can do to a run under way, live or simulated."""

    def change_link(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """Give the link between `ends` a new shape; with a `sender`, one of the ends, only what that one sends."""

    def set_capacity(self, server: str, capacity_flop_per_s: float) -> None:
        """Let a server compute at this speed from now on."""

    def switch(self, node: str, *, up: bool) -> None:
        """Kill a node's agent, or start it anew; nothing happens where it is so already."""


@dataclass(frozen=True, slots=True)
class Event(ABC):
    """What happens to a run at `at_s`. Each kind is a class of `testbed.topology.event_kinds`.

    A kind carries its event out (`apply`) and words it. What it makes of the scenario stands in the four mappings, by
    which planners, verdicts and generators reckon with it whatever its kind; one that leaves a thing alone names none.

    Decision: one `apply` for live and simulated runs, so that no kind works in one of them alone; rejected: one each,
    which differ in nothing but whom they call.
    """

    at_s: float
    noun: ClassVar[str]  # in the singular; results count by it where several kinds happen at once

    @abstractmethod
    def apply(self, run: ChangingRun) -> None:
        """Carry it out, now."""

    @abstractmethod
    def told(self) -> tuple[str | None, EventKind, str]:
        """Its line in events.jsonl: node (None if it is about none), kind and detail."""

    @abstractmethod
    def in_words(self) -> str:
        """What it brings about, as results name it."""

    @property
    def traced(self) -> bool:
        """Whether it is a step of a recorded network trace: how a link always is, and no incident to recover from."""
        return False

    @property
    def shapes(self) -> Mapping[Direction, LinkShape]:
        """New shapes, by direction of a link."""
        return {}

    @property
    def capacities_flop_per_s(self) -> Mapping[str, float]:
        """New compute capacities, by server."""
        return {}

    @property
    def rates_per_s(self) -> Mapping[str, float]:
        """New mean rates of tasks, by device. The workload holds them already: a run does nothing for them."""
        return {}

    @property
    def switched(self) -> Mapping[str, bool]:
        """Nodes that come up (true) or go down (false)."""
        return {}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which early-exit model, after which blocks it is cut into sub-models, and how activations travel."""

    name: str
    cut: tuple[int, ...]
    activation: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """Which offloading policy, and its parameters as the policy itself names them.

    `name` is one of the policies that come with the nodes, or /absolute/path/to/file.py:Class.
    """

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    stated_label: str | None = None

    @property
    def label(self) -> str:
        """What results call it: as stated, or its name, of one from a file the class."""
        return self.stated_label or self.name.rpartition(".py:")[2]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A complete description of a run: only the workload, and the links' loss and jitter, are still drawn.

    Attributes:
        name: the topology's name.
        seed: of all random draws.
        duration_s: time during which tasks arrive [emulated s].
        warm_up_s: tasks created before this time do not count in summaries [emulated s].
        slot_s: time between two decisions [emulated s].
        time_scale: real seconds per emulated second; a factor above 0.
        compute: "paced" or "quota".
        arrivals: the arrival process, "poisson" or "bursty".
        model: the model, its cut into stages, and the format of activations.
        policy: the policy with its parameters and label.
        devices: in the order of the file.
        servers: in the order of the file.
        switches: their names.
        links: with the rate, delay, jitter and loss of each direction.
        offload_to: for every offloader (device, or server before the last stage) its receivers in the next stage.
        events: sorted by time; steps of network traces go on after the end, for as long as a run may drain.
        theta_s: mean delay [s] that one unit (100 points) of accuracy is worth.
    """

    name: str
    seed: int
    duration_s: float
    warm_up_s: float
    slot_s: float
    time_scale: float
    compute: ComputeMode
    arrivals: ArrivalProcess
    model: ModelChoice
    policy: PolicyChoice
    devices: tuple[Device, ...]
    servers: tuple[Server, ...]
    switches: tuple[str, ...]
    links: tuple[Link, ...]
    offload_to: Mapping[str, tuple[str, ...]]
    events: tuple[Event, ...]
    theta_s: float = 2.0

    @property
    def stages(self) -> int:
        """Number of server stages H."""
        return len(self.model.cut)

    @property
    def node_names(self) -> tuple[str, ...]:
        """Devices, then servers, in the order of the file."""
        return (*(device.name for device in self.devices), *(server.name for server in self.servers))

    @property
    def incidents(self) -> tuple[Event, ...]:
        """The events without the steps of network traces: what a policy has to recover from."""
        return tuple(event for event in self.events if not event.traced)

    @property
    def link_changes_per_s(self) -> float:
        """How many steps of network traces come in a second of the run, over all links."""
        within = sum(event.traced and event.at_s < self.duration_s for event in self.events)
        return within / self.duration_s

    @property
    def followers(self) -> Mapping[str, tuple[Direction, ...]]:
        """The links that follow each network trace, by its file; sender and receiver where one direction does."""
        found: dict[str, list[Direction]] = {}
        for link in self.links:
            for file, ends in zip(link.traces, (link.ends, link.ends[::-1]), strict=False):
                found.setdefault(file, []).append(ends)
        return {file: tuple(links) for file, links in found.items()}

    def servers_of_stage(self, stage: int) -> tuple[Server, ...]:
        """The servers that host sub-model `stage` (1-based)."""
        return tuple(server for server in self.servers if server.stage == stage)
