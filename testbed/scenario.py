"""A scenario: one topology file with every range drawn, every group expanded and every unit converted.

`testbed.topology.compiler` builds it; the network, the launcher, the trace generator and the recorder read it. Names of
quantities end in their unit; times are emulated seconds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from node_agent.core.config import Draws
from node_agent.records import EventKind
from testbed.power import LinkEnergy, Power

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from node_agent.models.interface import Model
    from node_agent.models.source import ModelSource

DRAIN_S = 90.0  # a run waits this long for results after the end of the workload, and on while some still come

ComputeMode = Literal["paced", "quota"]
Parameter = float | int | bool | str  # of a policy
UtilityOf = Literal["accuracy", "deadlines"]
Direction = tuple[str, str]  # of a link: its sending and its receiving end
RateChanges = Sequence[tuple[float, float]]  # (start [s], rate [tasks/s]) in order of time, the first at 0 s


@dataclass(frozen=True, slots=True)
class LinkShape:
    """The properties of a link, or of one direction of it.

    In a `lull` the network trace has almost no rate: the link carries a frame now and then.
    """

    rate_mbit_per_s: float  # rate of a TCP transfer
    delay_s: float  # one way, without queueing and transmission
    jitter_s: float = 0.0  # standard deviation of the delay
    loss: float = 0.0  # probability that a frame is dropped, 0..1
    queue_packets: int = 1000  # frames that may wait for transmission
    lull: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """An end device, which offers tasks at a mean rate and owns each until its result is back.

    It refuses a task if the delay that it predicts exceeds `delay_bound_s`; None: it refuses none. A task is in time if
    its delay is at most `deadline_s`; None: its tasks have no deadline. `group` is its entry in the file; None means
    that the entry is the device itself. The device leaves the network when it has used the energy `battery_j`; None: it
    has no battery. `power` is None if none is stated.
    """

    name: str
    rate_per_s: float
    delay_bound_s: float | None = None
    deadline_s: float | None = None
    group: str | None = field(default=None, compare=False)
    power: Power | None = None
    battery_j: float | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """An edge server that hosts the sub-model of its stage (1 is nearest to the devices).

    With a `device` it is that device's own processor: a server of stage 1 at the device's place in the network, to
    which only that device offloads. Its `power` then begins at zero: the idle power is that of the device.

    Decision 094: a device that runs stage 1 is a device and a server at one place
    (docs/decisions/094-a-device-and-its-processor-share-a-place.md).
    """

    name: str
    stage: int
    capacity_flop_per_s: float
    memory_bytes: int | None = None
    device: str | None = None
    power: Power | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link between two nodes or switches, named by its ends in the order of the file.

    `trace` is the file of the network trace that the link follows, as the topology states it; `shape` is then its shape
    at the start. Both hold for both directions. If the link follows two traces, they hold for frames from the first
    end, and `down_trace` and `down_shape` for frames from the second. `energies` are those of frames from the first end
    and from the second; None if none are stated.
    """

    ends: tuple[str, str]
    shape: LinkShape
    trace: str | None = None
    down_shape: LinkShape | None = None
    down_trace: str | None = None
    energies: tuple[LinkEnergy, LinkEnergy] | None = None

    @property
    def shapes(self) -> tuple[LinkShape, LinkShape]:
        """The shape for frames from the first end, and for frames from the second."""
        return self.shape, self.down_shape or self.shape

    @property
    def traces(self) -> tuple[str, ...]:
        """The trace files that the link follows: none, one, or one for each direction."""
        return tuple(file for file in (self.trace, self.down_trace) if file is not None)


