"""DTO-EE with two choices: the plan decides the average shares, the queues decide for the single task."""

import random
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from node_agent.policies import dto_ee_static
from node_agent.policies.base import Candidate


class Parameters(dto_ee_static.Parameters, frozen=True):
    """The parameters of DTO-EE, and the time between two reports of a receiver's backlog."""

    report_every: Annotated[float, Meta(ge=0.001, le=60)] = 0.1  # s


class DtoEe2c(dto_ee_static.DtoEeStatic):
    """Draws two receivers from the row of dto-ee and takes the one with less expected delay and priced energy.

    Receivers report their backlogs every `report_every` seconds. Both draws may fall on the same receiver.
    """

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        super().__init__(parameters, theta_s)
        self.status_every_s = parameters.report_every

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the better of two draws. Both may fall on the same receiver, so the plan's proportions count."""
        shares = [candidate.share for candidate in candidates]
        if sum(shares) <= 0:
            return random.randrange(len(candidates))
        pair = random.choices(range(len(candidates)), shares, k=2)
        return min(pair, key=lambda k: candidates[k].own_cost_s)
