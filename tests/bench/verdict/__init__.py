"""Is the verdict on an emulation right? Runs that something befalls at a random moment, and calm ones between them.

`python -m tests.bench.verdict [--trials N] [--first SEED] [--only WORD] [--json FILE]`: quickstart, 20 s a run, as
root; N times seven runs (ten take half an hour), or only those whose disturbance has the word in its name. What the
delays of a run should have been is computed apart from the product, in `truth.py`: where mean, p50, p95 or p99 are
more than 2 % off the run is strained, more than 10 % broken. A disturbance that touched no task counts as calm. A
verdict may be either of two where the truth lies within half a point of the bound between them: by so much the two
computations may differ.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import yaml

from testbed.fidelity.report import VERDICTS
from tests.bench.city.runs import child
from tests.bench.table import Row, row
from tests.bench.verdict.disturbances import ALL, Disturbed, Run
from tests.bench.verdict.truth import figures

ROOT = Path(__file__).parents[3]
DURATION_S = 20
BOUNDS = (0.02, 0.10)
MARGIN = 0.005
TRIALS = 10
ENDS_WITHIN_S = 240  # a run, after what befell it: a link whose rate was cut may stay slow for another half a minute


def one(folder: Path, disturb: Callable[[Run], Disturbed], seed: int) -> tuple[Disturbed, dict, dict]:
    """A run that something befalls: what was done, its summary, and its figures (emulated, expected)."""
    out = folder / f"run-{seed}-{disturb.__name__}"
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", "topologies/quickstart.yaml"]
    command += ["--duration", f"{DURATION_S}s", "--seed", str(seed), "--monitor", "off", "--out", str(out)]
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        manifest = _started(out / "manifest.json")
        chance = random.Random(f"{seed}/{disturb.__name__}")
        time.sleep(chance.uniform(6.0, 11.0))
        topology = yaml.safe_load((out / "topology.yaml").read_text())
        done = disturb(Run(manifest["nodes"], topology, out / "topology.yaml", chance))
        process.wait(timeout=ENDS_WITHIN_S)
    summary = json.loads((out / "summary.json").read_text())
    return done, summary, figures(out)


def _started(path: Path) -> dict:
    """The manifest of a run whose agents are ready."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            manifest = json.loads(path.read_text())
        except (OSError, ValueError):
            manifest = {}
        if "nodes" in manifest:
            return manifest
        time.sleep(0.05)
    raise AssertionError("the run did not start")


def verdicts_that_fit(found: dict) -> set[str]:
    """The verdicts that are right for a run with these figures."""
    off = max(abs(emulated / expected - 1) for emulated, expected in found.values())
    return {VERDICTS[sum(max(0.0, off + shift) > bound for bound in BOUNDS)] for shift in (-MARGIN, 0.0, MARGIN)}


def named_right(done: Disturbed, fidelity: dict) -> bool:
    """True if the first cause named is a right one."""
    causes = fidelity["causes"]
    return bool(causes) and any(
        causes[0]["kind"] == kind and (what is None or tuple(causes[0]["what"]) == what) for kind, what in done.rightly
    )


def rows(trials: int = TRIALS, first: int = 1, only: str = "") -> Iterator[Row]:
    """Per disturbance: how often the verdict was right, and the cause; a run that does not end counts as wrong."""
    right: dict[str, list[bool]] = defaultdict(list)
    named: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for seed, (name, disturb) in product(range(first, first + trials), ALL):
            if only in name:
                try:
                    done, summary, found = one(Path(folder), disturb, seed)
                except subprocess.TimeoutExpired:
                    print(f"  {name}, seed {seed}: it did not end  WRONG", file=sys.stderr, flush=True)
                    right[name].append(False)
                    continue
                fidelity, fitting = summary["fidelity"], verdicts_that_fit(found)
                right[name].append(fidelity["verdict"] in fitting)
                truth = ", ".join(f"{figure} {was / should - 1:+.1%}" for figure, (was, should) in found.items())
                told = f"{fidelity['verdict']}, {(fidelity['causes'] or [{}])[0].get('what')}"
                print(f"  {name}, seed {seed}: {done.what}; truth {truth}; told {told}"
                      f"{'' if right[name][-1] else '  WRONG'}", file=sys.stderr, flush=True)  # fmt: skip
                if done.rightly and "held" not in fitting:
                    named[name].append(named_right(done, fidelity))
        for name, found_right in right.items():
            yield row(f"{name}: right verdict, of {len(found_right)}", sum(found_right), "runs",
                      least=len(found_right), possible=(0, len(found_right)))  # fmt: skip
        for name, found_named in named.items():
            yield row(f"{name}: right cause, of {len(found_named)} that it touched", sum(found_named), "runs",
                      least=0.9 * len(found_named), possible=(0, len(found_named)))  # fmt: skip
