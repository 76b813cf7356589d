"""Policies against each other on the emulated quickstart network: `python -m tests.bench.quickstart [--seeds 1,2,3]`.

Every policy meets the same arrivals, samples and events (same seed). Runs one after the other, about a minute each;
needs root. `--json FILE` writes the rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
POLICIES = ("dto-ee", "computing-first", "bandwidth-first")


def run(policy: str, seed: int, duration: str) -> dict:
    """The summary of one run, by the command a user would type."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from cli.main import main; main()", "run", "topologies/quickstart.yaml"]
        command += ["--policy", policy, "--seed", str(seed), "--duration", duration, "--monitor", "off", "--json"]
        command += ["--out", f"{folder}/run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--duration", default="60 s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print("policy           seed  mean ms  p95 ms accuracy  utility  lost  host")
    for seed in map(int, options.seeds.split(",")):
        for policy in POLICIES:
            summary = run(policy, seed, options.duration)
            rows.append({"policy": policy, "seed": seed, **summary})
            delay, host = summary["delay_s"], summary["fidelity"]["host_cpu_share"]
            print(
                f"{policy:<16} {seed:>4} {delay['mean'] * 1e3:>8.0f} {delay['p95'] * 1e3:>7.0f} "
                f"{summary['accuracy']:>8.3f} {summary['utility']:>8.3f} {summary['tasks']['lost']:>5} {host:>5.0%}",
                flush=True,
            )
    for rival in POLICIES[1:]:
        ratios = [
            ours["delay_s"]["mean"] / theirs["delay_s"]["mean"]
            for ours in rows if ours["policy"] == "dto-ee"
            for theirs in rows if theirs["policy"] == rival and theirs["seed"] == ours["seed"]
        ]  # fmt: skip
        worst, median = max(ratios), statistics.median(ratios)
        print(f"mean delay of dto-ee / {rival}: median {median:.2f}, worst {worst:.2f} of {len(ratios)} seeds")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
