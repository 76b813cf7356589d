"""Pictures of lines with intervals, as PNG and SVG: a figure against a value, one line a policy, labels at the lines.

Several panels share their axes. A label stands to the right of a full row of panels, in the colour of its line. A
point without a mean (an overloaded network has none) breaks its line; a cross at the upper edge marks its place.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cells.intervals import Estimate
from testbed.record.run_directory import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

# Colours that people with any kind of colour blindness can distinguish (M. Okabe and K. Ito, 2008), without the yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>ph"
BOUND_COLOUR = "#555555"
PANEL_INCHES = (4.4, 3.6)  # of each of several panels
SINGLE_INCHES = (5.6, 3.8)  # of a panel alone
LABEL_INCHES_PER_CHARACTER = 0.085
MOST_COLUMNS = 3  # of panels
DOTS_PER_INCH = 200
LINE_HEIGHT = 1.25  # of labels, as a multiple of their size
LABEL_POINTS = 9.0
CROSS_STEP = 0.05  # between crosses at the same place, as a share of the panel's height


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its label with the unit, and how values become what it shows.

    Attributes:
        label: the label, with the unit.
        factor: a value times this factor is shown, for example 1e3 for times in ms.
        ticks: the places of values that are no numbers, with their words; empty for numbers.
        logarithmic: True for a logarithmic scale.
    """

    label: str
    factor: float = 1.0
    ticks: tuple[tuple[float, str], ...] = ()
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line: means with their intervals, before the factors of the axes.

    Attributes:
        x: its value; an `Estimate` also draws an interval.
        y: its figure; None if there is no mean, which breaks the line.
        hollow: True draws the marker without a filling, for figures with a reservation.
        crossed: True marks the place at the upper edge if there is no mean.
    """

    x: float | Estimate
    y: float | Estimate | None
    hollow: bool = False
    crossed: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its label.

    Attributes:
        label: stands beside its end, once in each row of panels.
        points: in the order in which they are joined.
        number: chooses colour and marker; a policy has the same number in all panels.
        joined: False draws the points alone.
        bound: True draws a grey, dashed line without markers: a limit, not a measurement.
    """

    label: str
    points: tuple[Point, ...]
    number: int = 0
    joined: bool = True
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """The lines of a panel, and its title."""

    lines: tuple[Line, ...]
    title: str = ""


