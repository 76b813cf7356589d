"""Direct labels of the lines of a picture: beside its right edge, at the height of each line's end, none over another.

Colours are those that people with any kind of colour blindness can distinguish (M. Okabe and K. Ito, 2008), without the
yellow. More lines than colours differ by their markers, too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.record.run_directory import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X<>ph"
DOTS_PER_INCH = 150
LINE_POINTS = 11.5  # height of a label


@dataclass(frozen=True, slots=True)
class LineLabel:
    """A label: its text and colour, and the point of its line in data coordinates."""

    text: str
    colour: str
    x: float
    y: float


def look(number: int) -> tuple[str, str]:
    """Colour and marker of the line of this number, from 0."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def spread(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Heights near those wanted, in the same order, at least `distance` apart, and within low..high if all fit."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    found = [0.0] * len(wanted)
    below = low - distance
    for index in order:
        below = found[index] = max(wanted[index], below + distance)
    above = high + distance
    for index in reversed(order):
        above = found[index] = min(found[index], above - distance)
    return found


def label_lines(axes: Axes, labels: Sequence[LineLabel], *, size: float = 8.0) -> None:
    """Write the labels to the right of the axes, each with a thin line to its point. Limits must be final."""
    box = axes.get_window_extent()
    heights = [axes.transData.transform((label.x, label.y))[1] for label in labels]
    pixels = LINE_POINTS / 72 * axes.figure.dpi
    placed = spread(heights, pixels, box.y0 + pixels / 2, box.y1 - pixels / 2)
    for label, height in zip(labels, placed, strict=True):
        axes.annotate(
            label.text, xy=(label.x, label.y), xycoords="data", xytext=(1.02, (height - box.y0) / box.height),
            textcoords="axes fraction", color=label.colour, fontsize=size, va="center", ha="left",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0,
                        "shrinkB": 3},
        )  # fmt: skip


def save(figure: Figure, png: Path) -> None:
    """Write the picture as PNG and, beside it, as SVG whose text stays text.

    Raises:
        RecordingError: a file cannot be written.
    """
    import matplotlib  # noqa: PLC0415 - loads slowly

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dtoee-testbed"}):
        for path in (png, png.with_suffix(".svg")):
            content = io.BytesIO()
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(content, format=path.suffix[1:], dpi=DOTS_PER_INCH, metadata=metadata)
            replace_file(path, content.getvalue())
