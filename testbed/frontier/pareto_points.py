"""From the runs of a frontier to its points, Pareto sets, bounds and leads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from testbed.cells.batch import FEW_REPEATS
from testbed.cells.intervals import Estimate, estimate
from testbed.frontier.certified import Certified
from testbed.frontier.curve import undominated
from testbed.frontier.frontier_result import BoundAt, FrontierPoint, FrontierRun, bound_at
from testbed.frontier.leads import Lead, Points, lead
from testbed.frontier.settings import Setting
from testbed.record.run_figures import Figure
from testbed.wording import counted

PLAYED = "the best plans of optimum, played"
BOUNDED = "mean"  # the figure that `optimum` bounds


def points_of(
    rows: Sequence[FrontierRun], settings: Sequence[Setting], figure: Figure, *, include_unheld: bool
) -> tuple[FrontierPoint, ...]:
    """The point of each setting, in order, with its place in the Pareto sets."""
    points = [
        _point(setting, _rows_at(rows, setting.policy, setting.value), figure, include_unheld=include_unheld)
        for setting in settings
    ]
    policies = dict.fromkeys(setting.policy for setting in settings)
    best = _pareto(points)
    own = {index for policy in policies for index in _pareto(points, policy)}
    return tuple(replace(point, on_frontier=index in own, on_best=index in best) for index, point in enumerate(points))


def _rows_at(rows: Sequence[FrontierRun], policy: str, value: float | None) -> list[FrontierRun]:
    return [row for row in rows if (row.policy, row.value) == (policy, value)]


def _point(setting: Setting, rows: Sequence[FrontierRun], figure: Figure, *, include_unheld: bool) -> FrontierPoint:
    overloaded = sum(row.overloaded for row in rows)
    held = [row for row in rows if include_unheld or not row.unheld]
    pairs = [] if overloaded else [pair for row in held if (pair := pair_of(row, figure)) is not None]
    return FrontierPoint(
        policy=setting.policy,
        parameter=setting.parameter,
        value=setting.value,
        runs=len(held),
        overloaded_runs=overloaded,
        unheld_runs=sum(row.unheld for row in rows),
        accuracy=estimate([accuracy for accuracy, _ in pairs]) if pairs and len(pairs) == len(held) else None,
        cost=estimate([cost for _, cost in pairs]) if pairs and len(pairs) == len(held) else None,
    )


def pair_of(row: FrontierRun, figure: Figure) -> tuple[float, float] | None:
    """Accuracy and cost of a run; None if one of them is over no task."""
    accuracy, cost = row.figures.get("accuracy"), row.figures.get(figure.name)
    return None if accuracy is None or cost is None else (accuracy, cost)


def _pareto(points: Sequence[FrontierPoint], policy: str | None = None) -> set[int]:
    """The indices of the points that no other of the policy (None: of any) beats, by their means."""
    found = [
        (index, point.accuracy.mean, point.cost.mean) for index, point in enumerate(points)
        if point.accuracy is not None and point.cost is not None and policy in (None, point.policy)
    ]  # fmt: skip
    if not found:
        return set()
    indices, accuracy, cost = zip(*found, strict=True)
    return {indices[index] for index in undominated(np.array(accuracy), np.array(cost)).tolist()}


def bounds_of(optima: Sequence[Certified], seeds: Sequence[int]) -> tuple[BoundAt, ...]:
    """The bound at each theta, by ascending theta; without those at which a seed has none."""
    found = []
    for theta_s in sorted({each.theta_s for each in optima}):
        here = [each for each in optima if each.theta_s == theta_s and each.seed in seeds]
        utilities = [each.utility_bound_s for each in here if each.utility_bound_s is not None]
        if len(utilities) < len(seeds):
            continue
        accuracy = _mean([each.played_accuracy for each in here])
        delay_s = _mean([each.played_delay_mean_s for each in here])
        found.append(BoundAt(theta_s, float(np.mean(utilities)), accuracy, delay_s))
    return tuple(found)


def _mean(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return estimate(known) if known and len(known) == len(values) else None


def with_bounds(points: Sequence[FrontierPoint], bounds: tuple[BoundAt, ...]) -> tuple[FrontierPoint, ...]:
    """The points, each with the bound at its accuracy."""
    return tuple(
        point if point.accuracy is None else replace(point, bound=bound_at(bounds, point.accuracy.mean))
        for point in points
    )


def compared_points(
    points: Sequence[FrontierPoint],
    rows: Sequence[FrontierRun],
    figure: Figure,
    optima: Sequence[Certified],
    *,
    include_unheld: bool,
) -> tuple[dict[str, Points], bool]:
    """The points of each policy and of the best plans, played, by seed; and whether all costs are above zero."""
    policies = list(dict.fromkeys(point.policy for point in points))
    by_policy = {
        policy: _points_by_seed(policy, points, rows, figure, include_unheld=include_unheld) for policy in policies
    }
    if any(each.played_accuracy is not None for each in optima):
        by_policy[PLAYED] = _played_by_seed(optima)
    return by_policy, all(bool((cost > 0).all()) for found in by_policy.values() for _, cost in found.values())


def leads_of(by_policy: Mapping[str, Points], *, by_ratio: bool) -> tuple[Lead, ...]:
    """The first policy against each other one, then against the best plans, played."""
    first, *others = by_policy.items()
    return tuple(lead(other, first[1], found, by_ratio=by_ratio) for other, found in others)


def _points_by_seed(
    policy: str, points: Sequence[FrontierPoint], rows: Sequence[FrontierRun], figure: Figure, *, include_unheld: bool
) -> Points:
    counted_values = {point.value for point in points if point.policy == policy and point.accuracy is not None}
    pairs: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row.policy != policy or row.value not in counted_values or (row.unheld and not include_unheld):
            continue
        if (pair := pair_of(row, figure)) is not None:
            pairs.setdefault(row.seed, []).append(pair)
    return {seed: (np.array(found)[:, 0], np.array(found)[:, 1]) for seed, found in pairs.items()}


def _played_by_seed(optima: Sequence[Certified]) -> Points:
    pairs: dict[int, list[tuple[float, float]]] = {}
    for each in optima:
        if each.played_accuracy is not None and each.played_delay_mean_s is not None:
            pairs.setdefault(each.seed, []).append((each.played_accuracy, each.played_delay_mean_s))
    return {seed: (np.array(found)[:, 0], np.array(found)[:, 1]) for seed, found in pairs.items()}


def notes_on(
    points: Sequence[FrontierPoint], rows: Sequence[FrontierRun], seeds: Sequence[int], figure: Figure
) -> Iterator[str]:
    """Sentences on the runs that a reader of the figures must know."""
    policies = list(dict.fromkeys(point.policy for point in points))
    if len(policies) == 1:
        yield "one policy only: name others after it, as in -p dto-ee,computing-first"
    if len(seeds) == 1:
        yield "one repeat only: no intervals"
    elif len(seeds) < FEW_REPEATS:
        yield f"intervals from {len(seeds)} repeats are rough, and rather too narrow"
    if over := [f"{_at(one)} ({one.overloaded_runs} of {len(seeds)} runs)" for one in points if one.overloaded_runs]:
        yield f"overloaded, and excluded everywhere: {', '.join(over)}"
    if void := [_at(one) for one in points if one.runs and not one.overloaded_runs and one.accuracy is None]:
        yield f"excluded, as a run has no {figure.title} or no accuracy: {', '.join(void)}"
    if fixed := [one.policy for one in points if one.parameter is None]:
        yield f"one point each, as they follow neither theta nor a threshold left open: {', '.join(fixed)}"
    if unheld := [f"{_at(one)} ({counted(one.unheld_runs, 'run')})" for one in points if one.unheld_runs]:
        yield f"live runs whose emulation did not hold: {', '.join(unheld)} (--include-unheld counts them)"
    yield from _ended_otherwise(rows)


def _ended_otherwise(rows: Sequence[FrontierRun]) -> Iterator[str]:
    """On tasks that were lost or refused, which are in no delay."""
    counts = {name: sum(row.figures.get(name) or 0 for row in rows) for name in ("lost", "refused", "offered")}
    if counts["lost"]:
        yield f"{counts['lost']:.0f} of {counts['offered']:.0f} tasks were lost; accuracy and delay are without them"
    if counts["refused"]:
        yield "devices refused tasks; accuracy and delay are those of admitted ones, the bound is one for all"


def _at(point: FrontierPoint) -> str:
    unit = " s" if point.parameter == "theta" else ""
    return point.policy if point.parameter is None else f"{point.policy} at {point.parameter} {point.value:g}{unit}"
