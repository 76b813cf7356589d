"""The picture of a comparison: mean delay [ms] against accuracy [%], with a point and its intervals per policy."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cells.intervals import Estimate
from testbed.cells.line_picture import COLOURS
from testbed.compare.result import Comparison
from testbed.compare.table import PolicyFigures
from testbed.record.run_directory import replace_file
from testbed.wording import counted

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

WIDE_SPREAD = 6.0  # factor between delays above which the axis is logarithmic
MARKERS = "osD^vP*X<>ph"
SIZE_INCHES = (8.5, 5.0)
DOTS_PER_INCH = 150


def draw(comparison: Comparison, path: Path) -> None:
    """Write the picture as PNG to `path`.

    Overloaded policies are in the legend only: their delay only reflects how long they ran.

    Raises:
        RecordingError: the file cannot be written.
    """
    # Not pyplot, which chooses a window system and keeps every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    handles = _draw_points(axes, comparison.table)
    axes.set_xlabel("mean delay [ms]")
    axes.set_ylabel("accuracy [%]")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.set_axisbelow(True)
    repeats = len(comparison.seeds)
    axes.set_title(
        f"{comparison.topology}: {comparison.mode}, {comparison.duration_s:g} s, {counted(repeats, 'repeat')}",
        fontsize="medium",
    )
    # The legend is beside the axes: labels at the points would cover one another.
    bars = "mean and 95 % interval" if repeats > 1 else "one repeat, no interval"
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, frameon=False,
                title=bars, alignment="left", fontsize="small", title_fontsize="small")  # fmt: skip
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    replace_file(path, content.getvalue())


def _draw_points(axes: Axes, table: Sequence[PolicyFigures]) -> list[Artist]:
    """Draw the policies and return their legend handles, in order."""
    handles: list[Artist] = []
    means_ms: list[float] = []
    for index, figures in enumerate(table):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        if figures.overloaded or figures.delay_mean_s is None or figures.accuracy is None:
            why = "overloaded" if figures.overloaded else "no run held" if figures.left_out else "no run"
            label = f"{figures.policy} ({why})"
            handles += axes.plot([], [], linestyle="", fillstyle="none", color=colour, marker=marker, label=label)
            continue
        means_ms.append(figures.delay_mean_s.mean * 1e3)
        point, _, _ = axes.errorbar(
            figures.delay_mean_s.mean * 1e3,
            figures.accuracy.mean * 1e2,
            xerr=_bars(figures.delay_mean_s, 1e3),
            yerr=_bars(figures.accuracy, 1e2),
            linestyle="",
            capsize=3,
            elinewidth=1,
            markersize=7,
            zorder=3 if index == 0 else 2,
            color=colour,
            marker=marker,
        )
        if figures.unheld_runs:
            point.set_fillstyle("none")
        point.set_label(f"{figures.policy}{_unheld(figures)}")
        handles.append(point)
    if not means_ms:
        axes.text(0.5, 0.5, "no policy to show", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
    elif max(means_ms) > WIDE_SPREAD * min(means_ms):
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    return handles


def _unheld(figures: PolicyFigures) -> str:
    """A remark for the legend on runs whose emulation did not hold; empty if all held."""
    if not figures.unheld_runs:
        return ""
    held = f"{figures.runs - figures.unheld_runs} of {figures.runs} runs held"
    return f" ({held}{'' if figures.left_out else ', all count'})"


def _bars(one: Estimate, factor: float) -> list[list[float]] | None:
    """The interval as lengths below and above the mean, times `factor`, (2, 1); None without an interval."""
    if one.low is None or one.high is None:
        return None
    return [[max(0.0, one.mean - one.low) * factor], [max(0.0, one.high - one.mean) * factor]]
