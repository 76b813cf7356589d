"""Shortest expected delay: every task goes to the receiver that would serve it first."""

import random
from collections.abc import Sequence

from node_agent.policies.base import Candidate, QueuePolicy


class ShortestExpectedDelay(QueuePolicy):
    """Each task goes where it would be served first, by the queues as they are known now.

    argmin_j t_ij + (q_j + 1) / s_j + (1 - I_j) ret_j: greedy, without regard to the choices of others.
    """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:  # noqa: ARG002 - ties are rare
        """Index of the candidate with the least time: transfer, waiting, service, way back of tasks that exit there."""
        return min(range(len(candidates)), key=lambda k: candidates[k].expected_delay_s + candidates[k].exit_return_s)
