"""The picture of a capacity: the figure of an assertion over the load, with its bound; a line for each policy.

A line joins the means at the loads that ran on all seeds. With a single assertion, a point on the bound shows the
capacity with its interval.
"""

from pathlib import Path

from testbed.capacity.capacity_result import Capacity, PolicyCapacity
from testbed.cells.intervals import Estimate, estimate
from testbed.cells.line_picture import Axis, Line, Panel, Point, draw_lines
from testbed.record.run_figures import FIGURES, Kind
from testbed.wording import counted, interval

WIDE_SPREAD = 6.0  # quotient of figures above which their axis is logarithmic
UNITS: dict[Kind, tuple[str, float]] = {"time": ("ms", 1e3), "share": ("%", 1e2), "energy": ("J", 1.0)}


def draw(capacity: Capacity, path: Path) -> list[Path]:
    """Write a picture for each assertion on a number; return the files.

    Args:
        capacity: the capacities.
        path: the files without their endings .png and .svg; the second assertion adds -2, the third one -3.

    Raises:
        RecordingError: a file cannot be written.
    """
    files: list[Path] = []
    for number, bound in enumerate(capacity.bounds):
        if bound is None:
            continue
        place = path if number == 0 else path.with_name(f"{path.name}-{number + 1}")
        files += _draw_one(capacity, number, bound, place)
    return files


def _draw_one(capacity: Capacity, number: int, bound: float, path: Path) -> tuple[Path, Path]:
    title, (unit, factor) = _shown(capacity.paths[number])
    lines = [line for place, one in enumerate(capacity.table) for line in _policy(capacity, one, number, bound, place)]
    loads = [probe.load for probe in capacity.probes] or [1.0]
    limit = Line(capacity.objective[number], (Point(min(loads), bound), Point(max(loads), bound)), bound=True)
    values = [_middle(point.y) for line in lines for point in line.points if point.y is not None] + [bound]
    wide = min(values) > 0 and max(values) > WIDE_SPREAD * min(values)
    seeds = counted(len(capacity.seeds), "seed")
    remark = "mean and 95 % interval; loads that all seeds ran"
    if any(not line.joined for line in lines):
        remark += ", and the capacity"
    return draw_lines(
        [Panel((*lines, limit))],
        Axis("load, as a factor on the tasks that devices offer", logarithmic=True),
        Axis(f"{title} [{unit}]" if unit else title, factor, logarithmic=wide),
        path,
        title=f"{capacity.topology}: {capacity.mode}, {capacity.duration_s:g} s, {seeds}",
        remark=remark,
    )


def _policy(capacity: Capacity, one: PolicyCapacity, number: int, bound: float, place: int) -> list[Line]:
    by_load: dict[float, list[float]] = {}
    for probe in capacity.probes:
        if probe.policy == one.policy and (value := probe.values[number]) is not None:
            by_load.setdefault(probe.load, []).append(value)
    points = [
        Point(load, estimate(values)) for load, values in by_load.items() if len(values) == len(capacity.seeds)
    ]  # fmt: skip
    lines = [Line(one.policy, tuple(sorted(points, key=lambda point: _middle(point.x))), place)]
    if one.load is not None and len(capacity.objective) == 1:
        label = f"x{interval(one.load.mean, one.load.low, one.load.high, '.3g')}"
        lines.append(Line(label, (Point(one.load, bound),), place, joined=False))
    return lines


def _middle(value: float | Estimate) -> float:
    return value.mean if isinstance(value, Estimate) else value


def _shown(path: str) -> tuple[str, tuple[str, float]]:
    """Name, unit and factor of the figure at a path in summary.json."""
    known = [figure for figure in FIGURES if figure.path == path]
    return (known[0].title, UNITS.get(known[0].kind, ("", 1.0))) if known else (path, ("", 1.0))
