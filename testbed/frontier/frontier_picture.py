"""The picture of a frontier: accuracy [%] over the figure, a line for each policy, intervals as bars, the bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from testbed.cells.intervals import Estimate
from testbed.cells.picture_labels import LineLabel, label_lines, look, save
from testbed.frontier.curve import Array, Curve
from testbed.frontier.frontier_result import Frontier, FrontierPoint
from testbed.record.run_figures import BY_NAME, Kind
from testbed.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (9.0, 5.4)
MOST_INCHES = 9.0  # height, for many policies
WIDE_SPREAD = 6.0  # quotient of costs above which their axis is logarithmic
STEPS = 200
GREY, BLACK = "#666666", "#000000"
UNITS: dict[Kind, tuple[str, float]] = {"time": ("ms", 1e3), "share": ("%", 1e2), "energy": ("J", 1.0)}


def unit_of(kind: Kind) -> tuple[str, float]:
    """The unit in which people read figures of a kind (empty for counts and plain numbers), and its factor."""
    return UNITS.get(kind, ("", 1.0))


def draw(frontier: Frontier, path: Path) -> None:
    """Write the picture as PNG to `path`, and as SVG beside it. Overloaded points are left out.

    Raises:
        RecordingError: a file cannot be written.
    """
    # Not pyplot, which chooses a window system and keeps every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    height = min(MOST_INCHES, max(SIZE_INCHES[1], 0.25 * (len(frontier.policies) + 2) + 1.4))
    figure = Figure(figsize=(SIZE_INCHES[0], height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, 0.11, 0.64, 0.80))
    kind = BY_NAME[frontier.figure].kind
    unit, factor = unit_of(kind)
    labels = _draw_policies(axes, frontier, factor)
    if labels:
        _set_limits(axes, frontier, factor)
        labels += _draw_bound(axes, frontier)
        axes.grid(visible=True, which="major", alpha=0.3)
    else:
        axes.text(0.5, 0.5, "no point to show", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
    title = BY_NAME[frontier.figure].title
    axes.set_xlabel(f"{title} [{unit}]" if unit else title)
    axes.set_ylabel("accuracy [%]")
    axes.set_axisbelow(True)
    bars = "bars: 95 % intervals" if len(frontier.seeds) > 1 else "one seed, no intervals"
    axes.set_title(
        f"{frontier.topology}: {frontier.mode}, {frontier.duration_s:g} s, {counted(len(frontier.seeds), 'seed')}; "
        f"{bars}", fontsize="medium", loc="left",
    )  # fmt: skip
    label_lines(axes, labels)
    save(figure, path)


def _draw_policies(axes: Axes, frontier: Frontier, factor: float) -> list[LineLabel]:
    """Draw each policy's points, and the curve through those on its frontier; return the labels."""
    labels = []
    for number, policy in enumerate(frontier.policies):
        colour, marker = look(number)
        points = [point for point in frontier.points if point.policy == policy and point.accuracy is not None]
        for point in points:
            _draw_point(axes, point, colour, marker, factor)
        kept = [point for point in points if point.on_frontier]
        if not kept:
            continue
        accuracy, cost = _means(kept)
        if len(kept) > 1:
            curve = Curve.through(accuracy, cost, by_ratio=bool((cost > 0).all()))
            at = np.linspace(accuracy.min(), accuracy.max(), STEPS)
            axes.plot(curve.cost_at(at) * factor, at * 1e2, color=colour, linewidth=1.3, zorder=2)
        last = int(accuracy.argmax())
        labels.append(LineLabel(policy, colour, float(cost[last]) * factor, float(accuracy[last]) * 1e2))
    return labels


def _draw_point(axes: Axes, point: FrontierPoint, colour: str, marker: str, factor: float) -> None:
    assert point.accuracy is not None
    assert point.cost is not None
    drawn, _, _ = axes.errorbar(
        point.cost.mean * factor, point.accuracy.mean * 1e2, xerr=_bars(point.cost, factor),
        yerr=_bars(point.accuracy, 1e2), linestyle="", capsize=2, elinewidth=0.8, color=colour, marker=marker,
        markersize=5, zorder=3, alpha=1.0 if point.on_frontier else 0.45,
    )  # fmt: skip
    if point.unheld_runs or not point.on_frontier:
        drawn.set_fillstyle("none")


def _draw_bound(axes: Axes, frontier: Frontier) -> list[LineLabel]:
    """Draw the bound, and the best plans, played; return their labels. Both are of the mean delay [s]."""
    labels = []
    played = [
        (each.played_accuracy.mean, each.played_delay_mean_s.mean) for each in frontier.bounds
        if each.played_accuracy is not None and each.played_delay_mean_s is not None
    ]  # fmt: skip
    if played:
        accuracy, delay_s = np.array(sorted(played)).T
        axes.plot(delay_s * 1e3, accuracy * 1e2, color=GREY, linestyle=":", marker="x", markersize=5, zorder=1)
        labels.append(
            LineLabel("best plans of optimum, played", GREY, float(delay_s[-1]) * 1e3, float(accuracy[-1]) * 1e2)
        )
    if frontier.bounds:
        low, high = axes.get_ylim()
        least_ms, most_ms = axes.get_xlim()
        at = np.linspace(low, high, STEPS)
        bound_ms = np.array([(frontier.bound_at(float(value) / 1e2) or 0.0) * 1e3 for value in at])
        seen = (bound_ms >= least_ms) & (bound_ms <= most_ms)
        if seen.any():
            axes.plot(bound_ms[seen], at[seen], color=BLACK, linestyle="--", linewidth=1.2, zorder=1)
            top = int(np.flatnonzero(seen)[-1])
            labels.append(LineLabel("bound of optimum (its model)", BLACK, float(bound_ms[top]), float(at[top])))
    return labels


def _set_limits(axes: Axes, frontier: Frontier, factor: float) -> None:
    accuracy, cost = _means([point for point in frontier.points if point.accuracy is not None])
    _, kept = _means([point for point in frontier.points if point.on_frontier])
    least, most = cost.min() * factor, kept.max() * factor  # what is beaten may lie far to the right
    bounds = [each.played_delay_mean_s.mean * 1e3 for each in frontier.bounds if each.played_delay_mean_s is not None]
    least = min([least, *bounds])
    if least > 0 and most > WIDE_SPREAD * least:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(least / 1.15, most * 1.1)
    else:
        room = 0.06 * (most - least) or 0.1 * abs(most) or 1.0
        axes.set_xlim(least - 1.5 * room, most + room)
    if beyond := int((cost * factor > axes.get_xlim()[1]).sum()):
        axes.text(0.99, 0.01, f"further right, beaten by others of their policy: {counted(beyond, 'point')}",
                  transform=axes.transAxes, ha="right", va="bottom", fontsize="small", color=GREY)  # fmt: skip
    low, high = accuracy.min() * 1e2, accuracy.max() * 1e2
    room = 0.06 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)


def _means(points: Sequence[FrontierPoint]) -> tuple[Array, Array]:
    """Accuracies and costs (n,) of points that are not excluded."""
    pairs = [(one.accuracy.mean, one.cost.mean) for one in points if one.accuracy is not None and one.cost is not None]
    found = np.array(pairs, dtype=np.float64).reshape(len(pairs), 2)
    return found[:, 0], found[:, 1]


def _bars(one: Estimate, factor: float) -> list[list[float]] | None:
    """The interval as lengths below and above the mean, times `factor`, (2, 1); None without an interval."""
    if one.low is None or one.high is None:
        return None
    return [[max(0.0, one.mean - one.low) * factor], [max(0.0, one.high - one.mean) * factor]]
