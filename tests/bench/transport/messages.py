"""Single messages over links of many kinds, live and modelled: `rows` compares, `main` keeps the live figures."""

import argparse
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.bench.table import Row, row
from tests.bench.transport.cells import CELLS, Cell
from tests.bench.transport.figures import MEAN_WITHIN, P95_WITHIN, Figure, mean_of, p95_of
from tests.bench.transport.live import measure
from tests.bench.transport.model import modelled

SECONDS = 220.0
SEEDS = (1, 2, 3)
MODEL_SECONDS, MODEL_SEED = 600.0, 1
SCHEMA = 1
ROOT = Path(__file__).parents[3]


def live_ms(seeds: Sequence[int], seconds: float) -> dict[Cell, list[float]]:
    """One-way times [ms] of the messages of every cell, without what ZeroMQ takes at both ends."""
    found: dict[Cell, list[float]] = {cell: [] for cell in CELLS}
    for seed in seeds:
        for cell, messages in measure(CELLS, seconds, seed).items():
            found[cell] += [taken_s * 1e3 for _, taken_s in messages]
    calm = CELLS[0]
    ends_ms = median(found[calm]) - median(modelled(calm, 10.0, MODEL_SEED)) * 1e3
    return {cell: [taken_ms - ends_ms for taken_ms in values] for cell, values in found.items()}


def rows() -> Iterator[Row]:
    """The distance of the model from live, with both intervals."""
    for cell, values in live_ms(SEEDS, SECONDS).items():
        model = [taken_s * 1e3 for taken_s in modelled(cell, MODEL_SECONDS, MODEL_SEED)]
        for name, figure, within in (("mean", mean_of, MEAN_WITHIN), ("p95", p95_of, P95_WITHIN)):
            there, here = figure(values), figure(model)
            goal = {"goal": f"within {within:.0%}, or intervals meet", "ok": there.agrees(here, within)}
            what = f"{cell.name}, {len(values)} messages: {name} {there} ms live, {here} modelled"
            yield row(what, here.value / there.value - 1, "") | goal


def kept(values: Mapping[Cell, Sequence[float]], command: str) -> dict[str, object]:
    """The table against which the tests hold the model."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    entries = []
    for cell, times_ms in values.items():
        mean, p95 = mean_of(times_ms), p95_of(times_ms)
        entries.append({
            "loss_percent": cell.loss, "jitter_ms": cell.jitter, "delay_ms": cell.delay, "kib": cell.kib,
            "messages": len(times_ms), "p50_ms": round(median(times_ms), 2), "mean_ms": _rounded(mean),
            "p95_ms": _rounded(p95),
        })  # fmt: skip
    return {"schema": SCHEMA, "command": command, "commit": commit.stdout.strip(), "cells": entries}


def _rounded(figure: Figure) -> list[float]:
    return [round(value, 2) for value in (figure.value, figure.low, figure.high)]


def main() -> None:
    """`python -m tests.bench.transport.messages FILE`, as root: measure, and keep the live figures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    seeds = " ".join(map(str, options.seeds))
    command = f"python -m tests.bench.transport.messages FILE --seeds {seeds} --seconds {options.seconds:g}"
    found = kept(live_ms(options.seeds, options.seconds), command)
    options.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
