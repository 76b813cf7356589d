"""Computing-first: probabilities in proportion to the receivers' service rates; links do not count.

The other reading, everyone to the fastest server, overloads it at any useful load and would be no rival.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a topology may set."""

    threshold: Annotated[float, Meta(ge=0, le=2)] = 0.8


class ComputingFirst(ProportionalPolicy):
    """p_ij = s_j / sum_k s_k."""

    def __init__(self, parameters: Parameters, theta_s: float) -> None:  # noqa: ARG002 - nothing to trade
        super().__init__(parameters.threshold)

    def weights(self, prospect: Prospect) -> Array:
        """Service rates as the receivers measure them [task/s]."""
        return prospect.service_per_s
