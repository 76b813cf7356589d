"""Uniform: every living receiver gets the same share; speeds and links are ignored."""

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class Uniform(ProportionalPolicy):
    """The same share for every receiver.

    p_ij = 1 / |L(i)| .
    """

    def weights(self, prospect: Prospect) -> Array:
        """Ones (K,)."""
        return np.ones(len(prospect.names))
