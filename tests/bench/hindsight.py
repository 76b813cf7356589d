"""The fixed confidence threshold that would have been best: what a rival without adaptive exits could at most have had.

A rival is compared at a threshold that was found for it, on this very topology, before the comparison. That is more
than any user knows, so the rival is not called starved. The search takes seeds of its own: a threshold that is best on
the seeds of the comparison would also profit from their noise.
"""

import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean

from node_agent.errors import InputError
from node_agent.policies import parse_policy
from testbed.run.planning import plan_run
from tests.bench.simulations import Ask, summaries_of

ROOT = Path(__file__).parents[2]
SEEDS = (7001, 7002, 7003)  # no comparison takes these
THRESHOLDS = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def best_threshold(
    topology: Path,
    policy: str,
    seeds: Sequence[int] = SEEDS,
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    cache_file: Path | None = None,
) -> float:
    """The threshold with the greatest mean utility; the lowest of equals.

    Args:
        topology: the topology file.
        policy: the policy as text, with a parameter `threshold` that the text does not state.
        seeds: those of the simulated runs, the same for each threshold; others than those of the comparison.
        thresholds: the candidates, each a confidence from 0 to 1.
        cache_file: keeps the utilities, as JSON; they are valid for this code, topology, policy and seeds only.

    Raises:
        InputError: the policy or the topology cannot be used, or the policy states a threshold already.
    """
    found = utilities_s(topology, policy, seeds, thresholds, cache_file=cache_file)
    return max(sorted(found), key=lambda threshold: found[threshold])


def at_threshold(policy: str, threshold: float) -> str:
    """The text of a policy with this threshold.

    >>> at_threshold("two-choices:report_every=1", 0.7)
    'two-choices:report_every=1,threshold=0.7'

    Raises:
        InputError: the text states a threshold already.
    """
    _, parameters = parse_policy(policy)
    if "threshold" in parameters:
        raise InputError(f"policy {policy} states its threshold", hint="leave it out: it is searched")
    return f"{policy.removesuffix(':')}{',' if parameters else ':'}threshold={threshold:g}"


def utilities_s(
    topology: Path, policy: str, seeds: Sequence[int], thresholds: Sequence[float], *, cache_file: Path | None = None
) -> dict[float, float]:
    """The mean utility of the runs at each threshold, theta * accuracy - mean delay [s].

    A threshold at which some run completes no counted task has minus infinity. Arguments and errors are those of
    `best_threshold`.
    """
    kept: dict[str, dict[str, float]] = {}
    if cache_file is not None and cache_file.exists():
        kept = json.loads(cache_file.read_text(encoding="utf-8"))
    mine = kept.setdefault(_key(topology, policy, seeds), {})
    missing = [threshold for threshold in thresholds if f"{threshold:g}" not in mine]
    asks = [Ask(topology, at_threshold(policy, threshold), seed) for threshold in missing for seed in seeds]
    summaries = summaries_of(asks) if asks else []
    for number, threshold in enumerate(missing):
        runs = summaries[number * len(seeds) : (number + 1) * len(seeds)]
        gained_s = [run["utility"] for run in runs]
        mine[f"{threshold:g}"] = float("-inf") if None in gained_s else fmean(gained_s)
    if cache_file is not None and missing:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        cache_file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {threshold: mine[f"{threshold:g}"] for threshold in thresholds}


def _key(topology: Path, policy: str, seeds: Sequence[int]) -> str:
    """Name everything that a utility depends upon: topology with its traces, model, policy, seeds and code."""
    plan = plan_run(topology, policy=policy, make_directory=False)
    parts = [plan.topology_sha256, str(plan.facts["model_sha256"]), policy, ",".join(map(str, seeds)), _code()]
    if plan.policy_file is not None:
        parts.append(sha256(plan.policy_file.read_bytes()).hexdigest())
    return f"{topology.stem} {policy} {sha256(' '.join(parts).encode()).hexdigest()[:16]}"


@cache
def _code() -> str:
    """A hash of the modules that a simulation may run (SHA-256 in hex)."""
    digest = sha256()
    for package in ("node_agent", "testbed"):
        for module in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(module.relative_to(ROOT)).encode() + b"\0" + module.read_bytes())
    return digest.hexdigest()
