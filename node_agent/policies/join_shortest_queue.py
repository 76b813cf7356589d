"""Join the shortest queue: every task goes where the fewest tasks are, as last told; speeds and links do not count."""

import random
from collections.abc import Sequence

from node_agent.policies.base import Candidate, QueuePolicy


class JoinShortestQueue(QueuePolicy):
    """Each task goes to the shortest queue, by queues told every `report_every` seconds.

    argmin_j q_j, ties by chance.
    """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """The candidate with the smallest backlog."""
        least = min(candidate.backlog for candidate in candidates)
        return random.choice([k for k, candidate in enumerate(candidates) if candidate.backlog == least])
