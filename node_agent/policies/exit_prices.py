"""Exit by price, for policies that want it: the threshold of each task, by the price of the receiver it would go to."""

from node_agent.dtoee.exit_price import WorthCurve, worth_curve
from node_agent.dtoee.expected_outcomes import expected
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
        """The threshold of a task that goes to `candidate` if it goes on; the server's if the price is too old."""
        if not candidate.current:
            return view.threshold
        if self._curve is None or self._onward is not view.onward:
            self._curve = worth_curve(expected(view.table), view.stage, view.paths, view.onward, self._theta_s)
            self._onward = view.onward
        return self._curve.moved(view.threshold, candidate.price_s - view.price_s)
