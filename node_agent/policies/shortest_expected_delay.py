"""Shortest expected delay: every task goes where it would be served first, as far as this node was told."""

import random
from collections.abc import Sequence

from node_agent.policies.base import Candidate, QueuePolicy


class ShortestExpectedDelay(QueuePolicy):
    """Each task goes where it would be served first, by queues told every `report_every` seconds.

    argmin_j t_ij + (q_j + 1) / s_j + (1 - I_j) ret_j: greedy, and blind to what others choose at the same time.
    """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:  # noqa: ARG002 - ties are rare
        """The candidate with the least transfer, waiting and service time, and way back of results that leave there."""
        return min(range(len(candidates)), key=lambda k: candidates[k].expected_delay_s + candidates[k].exit_return_s)
