"""Results that README and docs/ quote, kept with the command, the commit and the machine of their origin."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.table import Row, verdict

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
OURS = ("README.md", "docs", "tests/bench/results")  # written by keeping results: changes there are no other code


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one bench: its rows and their origin."""

    bench: str
    command: str
    commit: str
    measured_at: str  # UTC
    machine: dict[str, Any]
    rows: tuple[Row, ...]
    note: str | None = None

    def row(self, name: str, rival: str | None = None) -> Row:
        """The row of this name (and rival, where several have the name). Raises KeyError unless there is just one."""
        found = [entry for entry in self.rows if entry["name"] == name and rival in (None, entry["rival"])]
        if len(found) != 1:
            raise KeyError(f"{self.bench}: {len(found)} rows are called {name!r}; measure it again: {self.command}")
        return found[0]

    def value(self, name: str, rival: str | None = None) -> float:
        """The figure of the row of this name. Raises KeyError if there is none, or an invalid one."""
        entry = self.row(name, rival)
        if entry["value"] is None or verdict(entry) == "invalid":
            raise KeyError(f"{self.bench}: {name!r} is invalid: {entry.get('invalid')}; {self.command}")
        return float(entry["value"])

    def values(self, pattern: str) -> list[float]:
        """The figures of all rows whose names match from beginning to end, at least one. Raises KeyError."""
        names = [entry["name"] for entry in self.rows if re.fullmatch(pattern, entry["name"])]
        if not names:
            raise KeyError(f"{self.bench}: no row matches {pattern!r}; measure it again: {self.command}")
        return [self.value(name) for name in names]

    def text(self, name: str) -> list[str]:
        """The lines kept under this name."""
        lines: list[str] = self.row(name)["text"]
        return lines

    @property
    def source(self) -> str:
        """Commit and day."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.commit}, {self.measured_at[:10]}{note}"


def sources(results: Sequence[Result]) -> str:
    """The origin of figures, for those who read a page's source: benches, commit and day."""
    benches: dict[str, list[str]] = {}
    for result in results:
        benches.setdefault(result.source, []).append(result.bench)
    return "; ".join(f"{', '.join(names)} at {source}" for source, names in benches.items())


def file_of(bench: str) -> Path:
    """The file that keeps the result of a bench."""
    return RESULTS / f"{bench}.json"


def load(bench: str) -> Result:
    """The kept result of a bench. Raises FileNotFoundError if none is kept."""
    content = json.loads(file_of(bench).read_text(encoding="utf-8"))
    return Result(**{**content, "rows": tuple(content["rows"])})


def keep(bench: str, rows: Sequence[Row], at_commit: str) -> Path:
    """Replace the kept result of a bench, which began at this commit.

    Raises ValueError, and keeps the old one, if there are no rows, or if one of them is invalid.
    """
    if not rows:
        raise ValueError(f"{bench} has no figures")
    if invalid := [entry["name"] for entry in rows if verdict(entry) == "invalid"]:
        raise ValueError(f"{len(invalid)} figures of {bench} are invalid, the first: {invalid[0]}")
    result = Result(
        bench=bench, command=f"python -m tests.bench {bench} --keep", commit=at_commit,
        measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"), machine=machine(), rows=tuple(rows),
    )  # fmt: skip
    path = file_of(bench)
    path.parent.mkdir(exist_ok=True)
    path.write_text(written(result), encoding="utf-8")
    return path


def written(result: Result) -> str:
    """As JSON, a line for each row, so that two versions of a result can be read beside each other."""
    head = {key: value for key, value in asdict(result).items() if key != "rows" and value is not None}
    lines = ",\n".join(f"  {json.dumps(entry, allow_nan=False)}" for entry in result.rows)
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'


def commit() -> str:
    """The commit that is checked out, and whether anything but kept results differs from it."""
    short = _git("rev-parse", "--short=7", "HEAD").strip()
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in OURS))
    return f"{short} with changes" if changed else short


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def machine() -> dict[str, Any]:
    """The properties of the machine that affect figures of time."""
    import torch

    return {
        "processors": os.cpu_count(), "architecture": platform.machine(), "kernel": platform.release(),
        "python": platform.python_version(), "torch": torch.__version__.split("+")[0],
    }  # fmt: skip
