"""The picture of a capacity: the figure of each assertion over the load, with its bound; a colour for each policy.

A dot is a run: filled if the objective holds in it. A line joins the means at loads that ran on all seeds with the
capacity itself, which has its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from testbed.capacity.capacity_result import Capacity, PolicyCapacity, Probe
from testbed.cells.picture_labels import LineLabel, label_lines, look, save
from testbed.record.run_figures import FIGURES, Kind
from testbed.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_INCHES, PANEL_INCHES = 9.0, 3.6
BLACK = "#000000"
MOST_OVER_BOUND = 8.0  # figures that are further above or below their bound are shown at the edge
UNITS: dict[Kind, tuple[str, float]] = {"time": ("ms", 1e3), "share": ("%", 1e2), "energy": ("J", 1.0)}


def draw(capacity: Capacity, path: Path) -> None:
    """Write the picture as PNG to `path`, and as SVG beside it.

    Raises:
        RecordingError: a file cannot be written.
    """
    # Not pyplot, which chooses a window system and keeps every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    panels = len(capacity.objective)
    figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * panels + 1.0))
    FigureCanvasAgg(figure)
    height = figure.get_size_inches()[1]
    bottom, each = 0.62 / height, PANEL_INCHES / height
    for number in range(panels):
        place = panels - 1 - number
        axes = figure.add_axes((0.09, bottom + place * each, 0.63, each - 0.35 / height))
        _draw_panel(axes, capacity, number)
        if place == 0:
            axes.set_xlabel("load (factor on the tasks that devices offer)")
    figure.text(
        0.09, 1 - 0.28 / height,
        f"{capacity.topology}: {capacity.mode}, {capacity.duration_s:g} s, {counted(len(capacity.seeds), 'seed')}; "
        "filled: the objective holds", fontsize="medium",
    )  # fmt: skip
    save(figure, path)


def _draw_panel(axes: Axes, capacity: Capacity, number: int) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415

    path, bound = capacity.paths[number], capacity.bounds[number]
    title, (unit, factor) = _shown(path)
    loads = [probe.load for probe in capacity.probes]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("x{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if loads:
        axes.set_xlim(min(loads) / 1.08, max(loads) * 1.08)
    _limit_figures(axes, capacity, number, factor)
    axes.axhline(bound * factor, color=BLACK, linestyle="--", linewidth=1.0, zorder=1)
    labels = [LineLabel(capacity.objective[number], BLACK, axes.get_xlim()[1], bound * factor)]
    for place, one in enumerate(capacity.table):
        colour, marker = look(place)
        probes = [probe for probe in capacity.probes if probe.policy == one.policy]
        _draw_probes(axes, probes, number, factor, colour, marker)
        labels += _draw_line(axes, one, probes, number, (bound, factor), colour, len(capacity.seeds))
    axes.set_ylabel(f"{title} [{unit}]" if unit else title)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.set_axisbelow(True)
    label_lines(axes, labels)


def _shown(path: str) -> tuple[str, tuple[str, float]]:
    """Name, unit and factor of the figure at a path in summary.json."""
    known = [figure for figure in FIGURES if figure.path == path]
    return (known[0].title, UNITS.get(known[0].kind, ("", 1.0))) if known else (path, ("", 1.0))


def _limit_figures(axes: Axes, capacity: Capacity, number: int, factor: float) -> None:
    """Set the limits of the figure: around its bound, not to the delays of overload."""
    bound = capacity.bounds[number] * factor
    values = [value * factor for probe in capacity.probes if (value := probe.values[number]) is not None]
    low, high = min([*values, bound]), max([*values, bound])
    if bound > 0:
        high = min(high, MOST_OVER_BOUND * bound)
    room = 0.08 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)


def _draw_probes(axes: Axes, probes: Sequence[Probe], number: int, factor: float, colour: str, marker: str) -> None:
    most = axes.get_ylim()[1]
    for probe in probes:
        value = probe.values[number]
        if value is None:
            continue
        axes.plot(probe.load, min(value * factor, most), marker=marker, markersize=4.5, linestyle="", color=colour,
                  fillstyle="full" if probe.holds else "none", alpha=0.55, zorder=2, clip_on=False)  # fmt: skip


def _draw_line(
    axes: Axes,
    one: PolicyCapacity,
    probes: Sequence[Probe],
    number: int,
    bound: tuple[float, float],
    colour: str,
    seeds: int,
) -> list[LineLabel]:
    """Draw the means at loads that ran on all seeds, and the capacity; return the line's label."""
    level, factor = bound
    by_load: dict[float, list[float]] = {}
    for probe in probes:
        if (value := probe.values[number]) is not None:
            by_load.setdefault(probe.load, []).append(value * factor)
    most = axes.get_ylim()[1]
    points = [(load, min(float(np.mean(values)), most)) for load, values in by_load.items() if len(values) == seeds]
    if one.load is not None and number == 0:
        low, high = one.load.low or one.load.mean, one.load.high or one.load.mean
        axes.errorbar(one.load.mean, level * factor, xerr=[[one.load.mean - low], [high - one.load.mean]], color=colour,
                      marker="|", markersize=14, markeredgewidth=2, capsize=3, zorder=4)  # fmt: skip
    if not points:
        return []
    loads, values = zip(*sorted(points), strict=True)
    axes.plot(loads, values, color=colour, linewidth=1.2, zorder=2)
    return [LineLabel(_named(one), colour, loads[-1], values[-1])]


def _named(one: PolicyCapacity) -> str:
    return one.policy if one.load is None else f"{one.policy}: x{one.load.mean:.3g}"
