"""Computing-first: probabilities in proportion to the receivers' service rates; links are ignored.

The name could also mean "all tasks to the fastest server". That overloads it at any useful load, so it is no rival.
"""

from node_agent.dtoee.queueing import Array
from node_agent.policies.base import ProportionalPolicy, Prospect


class ComputingFirst(ProportionalPolicy):
    """Shares in proportion to the receivers' speeds.

    p_ij = s_j / sum_k s_k .
    """

    def weights(self, prospect: Prospect) -> Array:
        """Service rates (K,) as the receivers measure them [task/s]."""
        return prospect.service_per_s
