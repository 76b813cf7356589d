"""The picture of a frontier: accuracy [%] over the figure, a line for each policy, intervals as bars, the bound."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from testbed.cells.line_picture import Axis, Line, Panel, Point, draw_lines
from testbed.frontier.frontier_result import Frontier, FrontierPoint
from testbed.record.run_figures import BY_NAME, Kind
from testbed.wording import counted

WIDE_SPREAD = 4.0  # quotient of costs above which their axis is logarithmic
STEPS = 100
UNITS: dict[Kind, tuple[str, float]] = {"time": ("ms", 1e3), "share": ("%", 1e2), "energy": ("J", 1.0)}


def unit_of(kind: Kind) -> tuple[str, float]:
    """The unit in which people read figures of a kind (empty for counts and plain numbers), and its factor."""
    return UNITS.get(kind, ("", 1.0))


def draw(frontier: Frontier, path: Path) -> tuple[Path, Path]:
    """Write the picture to `path` with the endings .png and .svg, and return both.

    Points that are overloaded, or that another one of their policy beats, are left out.

    Raises:
        RecordingError: a file cannot be written.
    """
    figure = BY_NAME[frontier.figure]
    unit, factor = unit_of(figure.kind)
    kept = [point for point in frontier.points if point.on_frontier]
    lines = [_policy(policy, number, kept) for number, policy in enumerate(frontier.policies)]
    lines += [*_played(frontier), *_bound(frontier, kept)]
    costs = [point.cost.mean for point in kept if point.cost is not None]
    wide = bool(costs) and min(costs) > 0 and max(costs) > WIDE_SPREAD * min(costs)
    bars = "mean and 95 % interval" if len(frontier.seeds) > 1 else "one seed, no intervals"
    seeds = counted(len(frontier.seeds), "seed")
    return draw_lines(
        [Panel(tuple(line for line in lines if line.points))],
        Axis(f"{figure.title} [{unit}]" if unit else figure.title, factor, logarithmic=wide),
        Axis("accuracy [%]", 1e2),
        path,
        title=f"{frontier.topology}: {frontier.mode}, {frontier.duration_s:g} s, {seeds}",
        remark=f"{bars}; points that others of their policy beat are left out",
    )


def _policy(policy: str, number: int, kept: Sequence[FrontierPoint]) -> Line:
    points = [
        Point(point.cost, point.accuracy, hollow=bool(point.unheld_runs)) for point in kept
        if point.policy == policy and point.cost is not None and point.accuracy is not None
    ]  # fmt: skip
    return Line(policy, tuple(sorted(points, key=lambda point: point.x.mean)), number)  # type: ignore[union-attr]


def _played(frontier: Frontier) -> list[Line]:
    points = [
        Point(each.played_delay_mean_s.mean, each.played_accuracy.mean) for each in frontier.bounds
        if each.played_accuracy is not None and each.played_delay_mean_s is not None
    ]  # fmt: skip
    return [Line("optimum's plans, played", tuple(points), len(frontier.policies))]


def _bound(frontier: Frontier, kept: Sequence[FrontierPoint]) -> list[Line]:
    """The bound, from the least to the most accurate of the points kept."""
    reached = [point.accuracy.mean for point in kept if point.accuracy is not None]
    if not reached or not frontier.bounds:
        return []
    points = []
    for accuracy in np.linspace(min(reached), max(reached), STEPS).tolist():
        least_s = frontier.bound_at(accuracy)
        if least_s is not None and least_s > 0:
            points.append(Point(least_s, accuracy))
    return [Line("bound on plans (model)", tuple(points), bound=True)]
