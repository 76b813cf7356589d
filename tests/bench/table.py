"""Rows of figures: every bench yields the same ones, so that they can be printed, compared and read by programs."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # name, value, unit, goal, ok, rival


def row(name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None,
        rival: str | None = None) -> Row:  # fmt: skip
    """One figure, with the goal that it must not exceed (`most`) or fall below (`least`), if it has one."""
    goal = f"<= {most:g}" if most is not None else f">= {least:g}" if least is not None else None
    ok = None if goal is None else (value <= most if most is not None else value >= least)
    return {"name": name, "value": float(value), "unit": unit, "goal": goal, "ok": None if ok is None else bool(ok),
            "rival": rival}  # fmt: skip


def print_row(entry: Row) -> None:
    """One line; a goal that is missed stands out."""
    goal = f"goal {entry['goal']}: {'ok' if entry['ok'] else 'MISSED'}" if entry["goal"] else ""
    rival = f"  (against {entry['rival']})" if entry["rival"] else ""
    value = f"{entry['value']:.4g} {entry['unit']}"
    print(f"{entry['name']:<66} {value:>16}  {goal}{rival}", flush=True)


def printed(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows, each printed as it comes."""
    for entry in rows:
        print_row(entry)
        yield entry


@contextmanager
def kept(path: Path | None) -> Iterator[list[Row]]:
    """A list whose rows are written to the file, also those of a bench that fails half-way."""
    found: list[Row] = []
    try:
        yield found
    finally:
        if path:
            path.write_text(json.dumps(found, indent=2) + "\n")


def main(rows: Callable[[], Iterable[Row]], about: str | None) -> None:
    """What `python -m tests.bench.NAME [--json FILE]` does."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with kept(options.json) as found:
        for entry in printed(rows()):
            found.append(entry)
