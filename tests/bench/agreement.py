"""Is the simulation right about the emulation? quickstart both ways: `python -m tests.bench.agreement [--json FILE]`.

Every policy meets the same arrivals, samples and events live (as root) and in virtual time. Live runs go one after
the other, about a minute each. Figures: mean delay live over simulated, and whether both put the policies in the same
order.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from tests.bench.table import Row, main, row

ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3)
POLICIES = ("dto-ee", "computing-first", "bandwidth-first", "ngto")
TOLERANCE = 0.10
TIE = 0.05  # policies nearer than this in delay have no order


def summary_of(verb: str, policy: str, seed: int) -> dict:
    """The summary of one run, by the command a user would type."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from cli.main import main; main()", verb, "topologies/quickstart.yaml"]
        command += ["--policy", policy, "--seed", str(seed), "--monitor", "off", "--json", "--out", f"{folder}/run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def rows() -> Iterator[Row]:
    """Both ways, all policies and seeds."""
    delays: dict[tuple[str, str], list[float]] = {}
    for seed in SEEDS:
        for policy in POLICIES:
            live, simulated = (summary_of(verb, policy, seed) for verb in ("run", "simulate"))
            mean_s = [summary["delay_s"]["mean"] for summary in (live, simulated)]
            for verb, value in zip(("run", "simulate"), mean_s, strict=True):
                delays.setdefault((verb, policy), []).append(value)
            where = f"{policy}, seed {seed}"
            yield row(f"{where}: mean delay, live", mean_s[0] * 1e3, "ms", rival=f"simulated {mean_s[1] * 1e3:.0f} ms")
            yield row(f"{where}: accuracy, live", live["accuracy"], "", rival=f"simulated {simulated['accuracy']:.3f}")
            yield row(f"{where}: lost, live", live["tasks"]["lost"], "tasks", most=0)
            goal = None if policy == "bandwidth-first" else TOLERANCE  # overloaded: its delay grows with the run
            yield row(f"{where}: |live / simulated - 1|", abs(mean_s[0] / mean_s[1] - 1), "", most=goal)
    for policy in POLICIES:
        ratio = statistics.median(
            live / simulated
            for live, simulated in zip(delays["run", policy], delays["simulate", policy], strict=True)
        )
        yield row(f"{policy}: mean delay live / simulated, median over seeds", ratio, "")
    for one, other in combinations(POLICIES, 2):
        ratios = [statistics.median(delays[verb, one]) / statistics.median(delays[verb, other])
                  for verb in ("run", "simulate")]  # fmt: skip
        same = (ratios[0] - 1) * (ratios[1] - 1) > 0 or any(abs(ratio - 1) < TIE for ratio in ratios)
        yield row(f"order of {one} and {other}: same both ways", float(same), "", least=1)


if __name__ == "__main__":
    main(rows, __doc__)
