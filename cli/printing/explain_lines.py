"""Explanations for people: the bottleneck in words, tables of places and groups, and the way of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cli.printing.columns import LABEL_WIDTH, Lines, print_lines, print_table
from cli.printing.parts_bar import bar_of_parts, legend_of_parts
from testbed.breakdown.parts import PART_WORDS
from testbed.wording import clock, counted, milliseconds, number, percent, rough_percent, seconds

if TYPE_CHECKING:
    from testbed.explain.explanation import Explanation, WaitingSpan
    from testbed.explain.groups import Group
    from testbed.explain.places import WaitingPlace
    from testbed.explain.task_way import TaskWay

TEXT_WIDTH = 80 - LABEL_WIDTH
MOST_PLACES, MOST_DEVICES, MOST_SERVERS, MOST_SLOTS = 8, 5, 12, 12
LEAST_WAIT_S = 5e-5  # a place where tasks waited less on average is left out of the table
LEAST_PART_S = 5e-4  # of a group; a column without a larger part is left out
TENTHS_BELOW_S = 0.01
LONGEST_WORDS = {
    "service": "service",
    "transfer": "transfer over idle links, propagation included",
    "return": "the way back of results",
}
SHORT_NAMES = {"machine": "late", "link_wait": "link wait"}


def print_explanation(explanation: Explanation) -> None:
    """Print an explanation to standard output."""
    print_lines(explanation_lines(explanation))
    print()
    if places := place_lines(explanation.places):
        print_table(places, title="Where tasks waited (ms a task, over all counted tasks)", left=(0,))
    groups = explanation.groups
    print_table(group_lines("to stage", groups.stages), title="From sending to the end of service, by stage")
    if len(groups.servers) <= MOST_SERVERS:
        print_table(group_lines("to server", groups.servers), title="From sending to the end of service, by server")
    print_table(group_lines("exit", groups.exits), title="Delay by exit")
    devices = groups.devices[:MOST_DEVICES]
    if len(groups.devices) > 1:
        which = "the worst first" if len(groups.devices) == len(devices) else f"the worst {len(devices)}"
        print_table(group_lines("device", devices), title=f"Delay by device, {which} of {len(groups.devices)}")
    if len(groups.slots) > 1:
        print_table(group_lines("from s", _every(groups.slots)), title="Delay over time, by the slot of creation")


def explanation_lines(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """Lines (label, text) of an explanation; a line that continues the one above has an empty label."""
    kind = ", simulated" if explanation.simulated else ""
    yield "Run", f"{explanation.topology} under {explanation.policy}{kind}"
    lost = f"; {counted(explanation.lost, 'lost task')} not counted" if explanation.lost else ""
    yield "Delay", f"mean {_ms(explanation.mean_s)} over {counted(explanation.tasks, 'task')}{lost}"
    yield "", bar_of_parts(explanation.parts_s, TEXT_WIDTH)
    for line in legend_of_parts(explanation.parts_s, TEXT_WIDTH):
        yield "", line
    if explanation.unsplit:
        yield "", f"{counted(explanation.unsplit, 'task')} left out: an earlier version did not record all offers"
    label = "Bottleneck"
    for sentence in verdict_sentences(explanation):
        for line in _wrapped(sentence):
            yield label, line
            label = ""
    fairness = explanation.fairness
    if isinstance(fairness["devices"], int) and fairness["devices"] > 1:
        jain, worst = fairness["jain"], fairness["worst_over_mean"]
        assert isinstance(jain, float)
        assert isinstance(worst, float)
        words = f"worst {fairness['worst_device']}, {worst:.2f} x the devices' mean"
        yield "Fairness", f"Jain's index {jain:.3f} over {fairness['devices']} devices;"
        yield "", words
    yield "Files", str(explanation.run_directory)


def verdict_sentences(explanation: Explanation) -> Iterator[str]:
    """Sentences that name the bottleneck, what it costs, what more of it would save, and when it happened."""
    place = explanation.bottleneck
    if place is None:
        assert explanation.longest is not None
        part_s = explanation.parts_s[explanation.longest]
        yield (
            f"none: the largest part of the delay is {LONGEST_WORDS[explanation.longest]}, {_ms(part_s)} "
            f"({rough_percent(part_s / explanation.mean_s)}), and tasks waited nowhere for long."
        )
        if explanation.places and (first := explanation.places[0]).waited_s >= LEAST_WAIT_S:
            yield f"Longest waiting: {_name(first)}, {_ms(first.waited_s)} a task ({rough_percent(first.share)})."
        return
    yield from place_sentences(place)
    if explanation.span is not None:
        yield _when(explanation.span)


def place_sentences(place: WaitingPlace) -> Iterator[str]:
    """Sentences on a place that is the bottleneck."""
    waited = f"{_ms(place.waited_s)} a task on average, {rough_percent(place.share)} of the mean delay"
    busy = f", busy {percent(place.busy, '.0f')} of the time" if place.busy is not None else ""
    match place.kind:
        case "server":
            yield f"{_name(place)}{busy}. Tasks queued there for {waited}."
            yield f"10 % more capacity would save {_ms(place.saves_s)} a task{_price(place)}."
        case "link":
            yield f"{_name(place)}{busy}. Messages waited there for {waited}."
            if place.loses and 2 * place.repairs_s > place.waited_s:
                yield f"{_ms(place.repairs_s)} of it come from frames that the link loses; a higher rate hardly helps."
            elif 2 * place.repairs_s > place.waited_s:
                yield f"{_ms(place.repairs_s)} of it are no queue of tasks: jitter, other messages, or this machine."
            if place.retries_s >= LEAST_WAIT_S:
                yield f"{_ms(place.retries_s)} of it are retries: messages waited for so long that senders gave up."
            yield f"10 % more rate would save {_ms(place.saves_s)} a task{_price(place)}."
        case "receiver":
            yield f"retries: {_name(place)} did not answer. Tasks that were offered there waited {waited}."
            yield f"{counted(place.tasks, 'handover')} came to nothing or waited until it was up."
        case "machine":
            yield f"this machine was late: {waited}. The fidelity in summary.json says why."


def _price(place: WaitingPlace) -> str:
    return "" if place.price_s is None else f" (by DTO-EE's price of load: {_ms(place.price_s)})"


def _when(span: WaitingSpan) -> str:
    text = f"{percent(span.share, '.0f')} of this waiting began between {span.from_s:g} and {span.until_s:g} s"
    return f"{text}: {'; '.join(span.events)}." if span.events else f"{text}."


def _name(place: WaitingPlace) -> str:
    match place.kind:
        case "server":
            return f"server {place.name[0]}"
        case "link":
            return f"link {place.name[0]} -> {place.name[1]}"
        case "receiver":
            return f"receiver {place.name[0]}"
        case "machine":
            return "this machine"


def place_lines(places: Sequence[WaitingPlace]) -> Lines:
    """Table of the places with the longest waiting; empty if tasks waited nowhere."""
    shown = [place for place in places if place.waited_s >= LEAST_WAIT_S][:MOST_PLACES]
    if not shown:
        return []
    lines = [["place", "waited", "of delay %", "working", "busy %", "+10 % saves", "by price"]]
    for place in shown:
        works = place.kind in ("server", "link")
        lines.append(
            [
                _name(place),
                number(place.waited_s, ".1f", 1e3),
                number(place.share, ".1f", 1e2),
                number(place.working_s if works else None, ".1f", 1e3),
                number(place.busy, ".0f", 1e2),
                number(place.saves_s if works else None, ".1f", 1e3),
                number(place.price_s, ".1f", 1e3),
            ]
        )
    return lines


def group_lines(head: str, groups: Sequence[Group]) -> Lines:
    """Table of the mean parts of groups [ms]; parts that no group has are left out."""
    names = [name for name in groups[0].parts_s if any(group.parts_s[name] >= LEAST_PART_S for group in groups)]
    lines = [[head, "tasks", "mean ms", *(SHORT_NAMES.get(name, name) for name in names)]]
    for group in groups:
        parts = (number(group.parts_s[name], ".0f", 1e3) for name in names)
        lines.append([group.name, str(group.tasks), number(group.mean_s, ".0f", 1e3), *parts])
    return lines


def _every(slots: Sequence[Group]) -> Sequence[Group]:
    """At most MOST_SLOTS of the slots, evenly spread."""
    step = -(-len(slots) // MOST_SLOTS)
    return slots[::step]


def print_way(way: TaskWay) -> None:
    """Print the way of a task to standard output."""
    task = way.task
    head = f"{task.id} of {task.device}, created at {clock(task.created_s)} ({task.created_s:.3f} s)"
    if task.delay_s is None:
        print_lines([("Task", head), ("", f"{task.status}: {task.reason}")])
        return
    mean = f"; the mean is {_ms(way.mean_s)}" if way.mean_s is not None else ""
    print_lines([("Task", head), ("", f"left at stage {task.exit_stage} after {_ms(task.delay_s)}{mean}")])
    if not way.steps:
        print_lines([("", "its delay cannot be split: an earlier version did not record its offers")])
        return
    print()
    print_table(way_lines(way), left=(2, 3, 4))


def way_lines(way: TaskWay) -> Lines:
    """Table of the steps of a task's way, with its end."""
    lines = [["at s", "took ms", "part", "where", ""]]
    for step in way.steps:
        where = " -> ".join(step.where)
        lines.append([f"{step.at_s:.3f}", f"{step.took_s * 1e3:.1f}", PART_WORDS[step.part], where, step.note])
    total_s = sum(step.took_s for step in way.steps)
    end = seconds(way.task.completed_s).removesuffix(" s")
    return [*lines, [end, f"{total_s * 1e3:.1f}", "delay", way.task.device, "result"]]


def _ms(time_s: float) -> str:
    return milliseconds(time_s, ".0f" if time_s >= TENTHS_BELOW_S else ".1f")


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, TEXT_WIDTH)
