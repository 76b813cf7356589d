"""A policy of your own: copy this file, change it, and run it with

    dtoee-testbed run topologies/quickstart.yaml --policy topologies/policies/nearest_first.py:NearestFirst

or `simulate`, or `compare -p dto-ee -p topologies/policies/nearest_first.py:NearestFirst`. Parameters follow the class:
`...:NearestFirst:sharpness=2`. `node_agent/policies/base.py` says what else a policy may decide: thresholds, rounds of
negotiation, a receiver for every single task.
"""

from typing import Annotated

from msgspec import Meta

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import FixedThreshold, ProportionalPolicy, Prospect


class Parameters(FixedThreshold, frozen=True):
    """What may be stated with the policy's name; `threshold` is inherited."""

    sharpness: Annotated[float, Meta(ge=0, le=10)] = 1.0


class NearestFirst(ProportionalPolicy):
    """The nearer a receiver, the more tasks it gets: p_ij in proportion to 1 / t_ij ^ sharpness."""

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        super().__init__(parameters, theta_s)
        self._sharpness = parameters.sharpness

    def weights(self, prospect: Prospect) -> Array:
        """From the transfer times as this node measures them [s], shape (K,)."""
        return 1 / prospect.link_s**self._sharpness
