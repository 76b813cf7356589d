"""What a node is told before it starts; everything else it learns by measuring and from messages."""

import msgspec
from msgspec import Struct

from node_agent.problem import Place
from node_agent.wire import TensorForm

SLOT_STEP_S = 0.001  # between the devices that begin a slot, and
SLOT_SPREAD = 0.01  # of the slot, in which the last of them has begun


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long a node waits before it acts by itself [emulated s]."""

    round_s: float = 0.25  # per stage, for the offers or reports of a round
    ack_s: float = 2.0  # for a receiver to take a task over; longer on links that are slow themselves
    result_s: float = 15.0  # for a result, before the device offers the task again
    probe_s: float = 5.0  # for the first measurement of the links


class NodeConfig(Struct, frozen=True, kw_only=True):
    """One node: a device (stage 0) or a server (stage 1 to H, where `stages` is H)."""

    name: str
    stage: int
    stages: int
    offloaders: tuple[str, ...]
    receivers: tuple[str, ...]
    rank: int  # place among the nodes of its stage; its servers move their thresholds in turn
    peers_in_stage: int
    declared_rate_per_s: float  # device: arrival rate; server: service rate
    slot_s: float
    policy: str
    parameters: dict[str, float | int | bool | str]
    theta_s: float
    seed: int
    input_form: TensorForm | None  # what this server's sub-model takes
    onward_form: TensorForm | None  # what this node sends to its receivers
    devices: tuple[str, ...] = ()  # a server's behind stage 1: whose tasks can get there, so that it answers them
    coordinator: str | None = None  # the node that plans for all, where the policy is central
    places: dict[str, Place] = msgspec.field(default_factory=dict)  # the coordinator's: all nodes, itself included
    sample_every_s: float = 1.0
    max_attempts: int = 5
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    story: bool = True  # keep the last events and effects, for when something goes wrong
    debug: bool = False  # check the state after each event: slower

    @property
    def is_device(self) -> bool:
        """Whether this node offers tasks of its own."""
        return self.stage == 0

    @property
    def slot_phase_s(self) -> float:
        """By how much this device's slots begin later than the first device's.

        Decision: devices start their rounds one after the other; clocks of real ones would agree no better. Rejected:
        all in the same instant, in which fifty agents on two processors keep one another, and the tasks among them,
        waiting for 20 ms.
        """
        return self.rank * min(SLOT_STEP_S, SLOT_SPREAD * self.slot_s / self.peers_in_stage)

    @property
    def first_sample_s(self) -> float:
        """When this node tells its state first: the nodes of a stage do so one after the other, not all at once."""
        return self.sample_every_s * (self.rank + 1) / self.peers_in_stage

    @property
    def is_last_stage(self) -> bool:
        """Whether every task ends here."""
        return self.stage == self.stages
