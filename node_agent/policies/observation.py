"""The view of a learner on the receivers when it chooses one for a task: a few plain numbers for each candidate.

Nodes and the environment of `testbed.learning` share this code, so that a trained policy sees the same live as in
training. The numbers have no unit: times are in units of the least predicted delay among the candidates. So a policy
that was trained on fast links also suits slow ones.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.policies.prospect import Candidate

# The numbers of a candidate, in their order.
FIGURES: Final = (
    "present",  # 1; 0 in the places of candidates that do not exist
    "share",  # its share of the row in force
    "link",  # transfer time t
    "wait",  # service time of the backlog, q / s
    "service",  # service time of the task itself, 1 / s
    "onward",  # mean time after the receiver, the result's way back included
    "exit_return",  # part of that: the way back of tasks that exit there
    "queue",  # q / (1 + q)
    "load",  # announced arrivals over the service rate, phi / s
    "price",  # marginal cost of this task there at its present queue
    "age",  # a / (a + USUAL_AGE_S), with the age a of the last statement of the queue
)
LARGEST: Final = 10.0  # larger numbers count as this one, and negative ones as 0
USUAL_AGE_S: Final = 0.1  # of a statement
LEAST_UNIT_S: Final = 1e-6  # the unit of time is at least this long


def figures(candidates: Sequence[Candidate]) -> Array:
    """The numbers of all candidates, (K, F) with F = len(FIGURES), each from 0 to `LARGEST`."""
    unit_s = max(LEAST_UNIT_S, min(candidate.predicted_delay_s for candidate in candidates))
    rows = [
        (
            1.0,
            one.share,
            one.link_s / unit_s,
            one.backlog / (one.service_per_s * unit_s),
            1.0 / (one.service_per_s * unit_s),
            one.onward_delay_s / unit_s,
            one.exit_return_s / unit_s,
            one.backlog / (1.0 + one.backlog),
            one.arrival_per_s / one.service_per_s,
            one.price_s / unit_s,
            1.0 - USUAL_AGE_S / (USUAL_AGE_S + one.age_s),
        )
        for one in candidates
    ]
    return np.clip(np.array(rows, dtype=np.float64), 0.0, LARGEST)


def shown(candidates: Sequence[Candidate], most: int) -> tuple[int, ...]:
    """The numbers of the at most `most` candidates that an observation has room for, in their own order.

    If there are more candidates, those of the least predicted delay are shown.
    """
    everyone = range(len(candidates))
    if len(candidates) <= most:
        return tuple(everyone)
    best = sorted(everyone, key=lambda k: candidates[k].predicted_delay_s)[:most]
    return tuple(sorted(best))


def observe(candidates: Sequence[Candidate], most: int) -> Array:
    """The observation (most * F,): the figures of the shown candidates, one candidate after the other, then zeros."""
    seen = figures([candidates[k] for k in shown(candidates, most)])
    return np.pad(seen, ((0, most - len(seen)), (0, 0))).ravel()
