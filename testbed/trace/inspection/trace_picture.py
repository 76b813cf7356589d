"""Pictures of traces: a workload's rate, gaps and devices; the rate and the delay of a network trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from node_agent.errors import InputError
from testbed.trace.files import replacing
from testbed.trace.importers.contract import TICKS_PER_S
from testbed.trace.inspection.workload_summary import Gathered, Summary, top
from testbed.trace.link_trace import LinkTrace
from testbed.wording import counted, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people with any kind of colour blindness can distinguish (M. Okabe and K. Ito, 2008).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
SUFFIXES = (".png", ".svg")
DOTS_PER_INCH = 150
MOST_BARS = 12
MOST_DRAWN_STEPS = 125
_MOST_LETTERS = 18


def draw_workload(gathered: Gathered, title: str, path: Path, *, keyed: bool = True) -> None:
    """Draw the rate over time, the gaps against exponential ones, and the share of each device.

    Args:
        gathered: the workload.
        title: above the picture.
        path: the file to write, PNG or SVG by its suffix.
        keyed: the source states devices; without, they are not drawn.

    Raises:
        InputError: the suffix is another one, or the file cannot be written.
    """
    form = picture_format(path)
    summary = gathered.summary()
    figure = _figure((11.0, 6.4))
    grid = figure.add_gridspec(2, 2, height_ratios=(1.0, 1.15))
    _draw_rate(figure.add_subplot(grid[0, :]), gathered, summary)
    _draw_gaps(figure.add_subplot(grid[1, 0] if keyed else grid[1, :]), gathered)
    if keyed:
        _draw_devices(figure.add_subplot(grid[1, 1]), summary)
    figure.suptitle(title, fontsize="medium")
    _save(figure, path, form)


def draw_link(trace: LinkTrace, title: str, path: Path) -> None:
    """Draw the rate and the delay of a network trace over time, as far as it states them; errors as above."""
    form = picture_format(path)
    edges_s = [*trace.starts_s, trace.length_s]
    shown = [
        (f"{name} [{unit}]", [value * factor for value in series], colour)
        for name, unit, factor, series, colour in (
            ("rate", "Mbit/s", 1.0, trace.rate_mbit_per_s, BLUE),
            ("delay", "ms", 1e3, trace.delay_s, ORANGE),
            ("loss", "%", 1e2, trace.loss, GREY),
        )
        if series is not None
    ]
    figure = _figure((10.0, 0.8 + 2.2 * len(shown)))
    for place, (label, values, colour) in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, place)
        axes.stairs(values, edges_s, color=colour, linewidth=1.0)
        axes.set_xlim(0.0, trace.length_s)
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.3)
    figure.axes[-1].set_xlabel("time [s]")
    figure.suptitle(title, fontsize="medium")
    _save(figure, path, form)


def picture_format(path: Path) -> str:
    """The format of a picture by its suffix, without the dot. Raises InputError for a suffix that is none."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: a picture ends in .png or .svg", hint="for example --picture load.png")
    return suffix.removeprefix(".")


def _figure(size_inches: tuple[float, float]) -> Figure:
    # Not pyplot, which chooses a window system and keeps every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=size_inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path, form: str) -> None:
    with replacing(path) as file:
        figure.savefig(file, format=form, dpi=DOTS_PER_INCH, metadata={"Date": None} if form == "svg" else None)


