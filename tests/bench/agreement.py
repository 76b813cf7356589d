"""Is the simulation right about the emulation? quickstart both ways: `python -m tests.bench.agreement [--json FILE]`.

Every policy gets the same arrivals, samples and events live (as root) and in virtual time. Live runs go one after
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

from tests.bench.simulated import POLICIES, SEEDS
from tests.bench.table import PERCENT, POSITIVE, SHARE, Row, main, row

ROOT = Path(__file__).parents[2]
OVERLOADED = "bandwidth-first"  # its delay grows with the run
TOLERANCE = 0.10
TIE = 0.05  # policies nearer than this in delay have no order
NEAR = 0.15  # and where one way they have none, the other way they are no further apart than this


def summaries_of(policy: str, seed: int) -> list[dict]:
    """The summaries of a live and a simulated run, by the command a user would type."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from cli.main import main; main()", "agree", "topologies/quickstart.yaml"]
        command += ["--policy", policy, "--seed", str(seed), "--out", folder]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        runs = Path(folder) / f"seed-{seed}"
        return [json.loads((runs / side / "summary.json").read_text()) for side in ("live", "simulated")]


def rows() -> Iterator[Row]:
    """Both ways, all policies and seeds."""
    delays: dict[tuple[str, str], list[float]] = {}
    for seed in SEEDS:
        for policy in POLICIES:
            live, simulated = summaries_of(policy, seed)
            mean_s = [summary["delay_s"]["mean"] for summary in (live, simulated)]
            for verb, value in zip(("run", "simulate"), mean_s, strict=True):
                delays.setdefault((verb, policy), []).append(value)
            yield from _run(f"{policy}, seed {seed}", live, simulated, held_to_goal=policy != OVERLOADED)
    for policy in POLICIES:
        ratios = [live / simulated for live, simulated in zip(delays["run", policy], delays["simulate", policy],
                                                              strict=True)]  # fmt: skip
        name = f"{policy}: mean delay live / simulated, median over seeds"
        yield row(name, statistics.median(ratios), "", possible=POSITIVE)
    for one, other in combinations(POLICIES, 2):
        ratios = [statistics.median(delays[verb, one]) / statistics.median(delays[verb, other])
                  for verb in ("run", "simulate")]  # fmt: skip
        yield row(f"order of {one} and {other}: same both ways", float(same_order(*ratios)), "", least=1,
                  possible=SHARE)  # fmt: skip


def _run(where: str, live: dict, simulated: dict, *, held_to_goal: bool) -> Iterator[Row]:
    """One run both ways; what an emulation that did not hold has measured is no delay of the network."""
    fidelity = live["fidelity"]
    invalid = f"the emulation was broken: {fidelity['reasons'][0]}" if fidelity["verdict"] == "broken" else None
    live_s, simulated_s = (summary["delay_s"]["mean"] for summary in (live, simulated))
    yield row(f"{where}: mean delay, live", live_s * 1e3, "ms", rival=f"simulated {simulated_s * 1e3:.0f} ms",
              possible=POSITIVE, invalid=invalid)  # fmt: skip
    yield row(f"{where}: mean delay, simulated", simulated_s * 1e3, "ms", possible=POSITIVE)
    yield row(f"{where}: accuracy, live", live["accuracy"], "", rival=f"simulated {simulated['accuracy']:.3f}",
              possible=SHARE, invalid=invalid)  # fmt: skip
    yield row(f"{where}: lost, live", live["tasks"]["lost"], "tasks", most=0)
    apart = abs(live["accuracy"] - simulated["accuracy"]) * 100
    yield row(f"{where}: accuracy, live off simulated", apart, "points", possible=PERCENT, invalid=invalid)
    goal = TOLERANCE if held_to_goal else None
    yield row(f"{where}: |live / simulated - 1|", abs(live_s / simulated_s - 1), "", most=goal, invalid=invalid)


def same_order(one: float, other: float) -> bool:
    """True if two ratios of delays put the same policy first, or are both near 1 (where neither is first)."""
    if abs(one - 1) < TIE or abs(other - 1) < TIE:
        return abs(one - 1) < NEAR and abs(other - 1) < NEAR
    return (one - 1) * (other - 1) > 0


if __name__ == "__main__":
    main(rows, __doc__)
