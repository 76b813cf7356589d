"""The progress of a search for placements on standard error, and its result for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from cli.printing.columns import Lines, print_lines, print_table
from testbed.wording import counted, milliseconds, percent, seconds

if TYPE_CHECKING:
    from rich.status import Status

    from testbed.optimum.bound import PlanFigures
    from testbed.optimum.task_replay import Played
    from testbed.placement.placing import Evaluated, Placement
    from testbed.placement.progress import PlacementObserver, RankedCandidate
    from testbed.placement.rewriting import Rewritten

PLAIN_EVERY_S = 5.0
DRAWN_EVERY_S = 0.1
MOVES_SHOWN = 3
ENDED = {
    "nodes": "the search ended at its bound on computed networks",
    "time": "the search ended at --time-limit",
    "interrupted": "interrupted",
}


@contextmanager
def placing(stream: TextIO | None = None) -> Iterator[PlacementObserver]:
    """An observer for the time of the `with` block: a line that changes on a terminal, else a line now and then.

    `stream` is standard error by default.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield PlainPlacing(stream)
        return
    from rich.console import Console

    with Console(file=stream).status("reading") as status:
        yield DrawnPlacing(status)


class PlainPlacing:
    """A PlacementObserver that writes a line every few seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._last_s = clock()

    def looked(self, what: str, number: int, best: RankedCandidate | None) -> None:
        """Write a line, if the last one is long ago."""
        if self._clock() - self._last_s < PLAIN_EVERY_S:
            return
        self._last_s = self._clock()
        try:
            self._stream.write(f"{progress_in_words(what, number, best)}\n")
            self._stream.flush()
        except BrokenPipeError:
            pass  # the search goes on without its log


class DrawnPlacing:
    """A PlacementObserver that draws one line on a terminal."""

    def __init__(self, status: Status, clock: Callable[[], float] = time.monotonic) -> None:
        self._status, self._clock = status, clock
        self._last_s = -DRAWN_EVERY_S

    def looked(self, what: str, number: int, best: RankedCandidate | None) -> None:
        """Draw the line again."""
        if self._clock() - self._last_s < DRAWN_EVERY_S:
            return
        from rich.markup import escape

        self._last_s = self._clock()
        self._status.update(escape(progress_in_words(what, number, best)))


def progress_in_words(what: str, number: int, best: RankedCandidate | None) -> str:
    """The state of a search in one line."""
    found = ""
    if best is not None:
        found = f", best so far: cut {cut_text(best.candidate.cut)}, utility {seconds(best.value.utility_s)}"
    return f"{what}: {counted(number, 'network')} computed{found}"


def cut_text(cut: tuple[int, ...]) -> str:
    """A cut as --cut takes it."""
    return ",".join(map(str, cut))


def print_placement(found: Placement, written: Rewritten | None, *, to_file: str | None) -> None:
    """Print a result; the text of the topology follows if it differs from the stated one and went to no file."""
    print_table(_candidate_lines(found), title=f"{found.topology}: where to cut, and what to host", left=(0, 1, 8))
    print_lines(placement_lines(found, written))
    if to_file is not None:
        print_lines([("Written", to_file)])
    elif written is not None and found.changed:
        click.echo()
        click.echo(written.text, nl=False)


def _candidate_lines(found: Placement) -> Lines:
    head = ["", "cut", "delay", "accuracy", "utility", "played:", "accuracy", "utility", ""]
    lines = [head, _line("stated", found.stated)]
    for number, each in enumerate(found.finalists, start=1):
        lines.append(_line("best" if number == 1 else str(number), each, _moves(found, each)))
    return lines


def _moves(found: Placement, each: Evaluated) -> str:
    """The servers that host another stage than stated."""
    stated, site = found.stated.candidate, found.site
    if each.candidate == stated:
        return "as stated"
    pairs = zip(site.names, stated.stages, each.candidate.stages, strict=True)
    moved = [f"{name} to {now}" for name, before, now in pairs if before != now]
    more = f" and {len(moved) - MOVES_SHOWN} more" if len(moved) > MOVES_SHOWN else ""
    return f"{', '.join(moved[:MOVES_SHOWN])}{more}"


def _line(label: str, each: Evaluated, remark: str = "") -> list[str]:
    cells = [label, cut_text(each.candidate.cut)]
    optimum, ranked = each.optimum, each.ranked
    if optimum is not None and optimum.overall is not None:
        best = optimum.overall
        cells += [milliseconds(best.mean_delay_s, ".1f"), percent(best.accuracy), seconds(best.utility_s)]
        if (played := optimum.played) is not None:
            cells += [milliseconds(played.mean_delay_s, ".1f"), percent(played.accuracy), seconds(played.utility_s)]
        else:
            cells += ["-"] * 3
    elif ranked is not None and optimum is None and ranked.value.key[0] < 1:
        value = ranked.value
        cells += [milliseconds(value.mean_delay_s, ".1f"), percent(value.accuracy), seconds(value.utility_s)]
        cells += ["-"] * 3
    else:
        cells += ["-"] * 6
    return [*cells, each.trouble or remark]


def placement_lines(found: Placement, written: Rewritten | None) -> Iterator[tuple[str, str]]:
    """Lines (label, text) for `print_lines`."""
    if found.best is None:
        yield "Best", "none: no candidate can run" if found.ended == "complete" else "none found"
    elif not found.changed:
        yield "Best", "what the topology states"
    else:
        for number, change in enumerate(written.changes if written is not None else ()):
            yield "Best" if number == 0 else "", change
        yield from _gain(found)
        if written is not None and written.overrides:
            yield "Try it", " ".join(f"--set '{each}'" for each in written.overrides)
    yield "Search", _exactness(found)
    yield "", _counts(found)
    if (cost := found.site.scenario.model.cost) is not None:
        yield "Note", f"work and sizes are those of {cost.name}, whose blocks do not follow the cut: only exits differ"


def _gain(found: Placement) -> Iterator[tuple[str, str]]:
    """Lines on the gain of the best candidate over the stated one."""
    assert found.best is not None
    stated, best = found.stated, found.best
    if stated.trouble:
        what = "cannot run" if stated.ranked is None else "does not serve all tasks"
        yield "Gain", f"the stated topology {what}: {stated.trouble}"
        return
    one, other = stated.figures, best.figures
    if one is not None and other is not None:
        yield "Gain", _difference(one, other)
    before, after = stated.optimum and stated.optimum.played, best.optimum and best.optimum.played
    if before and after:
        yield "", f"played: {_difference(before, after)}"


def _difference(before: PlanFigures | Played, after: PlanFigures | Played) -> str:
    delay_ms = 1e3 * (after.mean_delay_s - before.mean_delay_s)
    points = 100 * (after.accuracy - before.accuracy)
    gain_s = after.utility_s - before.utility_s
    return f"utility {gain_s:+.3f} s, mean delay {delay_ms:+.1f} ms, accuracy {points:+.1f} points"


def _exactness(found: Placement) -> str:
    bound = "" if found.bound_utility_s is None else f"no candidate has more than {seconds(found.bound_utility_s)}"
    value = found.best.ranked.value if found.best is not None and found.best.ranked is not None else None
    this = "" if value is None else f", this one has {seconds(value.utility_s)}"
    in_model = f"; in the model of the search, {bound}{this}" if bound else ""
    if found.best is None:
        return ENDED.get(found.ended, "every candidate was looked at")
    if found.exact:
        return f"exact: every other candidate is no better{in_model}"
    if found.ended == "complete":
        return f"chosen by the full model among the best few{in_model}"
    return f"the best found, not proved best: {ENDED[found.ended]}{in_model}"


def _counts(found: Placement) -> str:
    tally = found.tally
    parts = [
        (tally.computed, "computed one by one"),
        (tally.worse, "proved no better together"),
        (tally.memory, "without enough memory"),
        (tally.links, "without links from stage to stage"),
        (tally.capacity, "without enough capacity"),
    ]
    left = tally.all - sum(number for number, _ in parts)
    parts.append((left, "not decided"))
    shown = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return f"{tally.all:,} candidates: {shown}; {counted(found.computed, 'network')} computed"
