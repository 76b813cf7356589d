"""Plans in a model that has the variability of the arrivals that they themselves cause."""

from collections.abc import Sequence
from dataclasses import dataclass

from node_agent.core.config import Draws
from node_agent.dtoee.staged import Rows
from testbed.optimum.arrivals import Dispersion, with_arrivals
from testbed.optimum.flow_model import FlowModel
from testbed.optimum.threshold_search import FlowPlan, best_flows, evaluate
from testbed.scenario import Scenario

MOST_TURNS = 6
ALIKE_SHARE = 2e-3  # of the mean delay, by which wrong arrivals may change it


@dataclass(frozen=True, slots=True)
class Settling:
    """The arrivals that plans cause: how tasks follow rows, and how the devices' own tasks come."""

    draws: Draws
    dispersion: Dispersion

    @classmethod
    def of(cls, scenario: Scenario) -> "Settling":
        """The draws and the arrival process of a scenario."""
        return cls(scenario.draws, scenario.arrivals.dispersion)

    def plan(self, model: FlowModel, thresholds: Sequence[float], rows: Rows | None) -> FlowPlan:
        """A plan with these thresholds and the best rows, in a model that has the arrivals of the plan.

        The best rows depend on the arrivals, and these on the rows. So both are found in turn, until they agree.

        Args:
            model: the model; only its other properties matter.
            thresholds: one per early stage, (H - 1,).
            rows: rows to begin with; None takes rows in proportion to speed.
        """
        plan = best_flows(model, model.network.uniform_thresholds(*thresholds), rows)
        for _ in range(MOST_TURNS):
            plan = best_flows(self._with_arrivals(plan), plan.thresholds, plan.rows, times=1)
            if self.agrees(plan):
                break
        return plan

    def agrees(self, plan: FlowPlan) -> bool:
        """True if the plan's model has about the arrivals of the plan: with them, the delay is nearly the same."""
        with_its_own = evaluate(self._with_arrivals(plan), plan.thresholds, plan.rows)
        return abs(with_its_own.mean_delay_s - plan.mean_delay_s) < ALIKE_SHARE * plan.mean_delay_s

    def _with_arrivals(self, plan: FlowPlan) -> FlowModel:
        return with_arrivals(plan.model, plan.flows, plan.rows, draws=self.draws, dispersion=self.dispersion)
