"""The block of README about the frontiers of all policies, and their picture in docs/, from the kept result."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from testbed.cells.intervals import Estimate
from testbed.cells.line_picture import Axis, Line, Panel, Point, draw_lines
from testbed.frontier.curve import undominated
from testbed.frontier.pareto_points import PLAYED
from tests.bench.frontier import CASES, FIRST
from tests.bench.markdown import paragraph, table
from tests.bench.results import Result, load
from tests.bench.table import Row

PICTURE = Path(__file__).parents[2] / "docs" / "frontier.svg"
QUICKER, MORE_ACCURATE = "delay less at equal accuracy", "accuracy more at equal delay"
STEPS = 60
NOTHING = "-"
DRAWN = (FIRST, "dto-ee-static", "shortest-expected-delay", "computing-first", "uniform")
"""The policies of the picture: more lines are not legible. The table has all."""


def frontiers(result: Result) -> list[str]:
    """By policy: how much less delay dto-ee has at equal accuracy, and how much more accurate it is at equal delay."""
    rivals = _rivals(result)
    heads = [f"{case.name}: {what}" for case in CASES for what in ("delay, %", "accuracy, points")]
    lines = [[other, *(_cell(result, case.name, other, what) for case in CASES for what in (QUICKER, MORE_ACCURATE))]
             for other in (*rivals, PLAYED)]  # fmt: skip
    seeds = result.value(f"{CASES[0].name}: seeds")
    duration_s = result.value(f"{CASES[0].name}: tasks arrive for")
    return [
        *paragraph(" ".join(_sentence(result, case.name, rivals) for case in CASES)), "",
        *table(("dto-ee against", *heads), [line for line in lines if set(line[1:]) != {NOTHING}]), "",
        *paragraph(
            f"Simulated, {seeds:.0f} seeds (each another city), {duration_s:.0f} s of tasks a run. The first column of "
            "a network has by how much the mean delay of dto-ee is shorter at equal accuracy, the second by how much "
            "it is more accurate at equal delay, over the range that both reach, with 95 % intervals. A dash, or "
            "a policy that is left out: the ranges do not overlap on every seed, or it is overloaded. The intervals "
            "know the seeds, and not the gaps between the few points of a curve, which move a lead by about two "
            "percentage points."
        ),
    ]  # fmt: skip


def _rivals(result: Result) -> list[str]:
    policies = dict.fromkeys(entry["policy"] for entry in result.rows if "policy" in entry)
    return [policy for policy in policies if policy != FIRST]


def _row(result: Result, case: str, other: str, what: str) -> Row | None:
    name = f"{case}: against {other}: {what}"
    return next((entry for entry in result.rows if entry["name"] == name), None)


def _cell(result: Result, case: str, other: str, what: str) -> str:
    entry = _row(result, case, other, what)
    return NOTHING if entry is None else f"{entry['value']:.1f}{_ends(entry)}"


def _ends(entry: Row) -> str:
    return f" [{entry['low']:.1f}, {entry['high']:.1f}]" if "low" in entry else ""


def _sentence(result: Result, case: str, rivals: Sequence[str]) -> str:
    """dto-ee against the policy that comes closest to it at equal accuracy."""
    found = {other: entry for other in rivals if (entry := _row(result, case, other, QUICKER)) is not None}
    if not found:
        return f"On the {case}, no other policy has a range of accuracies in common with dto-ee on every seed."
    other, entry = min(found.items(), key=lambda pair: float(pair[1]["value"]))
    low, high = (result.value(f"{case}: against {other}: accuracies compared, {end}") for end in ("from", "to"))
    word, sign = ("quicker", 1.0) if entry["value"] >= 0 else ("slower", -1.0)
    between = (
        " [{:.1f}, {:.1f}]".format(*sorted(sign * entry[end] for end in ("low", "high"))) if "low" in entry else ""
    )
    span = f"{low * 100:.1f} to {high * 100:.1f} %"
    return (
        f"On the {case}, dto-ee is at equal accuracy ({span}) {abs(entry['value']):.1f} %{between} {word} "
        f"than {other}, the closest other policy."
    )


def panels(rows: Sequence[Row]) -> list[Panel]:
    """A panel for each network: a line for each policy that is drawn, through the points that no other of its beats."""
    found = []
    for case in CASES:
        here = [entry for entry in rows if entry.get("case") == case.name]
        lines = [_line(policy, number, here) for number, policy in enumerate(DRAWN)]
        reached = [float(entry["value"]) for entry in here if entry["name"].endswith(": accuracy")]
        bounds = {entry["theta_s"]: entry["value"] for entry in here if "theta_s" in entry}
        found.append(Panel((*lines, *_bound(bounds, reached)), case.name))
    return found


def _line(policy: str, number: int, here: Sequence[Row]) -> Line:
    mine = [entry for entry in here if entry.get("policy") == policy]
    accuracy = [entry for entry in mine if entry["name"].endswith(": accuracy")]
    delay = [entry for entry in mine if entry["name"].endswith(": mean delay")]
    if not accuracy:
        return Line(policy, (), number)
    kept = undominated(np.array([each["value"] for each in accuracy]), np.array([each["value"] for each in delay]))
    return Line(policy, tuple(Point(_estimate(delay[index]), _estimate(accuracy[index])) for index in kept), number)


def _estimate(entry: Row) -> Estimate:
    return Estimate(entry["value"], entry.get("low"), entry.get("high"))


def _bound(bounds: Mapping[float, float], reached: Sequence[float]) -> list[Line]:
    if not bounds or not reached:
        return []
    points = []
    for accuracy in np.linspace(min(reached), max(reached), STEPS).tolist():
        least_ms = max(theta_s * accuracy - utility_s for theta_s, utility_s in bounds.items()) * 1e3
        if least_ms > 0:
            points.append(Point(least_ms, accuracy))
    return [Line("bound on plans (model)", tuple(points), bound=True)]


def render() -> None:
    """Draw the picture from the kept result."""
    with tempfile.TemporaryDirectory() as folder:
        _, svg = draw_lines(
            panels(load("frontier").rows), Axis("mean delay [ms]", logarithmic=True), Axis("accuracy [%]", 1e2),
            Path(folder) / "frontier", remark="means and 95 % intervals over the seeds",
        )  # fmt: skip
        PICTURE.write_text(svg.read_text(encoding="utf-8"), encoding="utf-8")
