"""Workload traces of ten million lines: time and peak memory of import and inspection. `python -m tests.bench traces`.

The lines are a table of time stamps and users: sorted, in random order, and packed by gzip. Each command runs in a
process of its own, on one processor.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.bench.scale import WEIGH
from tests.bench.table import POSITIVE, Row, main, row

ROOT = Path(__file__).parents[2]
LINES = 10_000_000
PER_S, USERS = 50.0, 5000
MOST_MIB = 200.0
_AT_ONCE = 1_000_000


def write_table(path: Path, lines: int = LINES, *, mixed: bool = False) -> None:
    """Write a table of Poisson arrivals of many users; `mixed`: in random order."""
    chance = np.random.default_rng(1)
    ticks = np.cumsum(chance.exponential(1e6 / PER_S, lines)).astype(np.int64)
    if mixed:
        chance.shuffle(ticks)
    with path.open("w", encoding="utf-8") as file:
        print("time_s", "user", sep=",", file=file)
        for start in range(0, lines, _AT_ONCE):
            part = ticks[start : start + _AT_ONCE].tolist()
            users = chance.integers(0, USERS, len(part)).tolist()
            file.writelines(
                f"{tick // 10**6}.{tick % 10**6:06},u{user}\n" for tick, user in zip(part, users, strict=True)
            )


def weighed(what: str, *arguments: str) -> list[Row]:
    """Time and peak memory of a command."""
    with tempfile.TemporaryDirectory() as folder:
        usage = Path(folder, "usage.json")
        command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
        began_s = time.monotonic()
        weigh = [sys.executable, "-I", "-S", "-c", WEIGH, str(usage), *command]
        subprocess.run(weigh, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        took_s = time.monotonic() - began_s
        cpu_s, peak_kib = json.loads(usage.read_text())
    return [
        row(f"{what}: wall time", took_s, "s", possible=POSITIVE),
        row(f"{what}: CPU time", cpu_s, "s", possible=POSITIVE),
        row(f"{what}: peak memory", peak_kib / 1024, "MiB", most=MOST_MIB, possible=POSITIVE),
    ]


def measured(folder: Path, *, mixed: bool, suffix: str, lines: int = LINES) -> Iterator[Row]:
    """Import a table, inspect it, and inspect the trace that was written, with names that end in `suffix`."""
    table, trace = folder / "table.csv", str(folder / f"trace.jsonl{suffix}")
    write_table(table, lines, mixed=mixed)
    source = str(table)
    if suffix:
        subprocess.run(["gzip", "-1", source], check=True)
        source += suffix
    topology = str(ROOT / "topologies" / "quickstart.yaml")
    how = f"{lines:,} lines, {'in random order' if mixed else 'sorted'}{', gzip' if suffix else ''}"
    hashed: Sequence[str] = ("--device-column", "user", "--devices", "hash")
    yield from weighed(f"trace import, {how}", "trace", "import", source, "-t", topology, *hashed, "--out", trace)
    yield from weighed(f"trace inspect of the table, {how}", "trace", "inspect", source)
    yield from weighed(f"trace inspect of the trace, {how}", "trace", "inspect", trace)


def rows() -> Iterator[Row]:
    """The figures."""
    for mixed, suffix in ((False, ""), (True, ""), (False, ".gz")):
        with tempfile.TemporaryDirectory() as folder:
            yield from measured(Path(folder), mixed=mixed, suffix=suffix)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
