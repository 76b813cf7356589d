"""Exit by price, for policies that want it: the threshold of each task, by the price of its receiver."""

import math

from node_agent.dtoee.exit_price import WorthCurve, worth_curve
from node_agent.dtoee.expected_outcomes import expected
from node_agent.dtoee.queue_state import mean_wait_s
from node_agent.dtoee.queueing import RHO_EXTENSION, server_cost
from node_agent.dtoee.thresholds import Onward
from node_agent.policies.prospect import Candidate, ThresholdView


class ExitPrices:
    """The worth of going on from one server, by score; computed anew after a round."""

    def __init__(self, theta_s: float) -> None:
        """`theta_s` is the seconds of mean delay that one unit (100 points) of accuracy is worth."""
        self._theta_s = theta_s
        self._onward: Onward | None = None  # of the curve
        self._curve: WorthCurve | None = None

    def threshold(self, view: ThresholdView, candidate: Candidate) -> float:
        """The threshold of a task that goes to `candidate` if it goes on; the server's if its queue is not known."""
        if not candidate.current or math.isinf(candidate.age_s):
            return view.threshold
        if self._curve is None or self._onward is not view.onward:
            self._curve = worth_curve(expected(view.table), view.stage, view.paths, view.onward, self._theta_s)
            self._onward = view.onward
        return self._curve.moved(view.threshold, price_now_s(candidate) - view.price_s)


def price_now_s(candidate: Candidate) -> float:
    """The price of going on to `candidate` at its present queue: t' + e + D' + u - W + Omega - D' - pen' [s].

    It has the mean t' + Omega - pen' over the stationary queue, whose mean work u is W, and swings with the task's own
    wait. `Candidate.price_s` swings by 1 / (1 - rho) times as much: it counts the later tasks that one more task delays
    if they come no less often to a long queue. Here they do, since their offloaders see it, too.
    """
    arrival_per_s, service_per_s = candidate.arrival_per_s, candidate.service_per_s
    varied = candidate.variability, candidate.arrival_variability
    inside_per_s = min(arrival_per_s, RHO_EXTENSION * service_per_s)
    mean_s = server_cost(arrival_per_s, service_per_s, *varied).slope_s
    swing_s = candidate.work_s - mean_wait_s(inside_per_s, service_per_s, *varied)
    return candidate.link_marginal_s + mean_s + swing_s + candidate.onward_marginal_s + candidate.energy_s
