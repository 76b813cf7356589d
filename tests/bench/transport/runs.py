"""Whole runs, live and simulated, over links of several kinds side by side (`links.yaml`).

Every chain of links is a cell: the delays of the tasks of its device. Live and simulated runs share seed, arrivals and
samples; three seeds, each some 2,000 tasks a cell, four minutes live.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.table import Row, row
from tests.bench.transport.figures import MEAN_WITHIN, P95_WITHIN, mean_of, p95_of

ROOT = Path(__file__).parents[3]
TOPOLOGY = Path(__file__).with_name("links.yaml")
SEEDS = (1, 2, 3)


def delays_ms(verb: str, seed: int, topology: Path = TOPOLOGY) -> dict[str, list[float]]:
    """Delays [ms] of the counted tasks by device, in the order of their creation, by the command a user would type."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from cli.main import main; main()", verb, str(topology)]
        command += ["--seed", str(seed), "--monitor", "off", "--json", "--out", f"{folder}/run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        summary = json.loads(done.stdout)
        lines = (Path(folder) / "run" / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    if verb == "run":
        fidelity = summary["fidelity"]
        print(f"seed {seed}: emulation {fidelity['verdict']} {'; '.join(fidelity.get('reasons', []))}", flush=True)
    tasks = [json.loads(line) for line in lines]
    found: dict[str, list[float]] = {}
    for task in sorted(tasks, key=lambda task: task["created_s"]):
        if task["status"] == "completed" and task["created_s"] >= summary["warm_up_s"]:
            found.setdefault(task["device"], []).append(task["delay_s"] * 1e3)
    return found


def rows() -> Iterator[Row]:
    """A row for mean and 95th percentile of every cell, over all seeds."""
    pooled: dict[str, dict[str, list[float]]] = {"run": {}, "simulate": {}}
    for seed in SEEDS:
        for verb, cells in pooled.items():
            for cell, values in delays_ms(verb, seed).items():
                cells.setdefault(cell, []).extend(values)
    yield from compared(pooled["run"], pooled["simulate"])


def compared(live: dict[str, list[float]], simulated: dict[str, list[float]]) -> Iterator[Row]:
    """Rows: how far the simulation lies from live, with both intervals."""
    for cell, values in live.items():
        for name, figure, within in (("mean", mean_of, MEAN_WITHIN), ("p95", p95_of, P95_WITHIN)):
            there, here = figure(values), figure(simulated[cell])
            agrees = there.agrees(here, within)
            what = f"{cell}, {len(values)} tasks: {name} {there} ms live, {here} simulated"
            goal = {"goal": f"within {within:.0%}, or intervals meet", "ok": agrees}
            yield row(what, here.value / there.value - 1, "") | goal
