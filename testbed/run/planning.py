"""Make plans: from a topology and a trace, or from the directory of a recorded run."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from node_agent.errors import InputError
from node_agent.models.interface import Model
from testbed.network.emulated import BackendChoice
from testbed.record.reading import Asked, RecordedRun, read_recorded
from testbed.record.run_directory import new_run_directory
from testbed.run.plan import Plan, new_run_id
from testbed.scenario import Scenario
from testbed.topology import Topology, load_topology
from testbed.topology.choices import anchored, check_policy
from testbed.topology.model_choice import anchored_model
from testbed.topology.overrides import LOAD, Override, stated_overrides
from testbed.trace.workload import Arrival, check_trace, check_volume, generate, read_trace


def plan_run(
    topology_path: Path,
    *,
    trace_path: Path | None = None,
    duration_s: float | None = None,
    seed: int | None = None,
    policy: str | None = None,
    model: str | None = None,
    cut: Sequence[int] | None = None,
    criterion: str | None = None,
    overrides: Sequence[Override | str] = (),
    out: Path | None = None,
    backend: BackendChoice = "auto",
    make_directory: bool = True,
) -> Plan:
    """Plan a run of a topology file. For options that are None, the file's own values hold.

    Args:
        topology_path: the topology file.
        trace_path: the workload trace; None draws one from the rates and the seed.
        duration_s: the length of the workload [s].
        seed: the random seed.
        policy: the policy as text, `NAME[:KEY=VALUE,...]` or `FILE:CLASS[:...]`.
        model: another model than the file's: a shipped name, or the path of a bundle, of FILE.py:CLASS or of a table.
        cut: the last block of each sub-model, first stage first.
        criterion: name of the exit criterion.
        overrides: what replaces values of the file, in order; texts are KEY=VALUE.
        out: the run directory; None means a new one under `runs/`.
        backend: the network backend.
        make_directory: create and claim the run directory; if False, only name it, for a check without traces on disk.

    Raises:
        InputError: topology, trace or options cannot be used.
    """
    policy = None if policy is None else anchored(policy, os.getcwd())
    topology = load_topology(
        topology_path, policy=policy, model=model, cut=cut, criterion=criterion, overrides=overrides
    )
    if trace_path is not None and any(each.key == LOAD for each in topology.overrides):
        hint = "leave out the load, or the trace: arrivals are then drawn from the rates"
        raise InputError(f"a load does not multiply the arrivals of the trace {trace_path}", hint=hint)
    arrivals = read_trace(trace_path) if trace_path is not None else None
    source = str(trace_path) if trace_path is not None else "generated"
    place = None if model is None else anchored_model(model, os.getcwd())
    asked = Asked(seed, duration_s, policy, place, None if cut is None else tuple(cut), criterion)
    return _plan(topology, arrivals, asked, source, out=out, backend=backend, make_directory=make_directory)


def plan_replay(
    recorded: Path,
    *,
    policy: str | None = None,
    out: Path | None = None,
    backend: BackendChoice = "auto",
) -> Plan:
    """Plan a repetition of the run in the directory `recorded`: same topology, draws, arrivals, samples and events.

    Args:
        recorded: the run directory to repeat.
        policy: another policy as text; None repeats the recorded one.
        out: the new run directory; None means a new one under `runs/`.
        backend: the network backend.

    Raises:
        InputError: `recorded` is no run directory, or its inputs or its model have changed since.
    """
    run = read_recorded(recorded)
    if policy is None:
        policy = run.policy
    else:
        policy = anchored(policy, os.getcwd())
        check_policy(policy)  # not for a recorded policy: it may be one that new runs can no longer use
    return _plan(
        run.topology(policy),
        run.arrivals(),
        msgspec.structs.replace(run.asked, policy_override=policy),
        f"replay of {recorded}",
        out=out,
        backend=backend,
        run=run,
    )


def check_topology(path: Path) -> tuple[Scenario, Model]:
    """Check a topology file as `plan_run` does, without a workload and without creating anything.

    Returns:
        The scenario and its model.

    Raises:
        InputError: the topology cannot be run.
    """
    scenario = load_topology(path).resolve()
    model = check_model(scenario)
    check_volume(scenario, model.sample_count)
    return scenario, model


def check_model(scenario: Scenario) -> Model:
    """Return the scenario's model. Raises InputError if a file that a run needs is missing or cannot be read."""
    choice, model = scenario.model, scenario.model.open()
    model.check()
    model.exit_table(choice.cut)
    model.profiles(choice.cut, choice.activation)
    return model


def _plan(
    topology: Topology,
    arrivals: Sequence[Arrival] | None,
    asked: Asked,
    source: str,
    *,
    out: Path | None,
    backend: BackendChoice,
    make_directory: bool = True,
    run: RecordedRun | None = None,
) -> Plan:
    scenario = topology.resolve(seed=asked.seed, duration_s=asked.duration_s)
    model = check_model(scenario)
    if run is not None:
        run.check_model(model)
    if arrivals is None:
        arrivals = generate(scenario, sample_count=model.sample_count)
    check_trace(arrivals, scenario, model.sample_count, source=source)
    run_id = new_run_id()
    run_directory, claim = out or Path("runs") / run_id, None
    if make_directory:
        run_directory, claim = new_run_directory(out, scenario.name, scenario.policy.label, run_id)
    return Plan(
        scenario=scenario,
        topology_text=topology.text,
        original_text=topology.original_text,
        overrides=topology.overrides,
        arrivals=arrivals,
        model=model,
        run_directory=run_directory,
        claim=claim,
        run_id=run_id,
        backend=backend,
        link_traces=topology.traces,
        facts={
            "argv": sys.argv,
            "asked": msgspec.to_builtins(asked),
            "topology_folder": topology.folder,
            "policy_parameters": dict(scenario.policy.parameters),
            "policy_label": scenario.policy.stated_label,
            "draws": scenario.draws,
            "seed": scenario.seed,
            "model_sha256": model.fingerprint(),
            "answers": model.answers,
            "costs": model.costs,
            "criterion": model.other_criterion,
            "labels": model.labels_are,
            "workload": source,
            **({"overrides": stated_overrides(topology.overrides)} if topology.overrides else {}),
        },
    )
