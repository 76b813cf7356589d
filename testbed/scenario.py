"""A scenario: one topology file with every range drawn, every group expanded and every unit converted.

`topology.py` makes it; the network, the launcher, the trace generator and the recorder read it. All quantities carry
their unit in their name; times are emulated seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DRAIN_S = 90.0  # how long results are waited for after the end of the workload, and on while some still come

ComputeMode = Literal["paced", "quota"]
ArrivalProcess = Literal["poisson", "bursty"]
Parameter = float | int | bool | str  # of a policy


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


@dataclass(frozen=True, slots=True)
class LinkChange:
    """At `at_s` the link between `ends` takes the shape `shape` (already complete: unstated fields kept).

    `traced` marks a step of a recorded network trace: how this link always is, and no incident to recover from. Where
    a `sender` is named, one of the ends, only what it sends changes.
    """

    at_s: float
    ends: tuple[str, str]
    shape: LinkShape
    traced: bool = False
    sender: str | None = None

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """(sending end, receiving end) of all that changes."""
        both = (self.ends, self.ends[::-1])
        return both if self.sender is None else tuple(ends for ends in both if ends[0] == self.sender)


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """At `at_s` a server's compute capacity becomes `capacity_flop_per_s`."""

    at_s: float
    server: str
    capacity_flop_per_s: float


@dataclass(frozen=True, slots=True)
class NodeChange:
    """At `at_s` a node's agent is killed (`up` false) or started anew (`up` true)."""

    at_s: float
    node: str
    up: bool


@dataclass(frozen=True, slots=True)
class RateChange:
    """From `at_s` on, `device` offers tasks at a mean rate of `rate_per_s`.

    The workload generator draws by it. A trace that is given holds its arrivals already: there it only says so.
    """

    at_s: float
    device: str
    rate_per_s: float


Event = LinkChange | CapacityChange | NodeChange | RateChange


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
    """Everything a run needs to know, with nothing left to chance but the workload trace.

    `offload_to` maps every offloader (device, or server before the last stage) to its receivers in the next stage.
    `events` are sorted by time. Steps of network traces go on after the end, for as long as a run may drain.
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
    theta_s: float = 2.0  # seconds of mean delay that one unit (100 points) of accuracy is worth

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
        return tuple(event for event in self.events if not (isinstance(event, LinkChange) and event.traced))

    @property
    def link_changes_per_s(self) -> float:
        """How many steps of network traces come in a second of the run, over all links."""
        within = sum(isinstance(e, LinkChange) and e.traced and e.at_s < self.duration_s for e in self.events)
        return within / self.duration_s

    @property
    def followers(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """The links that follow each network trace, by its file; sender and receiver where one direction does."""
        found: dict[str, list[tuple[str, str]]] = {}
        for link in self.links:
            for file, ends in zip(link.traces, (link.ends, link.ends[::-1]), strict=False):
                found.setdefault(file, []).append(ends)
        return {file: tuple(links) for file, links in found.items()}

    def servers_of_stage(self, stage: int) -> tuple[Server, ...]:
        """The servers that host sub-model `stage` (1-based)."""
        return tuple(server for server in self.servers if server.stage == stage)
