"""Uniform: every living receiver gets the same share; neither computing nor links count."""

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class Uniform(ProportionalPolicy):
    """The same share for every receiver.

    p_ij = 1 / |L(i)| .
    """

    def weights(self, prospect: Prospect) -> Array:
        """The same for all."""
        return np.ones(len(prospect.names))
