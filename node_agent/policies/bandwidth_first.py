"""Bandwidth-first: probabilities in proportion to the rates of the links; the servers' speeds do not count."""

from typing import Annotated

import msgspec
from msgspec import Meta

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a topology may set."""

    threshold: Annotated[float, Meta(ge=0, le=2)] = 0.8


class BandwidthFirst(ProportionalPolicy):
    """p_ij = r_ij / sum_k r_ik."""

    def __init__(self, parameters: Parameters, theta_s: float) -> None:  # noqa: ARG002 - nothing to trade
        super().__init__(parameters.threshold)

    def weights(self, prospect: Prospect) -> Array:
        """Link rates as the offloader measures them [B/s]."""
        return prospect.link_byte_per_s
