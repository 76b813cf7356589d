"""All benches, or those named: `python -m tests.bench [NAME ...] [--json FILE] [--list]`.

Each prints its figures as rows: name, value, unit, goal and whether it was met. Exit code 5 if a goal was missed, 1 if
a bench failed.
"""

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from tests.bench.table import kept, printed

BENCHES = {
    "convergence": "rounds until DTO-EE is near the optimum; one round on 100,000 nodes",
    "policies": "DTO-EE against every rival, simulated on the city (a quarter of an hour)",
    "scale": "simulation of 1,000 devices and 120 servers",
    "agreement": "quickstart live and simulated, side by side (needs root, a quarter of an hour)",
    "transport": "TCP over lossy, jittery and traced links, live and simulated (needs root, half an hour)",
    "fidelity": "links, compute and time scale against what was configured (needs root, some minutes)",
    "city": "the city on two cores: start-up, memory, overhead, throughput, endurance (needs root, half an hour)",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="say what there is")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    if options.list:
        for name, about in BENCHES.items():
            print(f"{name:<14}{about}")
        return 0
    failed = False
    with kept(options.json) as found:
        for name in options.names or BENCHES:
            print(f"--- {name}: {BENCHES[name]}", flush=True)
            try:
                for entry in printed(importlib.import_module(f"tests.bench.{name}").rows()):
                    found.append({"bench": name, **entry})
            except Exception:  # the others may do
                traceback.print_exc()
                failed = True
    if failed:
        return 1
    return 5 if any(entry["ok"] is False for entry in found) else 0


if __name__ == "__main__":
    sys.exit(main())
