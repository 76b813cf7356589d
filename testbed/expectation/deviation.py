"""The deviation of a run's delays from the expected ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from testbed.expectation.replay import Expected
from testbed.record.task_line import TaskLine

QUANTILES: Mapping[str, float] = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
CHANCE = 3.0  # standard deviations over the draws that chance may explain


@dataclass(frozen=True, slots=True)
class DelayFigure:
    """A figure of the delays (mean or quantile), as emulated and as expected [s].

    `chance_s` is its standard deviation over the draws of loss and jitter, 0 if nothing is random. A quantile of n
    tasks is known to one task either way: `least_s` and `most_s` are the expected delays one task below and above it.
    """

    name: str
    emulated_s: float
    expected_s: float
    chance_s: float = 0.0
    least_s: float | None = None
    most_s: float | None = None

    @property
    def off(self) -> float:
        """The excess of the emulated figure as a share of the expected one; negative if it is shorter.

        Chance is subtracted, and so is one task either way: a median between two clusters of delays jumps.
        """
        least_s = self.expected_s if self.least_s is None else self.least_s
        most_s = self.expected_s if self.most_s is None else self.most_s
        off_s = self.emulated_s - min(max(self.emulated_s, least_s), most_s)
        beyond_s = max(0.0, abs(off_s) - CHANCE * self.chance_s)
        return float(np.copysign(beyond_s, off_s)) / self.expected_s


def deviation_of(tasks: Sequence[TaskLine], expected: Expected, *, warm_up_s: float) -> tuple[DelayFigure, ...]:
    """Return the figures of all tasks that were completed and created after the warm-up; none without such a task."""
    counted = [task for task in tasks if task.id in expected.draws[0] and task.created_s >= warm_up_s]
    if not counted:
        return ()
    emulated_s = np.array([(task.completed_s or 0.0) - task.created_s for task in counted])
    draws_s = [np.sort([draw[task.id] for task in counted]) for draw in expected.draws]
    means_s = [float(drawn_s.mean()) for drawn_s in draws_s]
    figures = [DelayFigure("mean", float(emulated_s.mean()), float(np.mean(means_s)), _spread_s(means_s))]
    for name, share in QUANTILES.items():
        each_s = [float(np.quantile(drawn_s, share)) for drawn_s in draws_s]
        rank = share * (len(counted) - 1)
        below, above = int(np.floor(rank)) - 1, int(np.ceil(rank)) + 1
        figures.append(
            DelayFigure(
                name,
                float(np.quantile(emulated_s, share)),
                float(np.mean(each_s)),
                _spread_s(each_s),
                least_s=min(float(drawn_s[max(0, below)]) for drawn_s in draws_s),
                most_s=max(float(drawn_s[min(len(counted) - 1, above)]) for drawn_s in draws_s),
            )
        )
    return tuple(figures)


def _spread_s(each_s: Sequence[float]) -> float:
    """Return the standard deviation over the draws [s], 0 for a single draw."""
    return float(np.std(each_s, ddof=1)) if len(each_s) > 1 else 0.0
