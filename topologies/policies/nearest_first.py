"""An example of your own policy: copy this file, change it, and run it with

    dtoee-testbed run topologies/quickstart.yaml --policy topologies/policies/nearest_first.py:NearestFirst

or `simulate`, or `compare -p dto-ee -p topologies/policies/nearest_first.py:NearestFirst`. Parameters follow the class:
`...:NearestFirst:sharpness=2`. A policy may also decide on thresholds, rounds of negotiation, and a receiver for every
single task: see `Policy` in `node_agent/policies/base.py`.
"""

from typing import Annotated

from msgspec import Meta

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import FixedThreshold, ProportionalPolicy, Prospect


class Parameters(FixedThreshold, frozen=True):
    """The parameters of this policy; `threshold` is inherited."""

    sharpness: Annotated[float, Meta(ge=0, le=10)] = 1.0  # 0: the same share for all


class NearestFirst(ProportionalPolicy):
    """The nearer a receiver, the more tasks it gets: p_ij in proportion to 1 / t_ij ^ sharpness."""

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        super().__init__(parameters, theta_s)
        self._sharpness = parameters.sharpness

    def weights(self, prospect: Prospect) -> Array:
        """1 / t^sharpness for the transfer times t that this node measures [s], shape (K,)."""
        return 1 / prospect.link_s**self._sharpness
