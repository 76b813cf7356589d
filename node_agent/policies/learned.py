"""A policy that was trained by trial and error, in simulations of random networks (`testbed.learning.train`)."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from node_agent.policies.base import Backlogs, Candidate, QueuePolicy
from node_agent.policies.observation import figures
from node_agent.policies.scorer import Scorer

SHIPPED = "shipped"


class Parameters(Backlogs, frozen=True):
    """The parameters of a policy by queues, and the weights."""

    weights: str = SHIPPED  # or the path of a file that `testbed.learning.train` wrote


class Learned(QueuePolicy):
    """Each task goes where a small function that was trained on random networks scores best; `weights` names its file.

    docs/learning.md says how it was trained.
    """

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        """Raises InputError if the weights cannot be read."""
        super().__init__(parameters, theta_s)
        own = parameters.weights == SHIPPED
        self._scorer = _read(Path(__file__).with_name("learned.npz") if own else Path(parameters.weights))

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the candidate with the best score, up to the chance that was learned as well."""
        return self._scorer.choose(figures(candidates), random)


@cache
def _read(file: Path) -> Scorer:
    return Scorer.load(file)
