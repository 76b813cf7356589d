"""A node's configuration. All else a node learns from measurements and messages."""

from typing import Literal

import msgspec
from msgspec import Struct

from node_agent.problem import Place
from node_agent.wire import InputForm, TensorForm

Draws = Literal["smooth", "random"]  # how the tasks of an offloader follow its row

SLOT_STEP_S = 0.001  # one device begins a slot this much later than the device before it, but
SLOT_SPREAD = 0.01  # all devices begin within this share of the slot


class Timeouts(Struct, frozen=True, kw_only=True):
    """The longest times that a node waits for others [emulated s]."""

    round_s: float = 0.25  # for the offers or reports of a round, per stage that they cross
    ack_s: float = 2.0  # for the acknowledgement of a task; longer on slow links
    result_s: float = 15.0  # for a result, then the device offers the task again
    probe_s: float = 5.0  # for the first measurement of the links, all tries together


class HopPrice(Struct, frozen=True):
    """The priced energy of a task that a node sends to a receiver: what its joules are worth in mean delay."""

    link_s: float = 0.0  # of the bytes on their way [s]
    computing: float = 0.0  # of a second in service at the receiver [s of delay per s]


class NodeConfig(Struct, frozen=True, kw_only=True):
    """Configuration of a device or a server. Times and rates are emulated."""

    name: str  # unique in the network
    stage: int  # 0 for a device, 1 to H for a server
    stages: int  # H, number of stages
    offloaders: tuple[str, ...]  # nodes that may offload to this one
    receivers: tuple[str, ...]  # nodes that this one may offload to
    rank: int  # place among the nodes of its stage, from 0; servers of a stage move their thresholds in turn
    peers_in_stage: int  # number of nodes in its stage, itself included
    declared_rate_per_s: float  # device: arrival rate; server: service rate [task/s]
    slot_s: float  # length of a slot [s]
    policy: str  # name of the offloading policy, or its file and class
    parameters: dict[str, float | int | bool | str]  # of the policy, by name
    theta_s: float  # theta: seconds of mean delay that one unit of accuracy is worth [s]
    seed: int  # of the node's random numbers, together with its name
    input_form: InputForm | None  # tensors that this server's sub-model takes; None for a device
    onward_form: InputForm | None  # tensors that its receivers take; None at the last stage
    criterion: str = "confidence"  # exit criterion, by name
    draws: Draws = "smooth"  # how its tasks follow its row
    devices: tuple[str, ...] = ()  # for a server behind stage 1: the devices whose tasks can reach it
    coordinator: str | None = None  # the node that plans for all, under a central policy
    places: dict[str, Place] = msgspec.field(default_factory=dict)  # for the coordinator: all nodes, itself included
    delay_bound_s: float | None = None  # of a device: it refuses tasks with a longer predicted delay [s]
    bounded: tuple[str, ...] = ()  # of a server: its offloaders that have such a bound
    counts_bytes: bool = False  # samples state the bytes sent to each peer
    hop_prices: dict[str, HopPrice] = msgspec.field(default_factory=dict)  # receiver -> priced energy; free if missing
    sample_every_s: float = 1.0  # interval between two samples [s]
    max_attempts: int = 5  # offers of a task by its device before it is lost
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    story: bool = True  # keep the last events and effects, for error reports
    debug: bool = False  # check the node's state after each event: slower

    @property
    def is_device(self) -> bool:
        """True if this node is a device, which offers tasks of its own."""
        return self.stage == 0

    def takes(self, form: TensorForm) -> bool:
        """True if this server's sub-model takes tensors of this form."""
        return self.input_form is not None and self.input_form.fits(form)

    @property
    def slot_phase_s(self) -> float:
        """Delay of this device's slots after those of the first device [s].

        Decision 004: devices start their rounds one after the other
        (docs/decisions/004-devices-start-their-rounds-one-after-the-other.md).
        """
        return self.rank * min(SLOT_STEP_S, SLOT_SPREAD * self.slot_s / self.peers_in_stage)

    @property
    def first_sample_s(self) -> float:
        """Time of this node's first sample after the start [s]: the nodes of a stage take turns."""
        return self.sample_every_s * (self.rank + 1) / self.peers_in_stage

    @property
    def is_last_stage(self) -> bool:
        """True if this is a server of the last stage, at which every task exits."""
        return self.stage == self.stages
