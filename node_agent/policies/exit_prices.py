"""Exit by price, for policies that want it: the threshold of each task, by the price of the receiver it would go to."""

from node_agent.dtoee.exit_price import WorthCurve, worth_curve
from node_agent.dtoee.expected_outcomes import expected
from node_agent.dtoee.thresholds import Onward
from node_agent.policies.prospect import Candidate, ThresholdView


class ExitPrices:
    """The worth of going on at one server, by score; it is computed anew after a round."""

    def __init__(self, theta_s: float) -> None:
        """`theta_s` is the seconds of mean delay that one unit (100 points) of accuracy is worth."""
        self._theta_s = theta_s
        self._onward: Onward | None = None  # of the curve
        self._curve: WorthCurve | None = None

    def threshold(self, view: ThresholdView, candidate: Candidate) -> float:
        """The threshold of a task that goes to `candidate` if it goes on; the server's if the price is too old."""
        if not candidate.current:
            return view.threshold
        if self._curve is None or self._onward is not view.onward:
            table = expected(view.table)
            self._curve = worth_curve(table, view.stage, view.paths, view.onward, self._theta_s)
            self._onward = view.onward
        import os
        w = float(os.environ.get("DTW", "1"))
        from node_agent.dtoee.queueing import server_cost
        from node_agent.dtoee.queue_state import mean_wait_s
        if w == 1:
            now_s = candidate.price_s
        else:
            inside = min(candidate.arrival_per_s, .96 * candidate.service_per_s)
            m = mean_wait_s(inside, candidate.service_per_s, candidate.variability)
            k = 1 + w * (1 / (1 - inside / candidate.service_per_s) - 1)
            at = server_cost(candidate.arrival_per_s, candidate.service_per_s, candidate.variability).slope_s + k * (candidate.work_s - m)
            now_s = candidate.link_marginal_s + at + candidate.onward_marginal_s
        return self._curve.moved(view.threshold, now_s - view.price_s)
