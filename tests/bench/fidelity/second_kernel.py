"""The netem backend against what was configured: the rows of `links`, measured inside user-mode Linux.

That kernel has one slow processor, ticks at 100 Hz, and needs about 0.13 ms of it for each packet and direction, which
the rows contain. So these are not held to the goals of `links`:
- round trips: p50 at most 0.5 ms here (there 0.3), p99 at most 3 ms (there 1);
- round trips with busy processors: not measured, for the hogs share the one processor with probes and stack, and what
  is seen is its scheduler (p99 10 to 16 ms);
- the time of the light probes, 1 to 3 s there, and the time and CPU of a change, which `tc` is started for;
- the Kolmogorov-Smirnov test of the jitter: 1,200 packets show the 0.13 ms; the deviation found is held to 10 % either
  way;
- what the relay costs: there is none.
All else is: rates from 1 to 100 Mbit/s, loss, changes during a transfer. Needs root; about a minute and a half.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from node_agent.errors import EnvironmentLacking
from tests.bench.fidelity import links
from tests.bench.table import Row, main, row
from tests.uml.kernel import Kernel, lacking

LIMIT_S = 180.0
PARTS = ("probes", "idle", "rates", "loss", "jitter", "delay changes", "rate changes", "many changes")
JITTER_MS = links.JITTER_S * 1e3
MOST = {"idle: p50 error": 0.5, "idle: p99 error": 3.0, "deviation found": JITTER_MS * 1.1}
LEAST = {"deviation found": JITTER_MS * 0.9}
NO_GOAL = ("light probes", "Kolmogorov-Smirnov")


def held(entry: Row) -> Row:
    """A row of `links` under its own name, and with the goal that it has here."""
    name = f"{entry['name']} (netem, user-mode Linux)"
    for part, most in MOST.items():
        if part in entry["name"]:
            return row(name, entry["value"], entry["unit"], most=most, least=LEAST.get(part), invalid=entry["invalid"])
    if any(part in entry["name"] for part in NO_GOAL):
        return row(name, entry["value"], entry["unit"], invalid=entry["invalid"])
    return {**entry, "name": name}


def measure(found: Path) -> None:
    """Inside: a line of JSON for each row of `links`."""
    with found.open("w") as file:
        for entry in links.rows("netem", parts=PARTS):
            print(json.dumps(entry), file=file, flush=True)


def rows() -> Iterator[Row]:
    """The rows, once all are there; EnvironmentLacking where no second kernel can be booted."""
    if trouble := lacking():
        raise EnvironmentLacking(trouble, hint="./setup.sh --dev installs it where the distribution has it")
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "tests.bench.fidelity.second_kernel", "--inside", f"{directory}/rows"]
        completed = Kernel(command, Path(directory), timeout_s=LIMIT_S, punctual=True).run()
        if completed.returncode != 0:
            raise RuntimeError(str(completed))
        yield from (held(json.loads(line)) for line in (Path(directory) / "rows").read_text().splitlines())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        measure(Path(sys.argv[2]))
    else:
        main(rows, __doc__, timed=True)
