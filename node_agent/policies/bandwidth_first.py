"""Bandwidth-first: probabilities in proportion to the rates of the links; servers' speeds are ignored."""

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class BandwidthFirst(ProportionalPolicy):
    """Shares in proportion to the links' rates.

    p_ij = r_ij / sum_k r_ik .
    """

    wants_link_rates = True

    def weights(self, prospect: Prospect) -> Array:
        """Link rates (K,) as the offloader measures them [B/s]; ones while no link to a living receiver is measured."""
        measured = prospect.link_byte_per_s
        return measured if measured[prospect.alive].any() else np.ones(len(measured))
