"""The pictures of a sweep: a figure against a key, one line a policy.

If other keys vary, too, each of their combinations has a panel. With a single policy, the values of the next key are
lines instead. A sample has points without lines: its other keys differ from point to point.

Decision 106: lines are policies, panels are values of other keys (docs/decisions/106-sweeps-of-cells.md).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_agent.errors import InputError
from node_agent.suggest import advice
from testbed.cells.intervals import Estimate
from testbed.cells.line_picture import Axis, Line, Panel, Point, draw_lines
from testbed.record.run_directory import folder_name
from testbed.record.run_figures import BY_NAME, Figure
from testbed.sweep.axis import KeyAxis
from testbed.sweep.design import known_key
from testbed.sweep.sweep_result import Sweep, SweepPoint, SweptKey
from testbed.wording import counted

DEFAULT_FIGURES = ("mean", "accuracy")
MOST_PANELS = 12
MOST_TICKS = 10  # at the values themselves
WIDE_VALUES = 20.0  # factor between the values of a key above which its axis is logarithmic
WIDE_DELAYS = 8.0  # the same for times


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: a figure of runs, by short name, against a key."""

    key: str
    figure: str

    @property
    def name(self) -> str:
        """The name of its files, without ending."""
        return f"sweep-{folder_name(self.key.replace('*', 'all'))}-{self.figure}"


def default_plots(axes: Sequence[KeyAxis]) -> list[Plot]:
    """Mean delay and accuracy against the first key that varies; nothing if none does."""
    varying = [axis for axis in axes if len(axis.values) > 1 or axis.interval is not None]
    return [Plot(varying[0].key, figure) for figure in DEFAULT_FIGURES] if varying else []


def parse_plot(text: str, axes: Sequence[KeyAxis]) -> Plot:
    """Read KEY:FIGURE, or FIGURE for the first key. Raises InputError for an unknown key or figure."""
    key, _, figure = text.strip().rpartition(":")
    if figure not in BY_NAME:
        raise InputError(f"{text}: there is no figure {figure!r}", hint=advice(figure, BY_NAME))
    return Plot(known_key(key, axes).key if key else axes[0].key, figure)


def draw_plots(sweep: Sweep, plots: Sequence[Plot]) -> tuple[str, ...]:
    """Write the pictures into the directory of a sweep, each as PNG and SVG; return the names of the files.

    A picture that would be empty is left out.

    Raises:
        RecordingError: a file cannot be written.
    """
    names: list[str] = []
    for plot in dict.fromkeys(plots):
        key = next(key for key in sweep.keys if key.key == plot.key)
        figure = BY_NAME[plot.figure]
        panels, left_out = _panels(sweep, key, figure)
        points = [point for panel in panels for line in panel.lines for point in line.points]
        if all(point.y is None and not point.crossed for point in points):
            continue
        files = draw_lines(
            panels,
            _key_axis(key, [point.x for point in points if isinstance(point.x, float)]),
            _figure_axis(figure, [_mean(point.y) for point in points if point.y is not None]),
            sweep.directory / plot.name,
            title=_title(sweep, key),
            remark=_remark(sweep, points, left_out),
        )
        names += [file.name for file in files]
    return tuple(names)


def _panels(sweep: Sweep, key: SweptKey, figure: Figure) -> tuple[list[Panel], int]:
    """The panels, and the number of those that are left out."""
    if sweep.sampled is not None:
        lines = [
            Line(policy, tuple(_points(sweep.points, key, policy, figure)), number, joined=False)
            for number, policy in enumerate(sweep.policies)
        ]
        return [Panel(tuple(lines))], 0
    others = [each for each in sweep.keys if each.key != key.key and len(each.stated) > 1]
    by_lines = others[:1] if len(sweep.policies) == 1 else []
    by_panels = others[len(by_lines) :]
    combinations = list(itertools.product(*(each.stated for each in by_panels)))
    panels: list[Panel] = []
    for values in combinations[:MOST_PANELS]:
        wanted = {each.key: value for each, value in zip(by_panels, values, strict=True)}
        title = ", ".join(f"{name} {value}" for name, value in wanted.items())
        panels.append(Panel(tuple(_lines(sweep, key, figure, by_lines, wanted)), title))
    return panels, max(0, len(combinations) - MOST_PANELS)


