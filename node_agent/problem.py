"""What the planner of a central policy plans from."""

from msgspec import Struct

from node_agent.wire import State


class Place(Struct, frozen=True):
    """A node as the coordinator knows it: its stage (1..H, 0 for devices), and whom it may offload to."""

    stage: int
    receivers: tuple[str, ...]


class Problem(Struct, frozen=True):
    """Who offloads to whom, and what every node that has told its state measures.

    `theta_s` is the objective's exchange rate: seconds of mean delay that one unit of accuracy is worth.
    """

    slot: int
    stages: int
    places: dict[str, Place]
    states: dict[str, State]
    theta_s: float