class ChangingRun(Protocol):
    """A run in progress, live or simulated, as an event changes it."""

    def change_link(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """Give the link between `ends` a new shape; with a `sender`, one of the ends, only in its sending direction."""

    def set_capacity(self, server: str, capacity_flop_per_s: float) -> None:
        """Set a server's compute capacity, effective now."""

    def switch(self, node: str, *, up: bool) -> None:
        """Kill a node's agent, or start it again; do nothing if it is in that state already."""


@dataclass(frozen=True, slots=True)
class Event(ABC):
    """A change of a run at `at_s`. Each kind is a class of `testbed.topology.event_kinds`.

    A kind applies its event and words it. Four mappings hold its effects on the scenario, so that planners, verdicts
    and generators can use them without knowing the kind; a mapping is empty if the event changes nothing of that sort.

    Decision 054: one `apply` for live and simulated runs, so that no kind works in one of them alone
    (docs/decisions/054-one-apply-for-live-and-simulated.md).
    """

    at_s: float
    noun: ClassVar[str]  # in the singular; results count simultaneous events by it

    @abstractmethod
    def apply(self, run: ChangingRun) -> None:
        """Apply the event to a run, now."""

    @abstractmethod
    def told(self) -> tuple[str | None, EventKind, str]:
        """The event's line in events.jsonl: node (None if the event concerns none), kind and detail."""

    @abstractmethod
    def in_words(self) -> str:
        """The effect of the event, as results name it."""

    @property
    def traced(self) -> bool:
        """True for a step of a recorded network trace: normal behaviour of the link, not an incident."""
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
        """New mean task rates, by device. The workload already holds them: a run does nothing."""
        return {}

    @property
    def switched(self) -> Mapping[str, bool]:
        """Nodes that come up (true) or go down (false)."""
        return {}


@dataclass(frozen=True, slots=True)
class CostChoice:
    """The published architecture whose costs a model has; None means the architecture's own cut or length."""

    name: str
    cut: tuple[int, ...] | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The early-exit model, its cut into sub-models, the number format of activations, and the exit criterion.

    `name` is that of a shipped model, or the absolute path of a bundle's folder, of FILE.py:CLASS or of a table.
    """

    name: str
    cut: tuple[int, ...]
    activation: Literal["float32", "float16", "int8"] = "float32"
    cost: CostChoice | None = None
    criterion: str = "confidence"

    @property
    def source(self) -> "ModelSource":
        """The place from which the model can be opened."""
        from node_agent.models.source import CostSource, ModelSource  # noqa: PLC0415 - loads numpy

        cost = None if self.cost is None else CostSource(self.cost.name, self.cost.cut, self.cost.tokens)
        return ModelSource(self.name, cost, self.criterion)

    def open(self) -> "Model":
        """Open the model. Raises InputError if there is none, or it cannot be read."""
        return self.source.open()


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """The offloading policy, and its parameters by the policy's own names.

    `name` is one of the policies that come with the nodes, or /absolute/path/to/file.py:Class. `stated_label` is None
    if no label is stated.
    """

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    stated_label: str | None = None

    @property
    def label(self) -> str:
        """The policy's name in results: the stated label, or its name, or the class of a policy from a file."""
        return self.stated_label or self.name.rpartition(".py:")[2]


class ArrivalProcess(ABC):
    """The random process by which the tasks of every device come. Each is a class of `testbed.trace.processes`.

    Attributes:
        name: as topologies and commands state it.
        readers: the parameters by name, each with the function that reads its value.
    """

    __slots__ = ()

    name: ClassVar[str]
    readers: ClassVar[Mapping[str, Callable[[object], object]]] = {}

    @abstractmethod
    def times_s(
        self, random: "np.random.Generator", changes: RateChanges, duration_s: float
    ) -> "npt.NDArray[np.float64]":
        """Draw the sorted arrival times [s] in [0, duration), (n,), of a device whose mean rate changes so."""

    @property
    def varies(self) -> bool:
        """True if the expected rate changes over the run."""
        return False

    def check(self, duration_s: float) -> None:  # noqa: B027 - most processes suit any run
        """Raise InputError if the process does not suit a run of this length."""

    def mean_factor(self, begin_s: float, end_s: float, duration_s: float) -> float:  # noqa: ARG002
        """The expected rate in [begin, end) over that of the whole run, which lasts `duration_s`."""
        return 1.0

    def dispersion(self, rate_per_s: "npt.NDArray[np.float64]", window_s: float) -> "npt.NDArray[np.float64]":  # noqa: ARG002
        """The index of dispersion of the counts in windows, (D,), of devices with these rates [tasks/s], (D,).

        It is the variance of the counts over their mean, apart from changes of the expected rate; 1 for Poisson.
        """
        return rate_per_s * 0.0 + 1.0


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
        arrivals: the arrival process.
        model: the model, its cut into stages, and the format of activations.
        policy: the policy with its parameters and label.
        devices: in the order of the file.
        servers: in the order of the file, then the devices' own processors.
        switches: their names.
        links: with the rate, delay, jitter and loss of each direction.
        offload_to: for every offloader (device, or server before the last stage) its receivers in the next stage; the
            first one of a device that runs stage 1 is its own processor.
        events: sorted by time; steps of network traces go on after the end, for as long as a run may drain.
        theta_s: mean delay [s] that one unit (100 points) of accuracy is worth.
        draws: how tasks follow their offloader's row, "smooth" or "random".
        utility: what theta rewards in summaries: "accuracy", or with "deadlines" right answers in time.
        energy_price_s_per_j: mean delay that one joule per task is worth [s/J]; 0 leaves energy out of utility and
            prices.
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
    draws: Draws = "smooth"
    utility: UtilityOf = "accuracy"
    energy_price_s_per_j: float = 0.0

    @property
    def stages(self) -> int:
        """Number of server stages H."""
        return len(self.model.cut)

    @property
    def node_names(self) -> tuple[str, ...]:
        """The names of all devices, then of all servers, in the order of the file."""
        return (*(device.name for device in self.devices), *(server.name for server in self.servers))

    @property
    def deadlines_s(self) -> Mapping[str, float]:
        """The deadline of each device whose tasks have one [s]."""
        return {device.name: device.deadline_s for device in self.devices if device.deadline_s is not None}

    @property
    def group_of(self) -> Mapping[str, str]:
        """The entry of the file that each device comes from: its group, or itself."""
        return {device.name: device.group or device.name for device in self.devices}

    @property
    def place_of(self) -> Mapping[str, str]:
        """The place of every node in the network: the device of an own processor, otherwise the node itself.

        Nodes at one place share its links and addresses; between them messages take no time and use no link.
        """
        places = {device.name: device.name for device in self.devices}
        return places | {server.name: server.device or server.name for server in self.servers}

    @property
    def own_processors(self) -> tuple[Server, ...]:
        """The servers that are processors of devices."""
        return tuple(server for server in self.servers if server.device is not None)

    @property
    def states_link_energy(self) -> bool:
        """True if a link states the energy of its bytes, so that nodes count what they send."""
        return any(link.energies is not None for link in self.links)

    @property
    def states_energy(self) -> bool:
        """True if a node states its power, or a link its energy: then the run accounts for energy."""
        nodes: tuple[Device | Server, ...] = (*self.devices, *self.servers)
        return self.states_link_energy or any(node.power is not None for node in nodes)

    @property
    def incidents(self) -> tuple[Event, ...]:
        """The events from which a policy has to recover: all but the steps of network traces."""
        return tuple(event for event in self.events if not event.traced)

    @property
    def link_changes_per_s(self) -> float:
        """Mean number of steps of network traces per second of the run, over all links."""
        within = sum(event.traced and event.at_s < self.duration_s for event in self.events)
        return within / self.duration_s

    @property
    def followers(self) -> Mapping[str, tuple[Direction, ...]]:
        """The links that follow each network trace, by its file; as (sender, receiver) if one direction follows it."""
        found: dict[str, list[Direction]] = {}
        for link in self.links:
            for file, ends in zip(link.traces, (link.ends, link.ends[::-1]), strict=False):
                found.setdefault(file, []).append(ends)
        return {file: tuple(links) for file, links in found.items()}

    def servers_of_stage(self, stage: int) -> tuple[Server, ...]:
        """Return the servers that host sub-model `stage` (from 1)."""
        return tuple(server for server in self.servers if server.stage == stage)