def _lines(
    sweep: Sweep, key: SweptKey, figure: Figure, by_lines: Sequence[SweptKey], wanted: Mapping[str, str]
) -> Iterator[Line]:
    for number, policy in enumerate(sweep.policies):
        if not by_lines:
            yield Line(policy, tuple(_points(_at(sweep, wanted), key, policy, figure)), number)
        for place, value in enumerate(by_lines[0].stated if by_lines else ()):
            chosen = _at(sweep, {**wanted, by_lines[0].key: value})
            label = f"{by_lines[0].key} {value}"
            yield Line(label, tuple(_points(chosen, key, policy, figure)), place)


def _at(sweep: Sweep, wanted: Mapping[str, str]) -> list[SweepPoint]:
    return [point for point in sweep.points if all(point.stated[key] == value for key, value in wanted.items())]


def _points(points: Sequence[SweepPoint], key: SweptKey, policy: str, figure: Figure) -> Iterator[Point]:
    """The points of a line from left to right; without a mean where the policy has none."""
    placed = [(_place(key, point), point) for point in points]
    for place, point in sorted(placed, key=lambda each: each[0]):
        one = next(each for each in point.table if each.policy == policy)
        estimate = one.figures.get(figure.name)
        doubtful = bool(one.unheld_runs or point.failed.get(policy) or one.runs < point.runs)
        yield Point(place, estimate, hollow=doubtful, crossed=one.overloaded)


def _place(key: SweptKey, point: SweepPoint) -> float:
    value = point.values[key.key]
    return float(value) if isinstance(value, int | float) else float(key.stated.index(point.stated[key.key]))


def _key_axis(key: SweptKey, places: Sequence[float]) -> Axis:
    if key.unit is None:
        words = tuple((float(number), text) for number, text in enumerate(dict.fromkeys(key.stated)))
        return Axis(key.key, ticks=words)
    unit = {"x": ", factor", "": ""}.get(key.shown_unit, f" [{key.shown_unit}]")
    label = "load factor" if key.key == "load" else f"{key.key}{unit}"
    if places and 0 < WIDE_VALUES * min(places) <= max(places):
        return Axis(label, key.shown_factor, logarithmic=True)
    values = sorted(set(places))
    gaps = [high - low for low, high in itertools.pairwise(values)]
    if len(values) > MOST_TICKS or not gaps or min(gaps) * MOST_TICKS < values[-1] - values[0]:
        return Axis(label, key.shown_factor)
    return Axis(label, key.shown_factor, tuple((each, f"{each * key.shown_factor:g}") for each in values))


def _figure_axis(figure: Figure, means: Sequence[float]) -> Axis:
    match figure.kind:
        case "time":
            lower = figure.better == "lower"  # a delay; a utility may be negative
            wide = lower and bool(means) and 0 < WIDE_DELAYS * min(means) <= max(means)
            short = lower and max(means, default=0.0) < 10.0
            return Axis(f"{figure.title} [{'ms' if short else 's'}]", 1e3 if short else 1.0, logarithmic=wide)
        case "share":
            return Axis(f"{figure.title} [%]", 1e2)
        case "energy":
            return Axis(f"{figure.title} [J]")
        case _:
            return Axis(figure.title)


def _title(sweep: Sweep, key: SweptKey) -> str:
    fixed = [f"{each.key} {each.stated[0]}" for each in sweep.keys if each.key != key.key and len(each.stated) == 1]
    one = [sweep.policies[0]] if len(sweep.policies) == 1 else []
    return ", ".join([sweep.topology, *one, *sweep.overrides, *fixed, sweep.mode])


def _remark(sweep: Sweep, points: Sequence[Point], left_out: int) -> str:
    repeats = len(sweep.seeds)
    said = [f"mean and 95 % interval of {repeats} repeats" if repeats > 1 else "one repeat, no intervals"]
    if any(point.crossed and point.y is None for point in points):
        said.append("× overloaded, no mean")
    if any(not point.crossed and point.y is None for point in points):
        said.append("gaps: no run counts")
    if any(point.hollow and point.y is not None for point in points):
        said.append("hollow: not all runs count")
    if left_out:
        said.append(f"{counted(left_out, 'further panel')} not shown")
    return "; ".join(said)


def _mean(value: float | Estimate) -> float:
    return value.mean if isinstance(value, Estimate) else value
