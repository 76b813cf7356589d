"""From what a person asked for to a plan: a topology and a trace, or the directory of a recorded run."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node_agent.errors import InputError
from node_agent.models import load_bundle
from testbed.experiment import Plan, new_run_id
from testbed.network.emulated import BackendChoice
from testbed.recorder import POLICY, TOPOLOGY, TRACE, check_inputs, new_run_directory, read_manifest
from testbed.topology import Topology, load_topology
from testbed.topology.choices import anchored
from testbed.trace.workload import Arrival, check_trace, generate, read_trace
from testbed.wiring import longest_hop_s


def plan_run(
    topology_path: Path,
    *,
    trace_path: Path | None = None,
    duration_s: float | None = None,
    seed: int | None = None,
    policy: str | None = None,
    out: Path | None = None,
    backend: BackendChoice = "auto",
) -> Plan:
    """A run of a topology file; None leaves what the file says. Without a trace, one is drawn from rates and seed.

    Raises:
        InputError: topology, trace or options cannot be used.
    """
    topology = load_topology(topology_path)
    policy = None if policy is None else anchored(policy, os.getcwd())
    arrivals = read_trace(trace_path) if trace_path is not None else None
    asked: dict[str, Any] = {"seed": seed, "duration_s": duration_s, "policy_override": policy}
    source = str(trace_path) if trace_path is not None else "generated"
    return _plan(topology, arrivals, asked, source, out=out, backend=backend)


def plan_replay(
    recorded: Path,
    *,
    policy: str | None = None,
    out: Path | None = None,
    backend: BackendChoice = "auto",
) -> Plan:
    """The run in the directory `recorded` again: same topology, draws, arrivals, samples and events.

    Raises:
        InputError: not a run directory, or its inputs were changed since.
    """
    manifest = read_manifest(recorded)
    check_inputs(recorded, manifest)
    said = manifest.get("asked")
    asked = dict(said) if isinstance(said, dict) else {}
    missing = {"seed", "duration_s", "policy_override"} - set(asked)
    if missing:
        raise InputError(f"{recorded}: the manifest does not say {', '.join(sorted(missing))}")
    if policy is not None:
        asked["policy_override"] = anchored(policy, os.getcwd())
    elif (recorded / POLICY).exists():  # the copy, whatever has become of the original
        asked["policy_override"] = _recorded_policy(recorded, manifest)
    # Paths in the recorded copy still mean what they meant in the original.
    folder = manifest.get("topology_folder")
    topology = load_topology(recorded / TOPOLOGY, folder=folder if isinstance(folder, str) else None)
    return _plan(topology, read_trace(recorded / TRACE), asked, f"replay of {recorded}", out=out, backend=backend)


def _recorded_policy(recorded: Path, manifest: Mapping[str, Any]) -> str:
    """The text of a recorded policy from a file: the copy's path, the class, and the parameters it ran with."""
    name = f"{(recorded / POLICY).resolve()}:{str(manifest.get('policy')).rpartition(':')[2]}"
    parameters = manifest.get("policy_parameters")
    stated = parameters.items() if isinstance(parameters, dict) else ()
    values = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in stated]
    return f"{name}:{','.join(values)}" if values else name


def _plan(
    topology: Topology,
    arrivals: Sequence[Arrival] | None,
    asked: dict[str, Any],
    source: str,
    *,
    out: Path | None,
    backend: BackendChoice,
) -> Plan:
    scenario = topology.resolve(
        seed=asked["seed"], duration_s=asked["duration_s"], policy=asked["policy_override"]
    )
    round_s = 2 * scenario.stages * longest_hop_s(scenario)
    if scenario.slot_s <= round_s:
        raise InputError(
            f"{topology.source}: a slot of {scenario.slot_s:g} s is too short: one round of messages there and back "
            f"takes up to {round_s:g} s on these links",
            hint=f"state a slot of {10 * round_s:.2g} s or more",
        )
    bundle = load_bundle(scenario.model.name)
    if arrivals is None:
        arrivals = generate(scenario, sample_count=bundle.sample_count)
    check_trace(arrivals, scenario, bundle.sample_count, source=source)
    run_id = new_run_id()
    return Plan(
        scenario=scenario,
        topology_text=topology.text,
        arrivals=arrivals,
        bundle=bundle,
        run_directory=new_run_directory(out, scenario.name, scenario.policy.label, run_id),
        run_id=run_id,
        backend=backend,
        facts={
            "argv": sys.argv,
            "asked": asked,
            "topology_folder": topology.folder,
            "policy_parameters": dict(scenario.policy.parameters),
            "seed": scenario.seed,
            "workload": source,
        },
    )
