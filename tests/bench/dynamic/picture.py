"""The picture of the dynamic suite in docs/: the lead of dto-ee over every policy, in every scenario.

`python -m tests.bench --render` draws it from the kept result of `dynamic.policies`.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testbed.cells.line_picture import COLOURS
from tests.bench.dynamic.policies import FIXED, OWN
from tests.bench.dynamic.scenarios import SCENARIOS
from tests.bench.results import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from tests.bench.table import Row

PICTURE = Path(__file__).parents[3] / "docs" / "dynamic.svg"
MARKERS = "osD^vP*Xph8d"  # no arrows: these show that a lead lies beyond the axis
SIZE_INCHES = (9.5, 6.0)
SPREAD = 0.7  # height of a scenario's band that its policies share
PANELS = (
    (FIXED, "mean delay, less than that of", (-20.0, 60.0), "less mean delay than this policy [%], thresholds 0.8"),
    (OWN, "utility, lead over", (-60.0, 180.0), "utility above that of this policy [ms], own thresholds"),
)


class Lead(NamedTuple):
    """The lead of dto-ee over one policy in one scenario, with both ends of its interval."""

    scenario: str
    policy: str
    mean: float
    low: float
    high: float


def leads(rows: Sequence[Row], comparison: str, what: str) -> list[Lead]:
    """The leads of one comparison, by scenario."""
    found = []
    for scenario in SCENARIOS:
        begins = f"{scenario}, {comparison}: {what} "
        for entry in rows:
            if entry["name"].startswith(begins):
                policy, value = entry["name"].removeprefix(begins), float(entry["value"])
                low, high = (float(entry.get(end, value)) for end in ("low", "high"))
                found.append(Lead(scenario, policy, value, low, high))
    return found


def svg(rows: Sequence[Row]) -> str:
    """The picture as SVG, with its texts as text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dynamic", "font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        found = [leads(rows, comparison, what) for comparison, what, _, _ in PANELS]
        policies = list(dict.fromkeys(lead.policy for each in found for lead in each))
        axes = figure.subplots(1, 2, sharey=True)
        for panel, each, (_, _, limits, title) in zip(axes, found, PANELS, strict=True):
            _draw(panel, each, policies, limits)
            panel.set_xlabel(title)
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return re.sub(r"[ \t]+$", "", content.getvalue(), flags=re.MULTILINE)


def _draw(axes: Axes, found: Sequence[Lead], policies: Sequence[str], limits: tuple[float, float]) -> None:
    names = [name for name in SCENARIOS if any(lead.scenario == name for lead in found)]
    axes.set_xlim(*limits)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.axvline(0.0, color="black", linewidth=0.8)
    for edge in range(1, len(names)):
        axes.axhline(edge - 0.5, color="0.85", linewidth=0.6)
    for index, policy in enumerate(policies):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        y_shift = SPREAD * (index / max(1, len(policies) - 1) - 0.5)
        axes.plot([], [], linestyle="", marker=marker, color=colour, markersize=5, label=policy)
        for lead in found:
            if lead.policy != policy:
                continue
            y, beyond = names.index(lead.scenario) + y_shift, not limits[0] <= lead.mean <= limits[1]
            if beyond:  # an arrow at the edge
                at, arrow = (limits[1], ">") if lead.mean > limits[1] else (limits[0], "<")
                axes.plot([at], [y], marker=arrow, color=colour, markersize=5, clip_on=False)
                continue
            axes.errorbar(
                [lead.mean], [y], xerr=[[lead.mean - lead.low], [lead.high - lead.mean]], fmt=marker, color=colour,
                markersize=4, elinewidth=0.8,
            )  # fmt: skip


def render() -> None:
    """Draw the picture from the kept result."""
    PICTURE.write_text(svg(load("dynamic.policies").rows), encoding="utf-8")