def draw_lines(
    panels: Sequence[Panel], x: Axis, y: Axis, path: Path, *, title: str = "", remark: str = ""
) -> tuple[Path, Path]:
    """Write the picture to `path` with the endings .png and .svg; the same content gives the same files.

    Args:
        panels: one or more, in rows of up to three.
        x: the horizontal axis of all panels.
        y: the vertical axis of all panels.
        path: the file without its ending.
        title: stands above all panels.
        remark: small text below, for example on crosses and intervals.

    Returns:
        The two files.

    Raises:
        RecordingError: a file cannot be written.
    """
    # Not pyplot, which chooses a window system and keeps every figure.
    from matplotlib import rc_context  # noqa: PLC0415 - slow to load
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = min(len(panels), MOST_COLUMNS)
    rows = math.ceil(len(panels) / columns)
    width, height = SINGLE_INCHES if len(panels) == 1 else PANEL_INCHES
    longest = max((len(line.label) for panel in panels for line in panel.lines), default=0)
    size = (columns * width + longest * LABEL_INCHES_PER_CHARACTER, rows * height)
    files = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    with rc_context({"svg.hashsalt": f"picture {path.name}", "font.size": LABEL_POINTS}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(panels):
                axes.set_axis_off()
                continue
            _draw_panel(axes, panels[place], x, y)
            axes.label_outer()
            if place + columns >= len(panels):  # nothing below it
                axes.xaxis.set_tick_params(labelbottom=True)
        _scale(grid.flat[0], panels, x, y)
        figure.supxlabel(x.label, fontsize=LABEL_POINTS + 1)
        figure.supylabel(y.label, fontsize=LABEL_POINTS + 1)
        if title:
            figure.suptitle(title, fontsize=LABEL_POINTS + 1)
        if remark:
            figure.text(0.0, -0.02, remark, fontsize=LABEL_POINTS - 2, color="#444444", va="top", ha="left")
        ends = range(columns - 1, len(panels), columns)
        _label(figure, [(grid.flat[place], panels[place]) for place in ends], x, y)
        for file, form, metadata in zip(files, ("png", "svg"), ({}, {"Date": None}), strict=True):
            content = io.BytesIO()
            figure.savefig(content, format=form, dpi=DOTS_PER_INCH, metadata=metadata, bbox_inches="tight")
            replace_file(file, content.getvalue())
    return files


def _draw_panel(axes: Axes, panel: Panel, x: Axis, y: Axis) -> None:
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.title:
        axes.set_title(panel.title, fontsize=LABEL_POINTS)
    for line in panel.lines:
        _draw_line(axes, line, x, y)
    for line, at_x, height in _crosses(panel):
        axes.plot([at_x * x.factor], [height], marker="x", markersize=6, markeredgewidth=1.8, linestyle="",
                  color=COLOURS[line.number % len(COLOURS)], transform=axes.get_xaxis_transform())  # fmt: skip


def _draw_line(axes: Axes, line: Line, x: Axis, y: Axis) -> None:
    shown = [point for point in line.points if point.y is not None]
    colour = BOUND_COLOUR if line.bound else COLOURS[line.number % len(COLOURS)]
    if line.bound or line.joined:
        xs = [_middle(point.x) * x.factor for point in line.points]
        ys = [math.nan if point.y is None else _middle(point.y) * y.factor for point in line.points]
        axes.plot(xs, ys, color=colour, linewidth=1.4, linestyle="--" if line.bound else "-")
    if line.bound:
        return
    for hollow in (False, True):
        some = [point for point in shown if point.hollow is hollow]
        if not some:
            continue
        axes.errorbar(
            [_middle(point.x) * x.factor for point in some],
            [_middle(point.y) * y.factor for point in some if point.y is not None],
            xerr=_bars([point.x for point in some], x.factor),
            yerr=_bars([point.y for point in some if point.y is not None], y.factor),
            linestyle="",
            marker=MARKERS[line.number % len(MARKERS)],
            markersize=5,
            fillstyle="none" if hollow else "full",
            capsize=2.5,
            elinewidth=1.0,
            color=colour,
        )


def _crosses(panel: Panel) -> Iterator[tuple[Line, float, float]]:
    """The crosses of points without a mean: line, x, and height as a share of the panel's; one below the other."""
    stacked: dict[float, int] = {}
    for line in panel.lines:
        for point in line.points:
            if point.y is None and point.crossed:
                at_x = _middle(point.x)
                yield line, at_x, 0.97 - CROSS_STEP * stacked.setdefault(at_x, 0)
                stacked[at_x] += 1


def _scale(axes: Axes, panels: Sequence[Panel], x: Axis, y: Axis) -> None:
    """Set scales, ticks and room for the crosses; all panels share them."""
    for one, axis, name in ((x, axes.xaxis, "x"), (y, axes.yaxis, "y")):
        if one.ticks:
            axis.set_ticks([place * one.factor for place, _ in one.ticks], [words for _, words in one.ticks])
        elif one.logarithmic:
            _make_logarithmic(axes, name)
    if not any(point.y is not None for panel in panels for line in panel.lines for point in line.points):
        axes.set_ylim(0.0, 1.0)
        axes.set_yticks([])
    depth = max((0.97 - height for panel in panels for _, _, height in _crosses(panel)), default=-1.0)
    if depth >= 0.0:
        low, high = axes.get_ylim()
        room = depth + 2 * CROSS_STEP
        if y.logarithmic:
            axes.set_ylim(low, high * (high / low) ** (room / (1 - room)))
        else:
            axes.set_ylim(low, high + (high - low) * room / (1 - room))


def _make_logarithmic(axes: Axes, name: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415

    axis = axes.xaxis if name == "x" else axes.yaxis
    (axes.set_xscale if name == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label(figure: Figure, ends: Sequence[tuple[Axes, Panel]], x: Axis, y: Axis) -> None:
    """Write the labels beside the panels at the ends of rows, then move them apart, once their size is known."""
    written = [(axes, *_labels_of(axes, panel, x, y)) for axes, panel in ends]
    figure.draw_without_rendering()
    for axes, labels, wanted in written:
        height_points = axes.get_window_extent().height / figure.dpi * 72
        step = LABEL_POINTS * LINE_HEIGHT / height_points
        for label, place in zip(labels, apart(wanted, step), strict=True):
            label.set_position((1.03, place))


def _labels_of(axes: Axes, panel: Panel, x: Axis, y: Axis) -> tuple[list[Annotation], list[float]]:
    """The labels of a panel, and the heights at which they would stand, as shares of the panel's."""
    labels: list[Annotation] = []
    wanted: list[float] = []
    axes.get_xlim(), axes.get_ylim()  # brings the limits up to date
    to_share = axes.transScale + axes.transLimits
    for line in panel.lines:
        last = next((point for point in reversed(line.points) if point.y is not None), None)
        colour = BOUND_COLOUR if line.bound else COLOURS[line.number % len(COLOURS)]
        crosses = [height for crossed, _, height in _crosses(panel) if crossed is line]
        right, height = 1.0, min(crosses, default=1.0)  # without any mean: beside its crosses
        if last is not None and last.y is not None:
            right, height = to_share.transform((_middle(last.x) * x.factor, _middle(last.y) * y.factor))
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 4, "relpos": (0, 0.5)}
        marker = "" if line.joined or line.bound else f"{_SIGNS[line.number % len(_SIGNS)]} "
        labels.append(
            axes.annotate(
                f"{marker}{line.label}",
                xy=(float(right), float(height)),
                xycoords="axes fraction",
                xytext=(1.03, float(height)),
                textcoords="axes fraction",
                color=colour,
                va="center",
                ha="left",
                fontsize=LABEL_POINTS,
                arrowprops=leader if last is not None and (line.joined or line.bound) else None,
                annotation_clip=False,
            )
        )
        wanted.append(float(height))
    return labels, wanted


_SIGNS = "●■◆▲▼✚✖◀▶⬟⬢"  # of MARKERS, as text


def apart(wanted: Sequence[float], step: float) -> list[float]:
    """Return places as near to the wanted ones as can be, in their order, at least `step` apart.

    Neighbours that would overlap form a block around the mean of what they want; blocks that touch merge.

    >>> apart([0.5, 0.5], 0.2), apart([0.1, 0.9], 0.2)
    ([0.4, 0.6], [0.1, 0.9])
    """
    order = sorted(range(len(wanted)), key=lambda each: wanted[each])
    blocks: list[tuple[list[int], float]] = []  # members, and the place of the first
    for each in order:
        block, first = [each], wanted[each]
        while blocks and blocks[-1][1] + len(blocks[-1][0]) * step > first:
            block = [*blocks.pop()[0], *block]
            first = sum(wanted[one] - number * step for number, one in enumerate(block)) / len(block)
        blocks.append((block, first))
    places = [0.0] * len(wanted)
    for block, first in blocks:
        for number, one in enumerate(block):
            places[one] = first + number * step
    return places


def _middle(value: float | Estimate) -> float:
    return value.mean if isinstance(value, Estimate) else value


def _bars(values: Sequence[float | Estimate], factor: float) -> list[list[float]] | None:
    """The intervals as lengths below and above the means, times `factor`, (2, n); None if none has an interval."""
    if not any(isinstance(one, Estimate) and one.low is not None for one in values):
        return None
    below, above = [], []
    for one in values:
        low, mean, high = _ends(one)
        below.append(max(0.0, mean - low) * factor)
        above.append(max(0.0, high - mean) * factor)
    return [below, above]


def _ends(value: float | Estimate) -> tuple[float, float, float]:
    """The lower end, the mean and the upper end; all equal without an interval."""
    if not isinstance(value, Estimate):
        return value, value, value
    if value.low is None or value.high is None:
        return value.mean, value.mean, value.mean
    return value.low, value.mean, value.high
