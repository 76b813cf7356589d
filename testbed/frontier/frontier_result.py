"""The result of a frontier: runs, points, the bound, and the first policy against each other one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.cells.intervals import Estimate
from testbed.frontier.certified import Certified
from testbed.frontier.leads import Lead


@dataclass(frozen=True, slots=True)
class FrontierRun:
    """The figures of a run.

    Attributes:
        policy: the policy's label.
        parameter: what traces its frontier: "theta", "threshold", or None.
        value: of the parameter; theta in seconds.
        seed: of the run.
        run_directory: relative to the directory of the frontier.
        overloaded: true if tasks piled up.
        fidelity: verdict on the emulation: held, strained, broken, unknown; None for a simulation.
        figures: all figures of `testbed.record.run_figures`, by short name; times in seconds.
    """

    policy: str
    parameter: str | None
    value: float | None
    seed: int
    run_directory: str
    overloaded: bool
    fidelity: str | None
    figures: Mapping[str, float | None]

    @property
    def unheld(self) -> bool:
        """True for a live run whose emulation is not known to have held."""
        return self.fidelity not in (None, "held")


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """A policy at one value of its parameter, over all seeds.

    Attributes:
        policy: the policy's label.
        parameter: what traces its frontier: "theta", "threshold", or None.
        value: of the parameter; theta in seconds.
        runs: number of its runs that count.
        overloaded_runs: number of runs that were overloaded; if there is any, the point is excluded.
        unheld_runs: number of live runs whose emulation did not hold.
        accuracy: share of right answers, 0..1; None if the point is excluded.
        cost: the figure against which accuracy is shown, in its unit; None if the point is excluded.
        on_frontier: true if no other point of its policy is as accurate at no more cost, by the means.
        on_best: true if no point of any policy is.
        bound: the bound of `optimum` at its accuracy [s]; None where there is none.
    """

    policy: str
    parameter: str | None
    value: float | None
    runs: int
    overloaded_runs: int
    unheld_runs: int
    accuracy: Estimate | None
    cost: Estimate | None
    on_frontier: bool = False
    on_best: bool = False
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class BoundAt:
    """The bound of `optimum` at one theta, mean over the seeds. No policy's plan has a higher utility in the model.

    Attributes:
        theta_s: mean delay that one unit of accuracy is worth [s].
        utility_bound_s: no plan has a higher utility [s].
        played_accuracy: of the best plans, played against the tasks, 0..1.
        played_delay_mean_s: mean delay of the best plans, played against the tasks [s].
    """

    theta_s: float
    utility_bound_s: float
    played_accuracy: Estimate | None
    played_delay_mean_s: Estimate | None


@dataclass(frozen=True, slots=True)
class Frontier:
    """Accuracy against a figure that should be small, by policy, over theta or a threshold.

    Attributes:
        directory: where runs and results are.
        topology: the topology's name.
        topology_sha256: hash of the topology's text and of its network traces, without overrides.
        overrides: what replaced values of the topology in all runs, KEY=VALUE each.
        mode: "simulated" or "live".
        duration_s: how long tasks arrived in each run [emulated s].
        warm_up_s: tasks created before this time do not count [emulated s].
        theta_s: of the topology; policies with a threshold or with neither run at it [s].
        figure: short name of the figure against which accuracy is shown.
        seeds: one per repeat, in order.
        policies: the label of each policy, which all figures use.
        stated: each policy as the user wrote it, in the same order.
        thetas_s: the values of theta [s].
        thresholds: the values of the threshold.
        complete: false if runs or bounds are still missing.
        rows: the figures of each run, in the order of policies, values, then seeds.
        points: each policy at each value.
        leads: the first policy against each other one; then, if there are bounds, against the best plans, played.
        bounds: the bound at each theta; empty for another figure than the mean delay.
        optima: the optimum at each theta on each seed.
        notes: sentences that a reader of the figures must know.
    """

    directory: Path
    topology: str
    topology_sha256: str
    overrides: tuple[str, ...]
    mode: str
    duration_s: float
    warm_up_s: float
    theta_s: float
    figure: str
    seeds: tuple[int, ...]
    policies: tuple[str, ...]
    stated: tuple[str, ...]
    thetas_s: tuple[float, ...]
    thresholds: tuple[float, ...]
    complete: bool
    rows: tuple[FrontierRun, ...]
    points: tuple[FrontierPoint, ...]
    leads: tuple[Lead, ...]
    bounds: tuple[BoundAt, ...]
    optima: tuple[Certified, ...]
    notes: tuple[str, ...]

    def bound_at(self, accuracy: float) -> float | None:
        """The least mean delay [s] of any plan of this accuracy (0..1), mean over seeds; None without bounds."""
        return bound_at(self.bounds, accuracy)


def bound_at(bounds: tuple[BoundAt, ...], accuracy: float) -> float | None:
    """The highest of the lines theta * accuracy - U [s]; None without any."""
    return max((each.theta_s * accuracy - each.utility_bound_s for each in bounds), default=None)
