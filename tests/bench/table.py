"""Rows of figures: every bench yields the same ones, so that they can be printed, compared and read by programs.

A figure with a goal is `ok` or `missed`. One that cannot be (not finite, outside `possible`), or that was measured
against something that did not stand still, is `invalid`: neither, with the reason.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.surroundings import disturbance, glance

Row = dict[str, Any]  # name, value, unit, goal, ok, rival, invalid; where it has them: low, high, samples, text
Range = tuple[float, float]  # both ends included

ANY: Range = (-math.inf, math.inf)
AMOUNT: Range = (0.0, math.inf)
POSITIVE: Range = (math.ulp(0.0), math.inf)  # of what cannot take no time, no memory, no tasks
SHARE: Range = (0.0, 1.0)
PERCENT: Range = (0.0, 100.0)
POINTS: Range = (-100.0, 100.0)
REDUCTION: Range = (-math.inf, 100.0)  # in %

FAILED, INVALID, MISSED = 1, 4, 5  # exit codes of benches


def row(name: str, value: float | None, unit: str, *, most: float | None = None, least: float | None = None,
        rival: str | None = None, possible: Range | None = None, invalid: str | None = None,
        interval: tuple[float, float] | None = None, samples: Sequence[float] | None = None) -> Row:  # fmt: skip
    """One figure, with the goal that it must not exceed (`most`) or fall below (`least`), if it has one.

    Args:
        value: None where there is none, which is invalid.
        possible: the values that such a figure can have; None means any finite one, and none below zero where the only
            goal is an upper one (a negative figure would reach it).
        invalid: the reason why the figure is void, if it is.
        interval: low and high end of its 95 % interval.
        samples: the values of which it is the mean.

    Raises:
        ValueError: the goal is not a number, or no possible figure reaches it.
    """
    if possible is None:
        possible = AMOUNT if most is not None and least is None and most >= 0 else ANY
    goals = [f"{sign} {bound:g}" for sign, bound in ((">=", least), ("<=", most)) if bound is not None]
    if not all(math.isfinite(bound) for bound in (most, least) if bound is not None):
        raise ValueError(f"{name}: the goal {' and '.join(goals)} is no number")
    low = max(possible[0], -math.inf if least is None else least)
    high = min(possible[1], math.inf if most is None else most)
    if not low <= high:
        raise ValueError(f"{name}: nothing possible ({possible[0]:g} to {possible[1]:g}) meets {' and '.join(goals)}")
    invalid = invalid or _impossible(value, possible) or _impossible_interval(interval)
    known = float(value) if value is not None and math.isfinite(value) else None
    ok = low <= known <= high if goals and known is not None and not invalid else None
    entry: Row = {"name": name, "value": known, "unit": unit, "goal": " and ".join(goals) or None, "ok": ok,
                  "rival": rival, "invalid": invalid}  # fmt: skip
    if interval is not None and not invalid:
        entry |= {"low": float(interval[0]), "high": float(interval[1])}
    if samples is not None:
        entry["samples"] = [float(each) for each in samples]
    return entry


def text(name: str, lines: Sequence[str]) -> Row:
    """The output of a program, line by line, kept as it is; it has no goal."""
    lacks = None if any(line.strip() for line in lines) else "nothing was printed"
    return {"name": name, "value": None, "unit": "", "goal": None, "ok": None, "rival": None, "invalid": lacks,
            "text": list(lines)}  # fmt: skip


def _impossible(value: float | None, possible: Range) -> str | None:
    if value is None:
        return "there is no figure"
    if not math.isfinite(value):
        return f"{value} is no figure"
    low, high = possible
    if low <= value <= high:
        return None
    if value < low:
        return f"{value:.4g} cannot be: it is {'not above 0' if low == POSITIVE[0] else f'below {low:g}'}"
    return f"{value:.4g} cannot be: it is above {high:g}"


def _impossible_interval(interval: tuple[float, float] | None) -> str | None:
    if interval is None or (all(map(math.isfinite, interval)) and interval[0] <= interval[1]):
        return None
    return f"{interval[0]:.4g} to {interval[1]:.4g} is no interval"


def invalidated(entry: Row, reason: str) -> Row:
    """The figure marked as invalid; an earlier reason stays."""
    return {**entry, "ok": None, "invalid": entry.get("invalid") or reason}


def verdict(entry: Row) -> str | None:
    """`ok`, `missed` or `invalid`; None for a valid figure without a goal."""
    if entry.get("invalid"):
        return "invalid"
    return None if entry["ok"] is None else "ok" if entry["ok"] else "missed"


def exit_status(rows: Sequence[Row], *, failed: bool = False) -> int:
    """The exit status of a bench: 1 if it failed or has no figure, 4 if one is invalid, 5 if one is missed, else 0."""
    if failed or not rows:
        return FAILED
    verdicts = {verdict(entry) for entry in rows}
    return INVALID if "invalid" in verdicts else MISSED if "missed" in verdicts else 0


def print_row(entry: Row) -> None:
    """One line; a missed goal and an invalid figure stand out."""
    if "text" in entry:
        print(f"{entry['name']}:", *entry["text"], sep="\n    ", flush=True)
        return
    known = {"ok": "ok", "missed": "MISSED", "invalid": f"INVALID ({entry.get('invalid')})", None: ""}[verdict(entry)]
    goal = f"goal {entry['goal']}: {known}" if entry["goal"] else known
    rival = f"  (against {entry['rival']})" if entry["rival"] else ""
    value = "-" if entry["value"] is None else f"{entry['value']:.4g} {entry['unit']}"
    interval = f"  [{entry['low']:.4g}, {entry['high']:.4g}]" if "low" in entry else ""
    print(f"{entry['name']:<66} {value:>16}  {goal}{interval}{rival}", flush=True)


def printed(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows, each printed as it comes."""
    for entry in rows:
        print_row(entry)
        yield entry


def collect(rows: Iterable[Row], found: list[Row], *, timed: bool = False) -> None:
    """Print rows and append them to `found`, each as it comes.

    If they are `timed`, the machine is looked at before and after: if something else kept it busy, all are invalid.
    """
    first, before = len(found), glance() if timed else None
    for entry in printed(rows):
        found.append(entry)
    if before is not None and (reason := disturbance(before, glance())):
        print(f"INVALID, all of it: {reason}", flush=True)
        found[first:] = [invalidated(entry, reason) for entry in found[first:]]


@contextmanager
def kept(path: Path | None) -> Iterator[list[Row]]:
    """A list whose rows are written to the file, also those of a bench that fails half-way."""
    found: list[Row] = []
    try:
        yield found
    finally:
        if path:
            path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")


def main(rows: Callable[[], Iterable[Row]], about: str | None, *, timed: bool = False) -> None:
    """Carry out `python -m tests.bench.NAME [--json FILE]`; exits as `exit_status` says.

    `timed`: the figures are those of a machine that does nothing else.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with kept(options.json) as found:
        collect(rows(), found, timed=timed)
    sys.exit(exit_status(found))
