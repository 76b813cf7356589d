"""DTO-EE, the flagship: plans by marginal costs, and sends every task by the present knowledge of the queues.

Decision 098: a task goes to the planned receiver, unless another one is surely cheaper
(docs/decisions/098-planned-unless-surely-dearer.md).

Decision 102: what a task costs others counts by half for its receiver, by two thirds for thresholds
(docs/decisions/102-weights-of-the-plan-s-price.md).
"""

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from node_agent.dtoee.best_response import Priced, best_response
from node_agent.dtoee.expected_outcomes import expected
from node_agent.dtoee.offloader import Update
from node_agent.dtoee.queueing import Array
from node_agent.policies import dto_ee_static
from node_agent.policies.base import Candidate, Prospect, ThresholdView
from node_agent.policies.exit_prices import ExitPrices

# The plan prices queues that no task avoids. Where tasks avoid long ones, one more task costs less.
PLAN_PRICE = 2 / 3  # of the plan's price, by which thresholds move
LEAST_GAIN = 1 / 450  # of theta: a threshold moves only for a gain that is larger than the errors of its prediction


class Parameters(dto_ee_static.Parameters, frozen=True):
    """The parameters of the plan, and those of the choice for a task."""

    # Decision 103: rows move by Gallager's step, which is stable where nodes do not move in step
    # (docs/decisions/103-gallager-s-step-between-nodes-out-of-step.md).
    update: Update = "gallager"
    choices: Annotated[int, Meta(ge=1, le=100)] = 3  # other receivers that are compared, drawn by the row
    doubt: Annotated[float, Meta(ge=0, le=10)] = 0.5  # standard deviations by which another one must be cheaper
    externality: Annotated[float, Meta(ge=0, le=1)] = 0.5  # weight of the delay that a task causes to others
    report_every: Annotated[float, Meta(ge=0.001, le=60)] = 0.02  # least time between two reports of a queue [s]
    exits: Literal["threshold", "price"] = "threshold"  # price: each task compares its gain with the price now


class DtoEe(dto_ee_static.DtoEeStatic):
    """The plan of dto-ee-static, and for every task the receiver that is cheapest at its present queue.

    The plan prices what lies ahead and proposes a receiver for each task. Another one gets it if it is cheaper by more
    than the doubt in what is known of the queues. So the plan decides where knowledge is old.
    """

    parameters_type: type[msgspec.Struct] = Parameters
    fresh = True
    continuous = True

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        # A price that counts by a share moves a threshold like the whole price with a larger theta.
        least_s = max(parameters.hysteresis, LEAST_GAIN * theta_s)
        scaled = msgspec.structs.replace(parameters, hysteresis=least_s / PLAN_PRICE)
        super().__init__(scaled, theta_s / PLAN_PRICE)
        self.status_every_s = parameters.report_every
        self.choices = parameters.choices
        self.prices_exits = parameters.exits == "price"
        self._exits = ExitPrices(theta_s / PLAN_PRICE)
        self._doubt = parameters.doubt
        self._externality = parameters.externality

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

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold after a few steps on its grid, by the expected outcomes of the exit table's rows.

        Energy counts whole, like accuracy: no task avoids it.
        """
        onward = view.onward.weighing_energy(1 / PLAN_PRICE) if np.any(view.onward.energy_s) else view.onward
        return super().move_threshold(dataclasses.replace(view, table=expected(view.table), onward=onward))

    def task_threshold(self, view: ThresholdView, candidate: Candidate) -> float:
        """The threshold of one task: the server's, moved by the difference of its receiver's price from the mean."""
        return self._exits.threshold(view, candidate)

    def pick(self, candidates: Sequence[Candidate], random: random.Random) -> int:  # noqa: ARG002
        """Index of the cheapest candidate at the present queues, if it is surely cheaper than the planned one.

        The planned one is the first, drawn by the row. It keeps the task if the difference of the prices is no larger
        than `doubt` standard deviations by the age of what is known, or if a price is too old.
        """
        if not all(candidate.current for candidate in candidates):
            return 0
        prices = [self._weighed(candidate.own_cost_s, candidate.price_s) for candidate in candidates]
        best = min(range(len(candidates)), key=prices.__getitem__)
        compared = candidates[0], candidates[best]
        doubt_s = math.hypot(*[self._weighed(each.work_error_s, each.price_error_s) for each in compared])
        return best if prices[0] - prices[best] > self._doubt * doubt_s else 0

    def _weighed(self, own_s: float, whole_s: float) -> float:
        """A figure of the task alone [s], and the rest of the whole price by the weight of others' delay."""
        return own_s + self._externality * (whole_s - own_s)
