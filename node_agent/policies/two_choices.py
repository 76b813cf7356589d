"""Two choices: of two receivers drawn at random, the one with the smaller queue (Mitzenmacher 2001)."""

import random
from collections.abc import Sequence

from node_agent.policies.base import Candidate, QueuePolicy


class TwoChoices(QueuePolicy):
    """Each task goes to the shorter queue of two drawn at random.

    It has most of the gain of the shortest queue, but old reports do not send all offloaders to the same receiver.
    """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the candidate with the smaller backlog of two drawn at random."""
        pair = random.sample(range(len(candidates)), min(2, len(candidates)))
        return min(pair, key=lambda k: candidates[k].backlog)
