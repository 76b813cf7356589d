"""How far the delays of a run are from those that were expected."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.expectation.passage import PassedTask
from testbed.expectation.replay import Expected

Delays = npt.NDArray[np.float64]
FIGURES: Mapping[str, Callable[[Delays], float]] = {
    "mean": lambda delays_s: float(delays_s.mean()),
    "p50": lambda delays_s: float(np.percentile(delays_s, 50)),
    "p95": lambda delays_s: float(np.percentile(delays_s, 95)),
    "p99": lambda delays_s: float(np.percentile(delays_s, 99)),
}
CHANCE = 3.0  # standard deviations over the draws that a run may be off by


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the delays, as emulated and as expected [s].

    `chance_s` is its standard deviation over the draws of loss and jitter; 0 where nothing is left to chance.
    """

    name: str
    emulated_s: float
    expected_s: float
    chance_s: float = 0.0

    @property
    def off(self) -> float:
        """By how much of the expected one the emulated figure is longer (shorter, if negative), chance allowed for."""
        off_s = self.emulated_s - self.expected_s
        beyond_s = max(0.0, abs(off_s) - CHANCE * self.chance_s)
        return float(np.copysign(beyond_s, off_s)) / self.expected_s


def deviation_of(tasks: Sequence[PassedTask], expected: Expected, *, warm_up_s: float) -> tuple[Figure, ...]:
    """The figures of all tasks that were completed and created after the warm-up; none where there is no such task."""
    counted = [task for task in tasks if task.id in expected.draws[0] and task.created_s >= warm_up_s]
    if not counted:
        return ()
    emulated_s = np.array([(task.completed_s or 0.0) - task.created_s for task in counted])
    draws_s = [np.array([draw[task.id] for task in counted]) for draw in expected.draws]
    figures = []
    for name, figure in FIGURES.items():
        each_s = [figure(drawn_s) for drawn_s in draws_s]
        chance_s = float(np.std(each_s, ddof=1)) if len(each_s) > 1 else 0.0
        figures.append(Figure(name, figure(emulated_s), float(np.mean(each_s)), chance_s))
    return tuple(figures)
