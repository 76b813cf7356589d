"""Join the idle queue: a task goes to a receiver without work, if one is known (Lu et al. 2011)."""

import random
from collections.abc import Sequence

from node_agent.policies.base import Candidate, QueuePolicy

IDLE_BELOW = 0.5  # tasks; a queue may be an estimate, and then is no whole number


class JoinIdleQueue(QueuePolicy):
    """Each task goes to an idle receiver, drawn by speed; to any, drawn by speed, if none is idle.

    After Y. Lu et al., "Join-Idle-Queue: a novel load balancing algorithm for dynamically scalable web services", 2011.
    There, an idle server joins the list of one dispatcher, and a dispatcher with an empty list draws uniformly. Here
    every receiver reports to all of its offloaders. Draws are weighted by service rates, since servers differ:

        j in I with probability s_j / sum_{k in I} s_k ,

    where I holds the idle receivers by the last knowledge; if there is none, all living ones.
    """

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of an idle candidate, drawn by service rate; of any candidate, if none is idle."""
        everyone = range(len(candidates))
        idle = [k for k in everyone if candidates[k].backlog < IDLE_BELOW]
        among = idle or everyone
        return random.choices(among, [candidates[k].service_per_s for k in among])[0]
