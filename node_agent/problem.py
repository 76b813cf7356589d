"""The planning problem of a central policy: the network and the measurements of its nodes."""

from msgspec import Struct

from node_agent.wire import State


class Place(Struct, frozen=True):
    """A node's place in the network, as the coordinator knows it."""

    stage: int  # 1 to H, 0 for a device
    receivers: tuple[str, ...]  # the nodes that it may offload to


class Problem(Struct, frozen=True):
    """The input of `CentralPolicy.plan`: the places of all nodes, and the states of those that have reported."""

    slot: int  # the slot whose states these are
    stages: int  # H, number of stages
    places: dict[str, Place]  # by node: all nodes
    states: dict[str, State]  # by node: those that reported in this slot or the one before
    theta_s: float  # theta: seconds of mean delay that one unit of accuracy is worth [s]
