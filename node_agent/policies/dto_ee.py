"""DTO-EE, the flagship: plans by marginal costs, and sends every task by what is known of the queues now."""

import random
from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from node_agent.dtoee.best_response import Priced, best_response
from node_agent.dtoee.queueing import Array
from node_agent.policies import dto_ee_static
from node_agent.policies.base import Candidate, Prospect


class Parameters(dto_ee_static.Parameters, frozen=True):
    """The parameters of the plan, and those of the choice for a task."""

    choices: Annotated[int, Meta(ge=1, le=100)] = 3  # draws from the row, of which a task takes the best
    report_every: Annotated[float, Meta(ge=0.001, le=60)] = 0.02  # least time between two reports of a queue [s]


class DtoEe(dto_ee_static.DtoEeStatic):
    """Rows and thresholds by marginal costs that nodes report."""

    parameters_type: type[msgspec.Struct] = Parameters
    fresh = True
    continuous = True

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        super().__init__(parameters, theta_s)
        self.status_every_s = parameters.report_every
        self.choices = parameters.choices

    def react(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) that is the best response to the new price, if all other offloaders respond alike."""
        receivers = [
            Priced(
                known.alive, known.way_s + known.report.marginal_s - known.report.local_s, known.report.arrival_per_s,
                known.report.service_per_s, known.report.variability, known.report.arrival_variability,
            )
            for known in prospect.receivers
        ]  # fmt: skip
        return np.array(best_response(row.tolist(), receivers, self.parameters.floor))

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:
        """Index of the cheapest candidate at the present queues; drawn by the plan if a price is too old."""
        if not all(candidate.current for candidate in candidates):
            return super().pick(candidates, random)
        return min(range(len(candidates)), key=lambda k: candidates[k].price_s)
