"""All benches, or those named: `python -m tests.bench [NAME ...] [--keep] [--json FILE] [--list] [--render]`.

Each prints its figures as rows: name, value, unit, goal, and whether it reached the goal. `city`, `dynamic` and
`fidelity` stand for all of their parts. `--keep` replaces the results kept in tests/bench/results and renders the
figures of README and docs/ from them. `--render` only renders: the blocks of README and docs/, the pictures, and the
JSON Schema of topologies. `simulated` figures are the same on every machine, and tests hold the kept ones against the
code.
Exit code 1 if a bench failed, 4 if a figure is invalid, 5 if a goal was missed.
"""

import argparse
import importlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from testbed.topology.topology_file import topology_json_schema_text
from tests.bench import city, dynamic, fidelity, frontier_blocks, pages, picture
from tests.bench.dynamic import picture as dynamic_picture
from tests.bench.results import commit, keep
from tests.bench.table import Row, collect, exit_status, kept

SCHEMA = Path(__file__).parents[2] / "topologies" / "topology.schema.json"


@dataclass(frozen=True, slots=True)
class Bench:
    """Its subject; `timed` if its figures are those of a machine that does nothing else."""

    about: str
    timed: bool = False


BENCHES = {
    "simulated": Bench("every topology, and quickstart's policies, simulated (half a minute)"),
    "theta": Bench("quickstart at several theta, simulated (a quarter of a minute)"),
    "admission": Bench("bounds on the predicted delay under overload, simulated (two minutes)"),
    "onboard": Bench("the doorbells with and without stage 1 of their own, simulated (a quarter of a minute)"),
    "models": Bench("accuracy of the models' exits, by exit and by threshold"),
    "outcomes": Bench("thresholds chosen by seen and by expected outcomes (a minute)"),
    "convergence": Bench("rounds until DTO-EE is near the optimum (two minutes)"),
    "frontier": Bench("accuracy against delay of all policies, on the city and a scarce one (forty minutes)"),
    "policies": Bench("DTO-EE against every rival, simulated on the city (ten minutes)"),
    "thresholds": Bench("thresholds that adapt against fixed ones, simulated (half an hour)"),
    **{f"dynamic.{part}": Bench(about) for part, about in dynamic.PARTS.items()},
    "tables": Bench("a table of a million samples: time to read it, memory of those who share it", timed=True),
    "traces": Bench("workload traces of ten million lines: import and inspection (ten minutes)", timed=True),
    "language": Bench("language models at a saturated server (three minutes)", timed=True),
    "scale": Bench("simulation of 1,000 devices and 120 servers; one round on 100,000 nodes", timed=True),
    "quickstart": Bench("quickstart live: what its user sees (needs root, a minute)"),
    "agreement": Bench("quickstart live and simulated, side by side (needs root, a quarter of an hour)"),
    "transport": Bench("TCP over lossy, jittery and traced links, live and simulated (needs root, half an hour)"),
    "verdict": Bench("what befell a run, and what was said of it (needs root, half an hour)"),
    "verdict.cost": Bench("how long the verdict takes after a run (half a minute)"),
    **{f"fidelity.{part}": Bench("the emulation against what was configured (needs root)", timed=True)
       for part in fidelity.PARTS},
    **{f"city.{part}": Bench("the city on two cores (needs root)", timed=part in city.TIMED) for part in city.PARTS},
}  # fmt: skip
GROUPS = {
    group: [name for name in BENCHES if name.startswith(f"{group}.")] for group in ("fidelity", "city", "dynamic")
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*BENCHES, *GROUPS]))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--keep", action="store_true", help="keep the results, and render the pages from them")
    parser.add_argument("--render", action="store_true", help="measure nothing, render the pages and the JSON Schema")
    parser.add_argument("--list", action="store_true", help="say what there is")
    options = parser.parse_args()
    names = [name for given in options.names or BENCHES for name in GROUPS.get(given, [given])]
    if unknown := [name for name in names if name not in BENCHES]:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join([*BENCHES, *GROUPS])}")
    if options.list:
        for name, bench in BENCHES.items():
            print(f"{name:<24}{bench.about}")
        return 0
    if options.render:
        _render()
        SCHEMA.write_text(topology_json_schema_text(), encoding="utf-8")
        return 0
    status = _run(names, options.json, keeps=options.keep)
    if options.keep:
        _render()
    return status


def _render() -> None:
    pages.render()
    picture.render()
    dynamic_picture.render()
    frontier_blocks.render()


def _run(names: list[str], json_file: Path | None, *, keeps: bool) -> int:
    failed, at_commit = False, commit()  # now: what is loaded later may be newer, what ran is not
    with kept(json_file) as found:
        for name in names:
            bench = BENCHES[name]
            print(f"--- {name}: {bench.about}", flush=True)
            first = len(found)
            try:
                collect(importlib.import_module(f"tests.bench.{name}").rows(), found, timed=bench.timed)
                if len(found) == first:
                    raise RuntimeError(f"{name} has no figures")
                if keeps:
                    _keep(name, found[first:], at_commit)
            except Exception:  # the others may do
                traceback.print_exc()
                failed = True
            found[first:] = [{"bench": name, **entry} for entry in found[first:]]
    return exit_status(found, failed=failed)


def _keep(name: str, rows: list[Row], at_commit: str) -> None:
    """Keep a result in which every figure is valid; otherwise the pages continue to quote the old one."""
    try:
        print(f"kept in {keep(name, rows, at_commit)}", flush=True)
    except ValueError as error:
        print(f"not kept: {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
