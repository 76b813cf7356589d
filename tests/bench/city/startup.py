"""Time until the city answers its first task, and until it is gone, against plain Mininet (needs root, two minutes).

`python -m tests.bench.city.startup [--json FILE]`. Plain Mininet builds the same 65 hosts and 350 links through its own
API (`addHost`, `addLink(cls=TCLink, bw=...)`, `build`, `start`; no switches, as the city has none; no delays, which
this kernel may not have; no agents) in a fresh interpreter, timed from the moment it was started until `start` has
returned. Ours is the command, timed from the moment it was started until the first task stands answered in the run
directory: network, links measured, model, 65 agents, and the task itself. Both are repeated in turns; medians.

Stopping is timed from Ctrl-C until the process has ended and nothing is left.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from testbed.host.ledger import ledger_root
from testbed.topology import load_topology
from tests.bench.city.runs import CITY, TESTBED, child, output_of
from tests.bench.table import POSITIVE, Row, main, row

REPEATS = 3
MOST_RATIO = 1.0
MOST_STOP_S = 5.0
PATIENCE_S = 120.0
GLANCE_S = 0.005
# It reads hosts, and (host, host, Mbit/s) of each link, from its standard input. It prints the time at which `start`
# returned, on the clock of all processes. It has only Mininet itself to load.
PLAIN_MININET = """
import json, sys, time
from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
setLogLevel("critical")
names, links = json.load(sys.stdin)
net = Mininet(controller=None)
try:
    hosts = {name: net.addHost(f"h{number}") for number, name in enumerate(names)}
    for one, other, mbit_per_s in links:
        net.addLink(hosts[one], hosts[other], cls=TCLink, bw=mbit_per_s)
    net.build()
    net.start()
    print(time.monotonic(), flush=True)
finally:
    net.stop()
"""


@dataclass(frozen=True, slots=True)
class Started:
    """A run of ours: seconds from the command on to its first answered task, its phases, and its stop."""

    first_answer_s: float
    setup_s: dict[str, float]
    stop_s: float


def rows() -> Iterator[Row]:
    """Ours, plain Mininet's, their ratio; the stop; the phases."""
    plain_s, ours = [], []
    for _ in range(REPEATS):
        plain_s.append(plain_mininet_s())
        ours.append(started())
    rival = "plain Mininet: same hosts and links, no agents"
    first_s = median(each.first_answer_s for each in ours)
    yield row("city: plain Mininet, command to network started", median(plain_s), "s", possible=POSITIVE)
    yield row("city: command to first answered task", first_s, "s", rival=rival, possible=POSITIVE)
    ratios = [each.first_answer_s / plain for each, plain in zip(ours, plain_s, strict=True)]
    yield row("city: the same, as a share of plain Mininet's time", median(ratios), "", most=MOST_RATIO, rival=rival,
              possible=POSITIVE)  # fmt: skip
    stop_s = median(each.stop_s for each in ours)
    yield row("city: Ctrl-C to end of process", stop_s, "s", most=MOST_STOP_S, possible=POSITIVE)
    names = list(ours[0].setup_s)
    for before, name in zip(("", *names), names, strict=False):
        took = [each.setup_s[name] - (each.setup_s[before] if before else 0.0) for each in ours]
        yield row(f"city: set-up: until {name} stand{'' if name.endswith('s') else 's'}", median(took), "s")


def plain_mininet_s() -> float:
    """From the start of an interpreter until plain Mininet's network has been started."""
    scenario = load_topology(CITY).resolve()
    wanted = json.dumps((scenario.node_names, [(*link.ends, link.shape.rate_mbit_per_s) for link in scenario.links]))
    before = set(os.listdir("/sys/class/net"))
    began_s = time.monotonic()
    try:
        started_s = float(output_of([sys.executable, "-c", PLAIN_MININET], wanted, PATIENCE_S))
    finally:  # Mininet makes links out here: where it was cut short, one may still be
        for name in set(os.listdir("/sys/class/net")) - before:
            if re.fullmatch(r"h\d+-eth\d+", name):
                subprocess.run(["ip", "link", "del", name], check=False)
    return started_s - began_s


def started(topology: Path = CITY, seconds: float = 2.0) -> Started:
    """Run the command until some seconds after its first answered task, then Ctrl-C."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began_s = time.monotonic()
        command = [*TESTBED, "run", str(topology), "--duration", "30s", "--monitor", "off", "--out", str(out)]
        with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            _await_answer(process, out / "tasks.jsonl")
            first_answer_s = time.monotonic() - began_s
            time.sleep(seconds)
            stopped_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=PATIENCE_S)
            stop_s = time.monotonic() - stopped_s
        manifest = json.loads((out / "manifest.json").read_text())
    if process.returncode != 130 or manifest["exit_reason"] != "interrupted":
        raise RuntimeError(f"Ctrl-C: the run was {manifest['exit_reason']}, exit {process.returncode}: {error.strip()}")
    if (ledger_root() / manifest["run_id"]).exists():  # it goes when all that it names has gone
        raise RuntimeError("the run has left something behind")
    return Started(first_answer_s, manifest["setup_s"], stop_s)


def _await_answer(process: "subprocess.Popen[str]", tasks: Path) -> None:
    """Until the first completed task is on disk: the recorder writes each at once."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (tasks.exists() and b'"status":"completed"' in tasks.read_bytes()):
        if process.poll() is not None:
            assert process.stderr is not None
            raise RuntimeError(f"the run failed: {process.stderr.read().strip()}")
        if time.monotonic() > deadline_s:
            raise RuntimeError("no task was answered")
        time.sleep(GLANCE_S)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
