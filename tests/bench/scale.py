"""A simulation of 1,000 devices, 120 servers and 100,000 tasks: time and memory. `python -m tests.bench.scale`.

And one round of DTO-EE on 100,000 nodes.

Every device offers 5 tasks/s for 20 s and may offload to 6 to 8 of the 40 servers of stage 1, and so on from stage to
stage; links and capacities differ, and each stage is busy for about half of the time. Most of the work are the rounds
of DTO-EE: two slots of up to 24 rounds with 15,000 messages each; with a slot of 5 s, which is timed too, there are
twice as many. `--topology FILE` only writes the topology.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.table import AMOUNT, POSITIVE, Row, main, row
from tests.node_agent.dtoee.network import random_network
from tests.node_agent.dtoee.sweeps import Sweeps

ROOT = Path(__file__).parents[2]
DEVICES, SERVERS_OF_A_STAGE, STAGES = 1000, 40, 3
TASKS, RATE_PER_S = 100_000, 5.0
SLOT_S = 10.0
LOAD = 0.5
WORK_FLOP = (14.4e6, 8.7e6, 25.8e6)  # of the model's stages
REACH = (1.0, 0.78, 0.37)  # share of the tasks that come to each stage at thresholds of 0.8
MOST_S, MOST_MIB = 60.0, 2048.0
LARGE = (99_000, 334, 333, 333)
# Runs a command, and writes its CPU time [s] and peak memory [KiB] into a file. A process of its own, and a small one:
# what a command's parent had in memory when it was forked counts as the command's.
WEIGH = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss], file)
sys.exit(status)
"""


def topology(seed: int = 1, devices: int = DEVICES, servers: int = SERVERS_OF_A_STAGE, slot_s: float = SLOT_S) -> str:
    """The topology file's text."""
    chance = random.Random(seed)
    stages = [[f"s{stage}-{number}" for number in range(1, servers + 1)] for stage in range(1, STAGES + 1)]
    lines = [
        "name: scale", "model: {name: glyphs, cut: [2, 3, 5], activation: float16}", "policy: dto-ee", "theta: 3 s",
        f"slot: {slot_s:g} s", f"duration: {TASKS / (DEVICES * RATE_PER_S):g} s", f"seed: {seed}", "devices:",
        f"  dev: {{count: {devices}, rate: {RATE_PER_S:g} /s}}", "servers:",
    ]  # fmt: skip
    for number, names in enumerate(stages):
        speeds = [chance.choice((1.0, 2.0, 3.0)) for _ in names]
        busy_flop_per_s = devices * RATE_PER_S * REACH[number] * WORK_FLOP[number]
        for name, speed in zip(names, speeds, strict=True):
            capacity = busy_flop_per_s / LOAD * speed / sum(speeds) / 1e9
            lines.append(f"  {name}: {{stage: {number + 1}, capacity: {capacity:.4f} GFLOP/s}}")
    lines.append("links:")
    offloaders = [[f"dev-{number}" for number in range(1, devices + 1)], *stages[:-1]]
    for names, receivers in zip(offloaders, stages, strict=True):
        for place, name in enumerate(names):
            chosen = {receivers[place % servers]}  # so that every receiver has somebody
            while len(chosen) < min(servers, 6 + place % 3):
                chosen.add(chance.choice(receivers))
            listed = ", ".join(sorted(chosen))
            lines.append(f"  - {{from: {name}, to: [{listed}], rate: 20..100 Mbit/s, delay: 2..30 ms, jitter: 0.2 ms}}")
    return "\n".join(lines) + "\n"


def rows() -> Iterator[Row]:
    """Wall time and peak memory of the command that a user would type, and what it simulated."""
    yield from measured(SLOT_S, MOST_S)
    yield from measured(SLOT_S / 2, None)
    yield row("one round on 100,000 nodes", round_s(), "s", most=1.0, possible=POSITIVE)


def round_s() -> float:
    """One round of the solver's kind on a network of 100,000 nodes, median of five."""
    network, thresholds = random_network(1, load=0.7, sizes=LARGE, links=8, rows=4000)
    sweeps = Sweeps(network, network.speed_rows(), thresholds)
    sweeps.round()
    times_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        sweeps.round()
        times_s.append(time.perf_counter() - began_s)
    return statistics.median(times_s)


def measured(slot_s: float, most_s: float | None) -> list[Row]:
    """One simulation with this slot, with a goal for its time or without."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scale.yaml")
        path.write_text(topology(slot_s=slot_s))
        command = [sys.executable, "-c", "from cli.main import main; main()", "simulate", str(path)]
        command += ["--out", f"{folder}/run", "--monitor", "off", "--json"]
        told, began_s = Path(folder, "usage.json"), time.monotonic()
        weigh = [sys.executable, "-I", "-S", "-c", WEIGH, str(told), *command]
        done = subprocess.run(weigh, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        took_s = time.monotonic() - began_s
        cpu_s, peak_kib = json.loads(told.read_text())
        tasks = json.loads(done.stdout)["tasks"]
    what = f"simulate {DEVICES} devices, {STAGES * SERVERS_OF_A_STAGE} servers, slot {slot_s:g} s"
    return [
        row(f"{what}: wall time", took_s, "s", most=most_s, possible=POSITIVE),
        row(f"{what}: CPU time", cpu_s, "s", possible=POSITIVE),
        row(f"{what}: peak memory", peak_kib / 1024, "MiB", most=MOST_MIB, possible=POSITIVE),
        row(f"{what}: tasks completed", tasks["completed"], "tasks", least=0.99 * TASKS, possible=AMOUNT),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--topology"]:
        Path(sys.argv[2]).write_text(topology())
    else:
        main(rows, __doc__, timed=True)
