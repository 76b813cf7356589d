"""Bandwidth-first: probabilities in proportion to the rates of the links; the servers' speeds do not count."""

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class BandwidthFirst(ProportionalPolicy):
    """p_ij = r_ij / sum_k r_ik."""

    wants_link_rates = True

    def weights(self, prospect: Prospect) -> Array:
        """Link rates as the offloader measures them [B/s]."""
        return prospect.link_byte_per_s
