"""Join the shortest queue: every task goes to the receiver with the fewest tasks; speeds and links are ignored."""

import random
from collections.abc import Sequence

from node_agent.policies.base import Candidate, QueuePolicy


class JoinShortestQueue(QueuePolicy):
    """Each task goes to the shortest queue, by the queues as they are known now.

    argmin_j q_j; ties are broken by chance.
    """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the candidate with the smallest backlog."""
        least = min(candidate.backlog for candidate in candidates)
        return random.choice([k for k, candidate in enumerate(candidates) if candidate.backlog == least])
