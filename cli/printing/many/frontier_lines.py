"""A frontier as tables and sentences on standard output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cli.printing.columns import Lines, print_table
from cli.printing.many.comparison_lines import estimated
from testbed.wording import interval, number

if TYPE_CHECKING:
    from testbed.cells.intervals import Estimate
    from testbed.frontier import Frontier
    from testbed.frontier.frontier_result import FrontierPoint
    from testbed.frontier.leads import EqualAccuracy, EqualCost
    from testbed.record.run_figures import Figure

FORMS = {"time": ".0f", "share": ".1f", "count": ".1f", "energy": ".3g", "number": ".3g"}


def print_frontier(frontier: Frontier) -> None:
    """Print the points, the comparisons as sentences, and the notes."""
    print_table(point_lines(frontier), left=(0, 1, 2))
    for sentence in sentences(frontier):
        click.echo(sentence)
    if frontier.bounds:
        click.echo(
            "bound: in the model of `optimum`, no plan of fixed shares is faster at this accuracy; "
            "a policy that looks at queues may be"
        )
    for note in frontier.notes:
        click.echo(f"note: {note}")
    click.echo(f"files: {frontier.directory}")


def point_lines(frontier: Frontier) -> Lines:
    """Table of all points; `*` is on its policy's frontier, `**` on that of all policies."""
    from testbed.frontier.frontier_picture import unit_of
    from testbed.record.run_figures import BY_NAME

    figure = BY_NAME[frontier.figure]
    unit, factor = unit_of(figure.kind)
    lines = [["policy", "at", "", f"{figure.title} {unit}".strip(), "accuracy %"]]
    lines[0] += [f"bound {unit}"] * bool(frontier.bounds)
    for point in frontier.points:
        form = FORMS[figure.kind]
        cost = "overloaded" if point.overloaded_runs else estimated(point.cost, form, factor)
        cells = [point.policy, _value(point), _mark(point), cost, estimated(point.accuracy, ".1f", 1e2)]
        lines.append([*cells, *[number(point.bound, form, factor)] * bool(frontier.bounds)])
    return lines


def _value(point: FrontierPoint) -> str:
    if point.parameter is None:
        return ""
    return f"{point.parameter} {point.value:g}{' s' * (point.parameter == 'theta')}"


def _mark(point: FrontierPoint) -> str:
    return "**" if point.on_best else "*" if point.on_frontier else ""


def sentences(frontier: Frontier) -> Iterator[str]:
    """The first policy against each other one, in words."""
    from testbed.record.run_figures import BY_NAME

    figure, first = BY_NAME[frontier.figure], frontier.policies[0]
    for lead in frontier.leads:
        if lead.at_equal_accuracy is not None:
            yield _at_equal_accuracy(first, lead.other, lead.at_equal_accuracy, figure)
        if lead.at_equal_cost is not None:
            yield _at_equal_cost(first, lead.other, lead.at_equal_cost, figure)
        if lead.trouble:
            yield f"{first} against {lead.other}: {lead.trouble}"


def _at_equal_accuracy(first: str, other: str, found: EqualAccuracy, figure: Figure) -> str:
    from testbed.frontier.frontier_picture import unit_of

    where = f"At equal accuracy ({_span(found.low, found.high, '.1f', 1e2, '%')}), {first}"
    quick = figure.path.startswith("delay_s")
    if found.reduction is not None:
        what = _signed(found.reduction, "quicker", "slower") if quick else _signed(
            found.reduction, f"lower in {figure.title}", f"higher in {figure.title}")  # fmt: skip
        return f"{where} is {_sized(found.reduction, '.1f', 1e2, ' %')} {what} than {other}."
    unit, factor = unit_of(figure.kind)
    what = _signed(found.difference, f"less {figure.title}", f"more {figure.title}")
    return f"{where} has {_sized(found.difference, '.3g', factor, f' {unit}'.rstrip())} {what} than {other}."


def _at_equal_cost(first: str, other: str, found: EqualCost, figure: Figure) -> str:
    from testbed.frontier.frontier_picture import unit_of

    unit, factor = unit_of(figure.kind)
    what = "delay" if figure.path.startswith("delay_s") else figure.title
    where = f"At equal {what} ({_span(found.low, found.high, FORMS[figure.kind], factor, unit)})"
    more = _signed(found.gain, "more accurate", "less accurate")
    return f"{where}, {first} is {_sized(found.gain, '.1f', 1e2, ' points')} {more} than {other}."


def _signed(one: Estimate, ahead: str, behind: str) -> str:
    return ahead if one.mean >= 0 else behind


def _sized(one: Estimate, form: str, factor: float, unit: str) -> str:
    """The size of a difference with its interval, both turned around if it is below zero: `12.5 % [11.9, 13.0]`."""
    low, high = (one.low, one.high) if one.mean >= 0 else (one.high, one.low)
    sign = 1.0 if one.mean >= 0 else -1.0
    turned = interval(0.0, None if low is None else sign * low, None if high is None else sign * high, form, factor)
    _, _, ends = turned.partition(" ")
    return f"{number(abs(one.mean), form, factor)}{unit}{ends and ' '}{ends}"


def _span(low: float, high: float, form: str, factor: float, unit: str) -> str:
    ends = [number(low, form, factor), number(high, form, factor)]
    text = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    return f"{text} {unit}".rstrip()