def _draw_rate(axes: Axes, gathered: Gathered, summary: Summary) -> None:
    counts, span_s = gathered.curve.until(gathered.span_ticks), summary["span_s"]
    step_s = gathered.curve.step_ticks / TICKS_PER_S
    # About a hundred steps show a course; finer ones show chance.
    together = next(each for each in (1, 2, 5, 10, 20, 50, 100) if len(counts) <= each * MOST_DRAWN_STEPS)
    starts = np.arange(0, len(counts), together)
    lengths_s = np.minimum((starts + together) * step_s, max(span_s, step_s)) - starts * step_s
    some = lengths_s > 0
    rates = (np.add.reduceat(counts, starts) / np.where(some, lengths_s, 1.0))[some]
    edges_s = np.append(starts[some] * step_s, starts[some][-1] * step_s + lengths_s[some][-1])
    mean = summary["all"]["rate_per_s"]
    axes.stairs(rates, edges_s, color=BLUE, fill=True, alpha=0.25)
    axes.stairs(rates, edges_s, color=BLUE, linewidth=1.2)
    axes.axhline(mean, color=ORANGE, linewidth=1.2)
    axes.annotate(
        f"mean {mean:.3g}/s", (1.0, mean), xycoords=("axes fraction", "data"), xytext=(4, 0), color=ORANGE,
        textcoords="offset points", va="center", fontsize="small",
    )  # fmt: skip
    axes.set_xlim(0.0, float(edges_s[-1]))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("tasks/s")
    axes.set_title(f"rate, in steps of {together * step_s:.3g} s", fontsize="medium", loc="left")
    axes.grid(visible=True, alpha=0.3)


def _draw_gaps(axes: Axes, gathered: Gathered) -> None:
    bounds_s, shares = gathered.gaps.longer()
    mean_s = gathered.gaps.mean_s
    variation = gathered.gaps.variation
    said = "" if variation is None else f": coefficient of variation {variation:.2f}"
    axes.set_title(f"gaps between tasks{said}", fontsize="medium", loc="left")
    axes.set_xlabel("gap [ms]")
    axes.set_ylabel("share of gaps that are longer")
    if mean_s is None or not len(bounds_s):
        axes.text(0.5, 0.5, "no gap to show", ha="center", va="center", transform=axes.transAxes)
        return
    least = max(float(shares[-1]), 1e-9) / 2
    first = max(float(bounds_s[int(np.argmax(shares < 0.99))]) / 3, 1e-6) if (shares < 0.99).any() else 1e-6
    along_s = np.logspace(np.log10(first), np.log10(max(float(bounds_s[-1]), mean_s) * 2), 300)
    exponential = np.exp(-along_s / mean_s)
    axes.loglog(bounds_s * 1e3, shares, color=BLUE, linewidth=1.8)
    axes.loglog(along_s * 1e3, exponential, color=ORANGE, linewidth=1.4, linestyle="--")
    axes.set_xlim(first * 1e3, float(along_s[-1]) * 1e3)
    axes.set_ylim(least, 1.6)
    for colour, words, height in ((BLUE, "this trace", 0.16), (ORANGE, "exponential of equal mean", 0.06)):
        axes.text(0.03, height, words, color=colour, transform=axes.transAxes, fontsize="small")
    axes.grid(visible=True, alpha=0.3)


def _draw_devices(axes: Axes, summary: Summary) -> None:
    rows = summary["devices"]
    names = top(rows, MOST_BARS)
    shares = [rows[name]["tasks"] / summary["all"]["tasks"] * 100 for name in names]
    rest = len(rows) - len(names)
    if rest:
        names, shares = [*names, f"{rest} more"], [*shares, 100 - sum(shares)]
    places = list(range(len(names)))
    axes.barh(places, shares, color=[BLUE] * len(names) if not rest else [BLUE] * (len(names) - 1) + [GREY], height=0.7)
    axes.set_yticks(places, [_short(name) for name in names], fontsize="small")
    axes.invert_yaxis()
    for place, share in zip(places, shares, strict=True):
        axes.annotate(f"{share:.3g} %", (share, place), xytext=(3, 0), textcoords="offset points", va="center",
                      fontsize="small")  # fmt: skip
    axes.set_xlim(0.0, max(shares, default=1.0) * 1.18)
    axes.set_xlabel("share of tasks [%]")
    axes.set_title(f"tasks by device ({counted(len(rows), 'device')})", fontsize="medium", loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(name: str) -> str:
    return shortened(name.replace("$", r"\$"), _MOST_LETTERS)
