"""`run`: run an experiment from a topology file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.delay_backend import backend_option
from cli.policy_help import PolicyCommand
from cli.quantity import DURATION_HELP, seconds
from cli.shared_options import assert_option, check_mode, model_options, override_options, seed_option, together
from node_agent.errors import TestbedError

if TYPE_CHECKING:
    from cli.watch import MonitorChoice
    from testbed.assertions import Assertion, Finding
    from testbed.network.emulated import BackendChoice
    from testbed.optimum.bound import Optimum
    from testbed.run.plan import Outcome, Plan
    from testbed.topology.overrides import Override

_PATH = click.Path(path_type=Path)


workload_options = together(
    click.option(
        "--trace", type=_PATH, metavar="FILE",
        help="Workload to replay: JSON lines of time_s, device, sample (`trace generate` writes them).  "
        "[default: drawn from the topology's rates and the seed]",
    ),
    click.option(
        "--duration", metavar="TIME", callback=seconds, help=DURATION_HELP
    ),
    seed_option("Seed of everything random: the topology's ranges, arrivals, samples.  [default: the topology's]"),
)  # fmt: skip
common_options = together(
    click.option(
        "--policy", metavar="NAME[:KEY=VALUE,...]",
        help="Offloading policy: a name from the list below, or FILE.py:Class for your own. Parameters follow a colon; "
        "label=TEXT names it in the results. Example: fixed-threshold:threshold=0.7.  [default: the topology's]",
    ),
    click.option(
        "--out", type=_PATH, metavar="DIR", help="Run directory to write: new or empty.  [default: a new one in runs/]"
    ),
    click.option(
        "--monitor", type=click.Choice(["auto", "rich", "plain", "off"]), default="auto", show_default=True,
        help="What standard error shows meanwhile: a live view (rich), plain lines, or nothing (off). auto takes rich "
        "for a live run on a terminal, else plain.",
    ),
    click.option(
        "--debug", is_flag=True,
        help="Check the state of every node after each event; a contradiction ends the run. Slower.",
    ),
    click.option(
        "--optimum", "with_optimum", is_flag=True,
        help="Also compute the best plan for the same tasks, and print its delay [ms], accuracy [%] and utility [s].",
    ),
    assert_option,
    click.option(
        "--json", "as_json", is_flag=True, help="Print the content of summary.json instead of text; times in seconds."
    ),
)  # fmt: skip
live_options = together(
    backend_option("What delays frames:"),
    click.option(
        "--require-fidelity", is_flag=True,
        help="End with exit code 5 if the verdict on the emulation is `broken` or `unknown`.",
    ),
)  # fmt: skip


def refuse_live_options() -> None:
    """Raise UsageError if the user gave an option of live runs, which a simulation would ignore."""
    given = click.get_current_context()
    for name, why in (
        ("require_fidelity", "--require-fidelity needs a live run: a simulation emulates nothing"),
        ("backend", "--backend needs a live run: a simulation delays no frames"),
    ):
        if given.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(why)


@click.command(name="run", cls=PolicyCommand, short_help="Run an experiment from a topology file.")
@click.argument("topology", type=_PATH)
@workload_options
@model_options
@override_options
@common_options
@live_options
def command(
    topology: Path,
    trace: Path | None,
    duration: float | None,
    seed: int | None,
    model: str | None,
    cut: tuple[int, ...] | None,
    criterion: str | None,
    overrides: tuple[Override, ...],
    policy: str | None,
    out: Path | None,
    monitor: MonitorChoice,
    backend: BackendChoice,
    require_fidelity: bool,
    debug: bool,
    with_optimum: bool,
    assertions: tuple[Assertion, ...],
    as_json: bool,
) -> int:
    """Run an experiment: build the network of TOPOLOGY, start an agent per node, replay a workload.

    TOPOLOGY is a YAML file; those in topologies/ are ready to run. Real time passes: a run of 60 s takes a little more
    than a minute. Needs root, or a kernel that allows user namespaces. Prints a summary and writes a run directory.
    Ctrl-C ends the run early and keeps what was recorded.

    \b
    Examples:
      dtoee-testbed run topologies/quickstart.yaml
      dtoee-testbed run topologies/surge.yaml --policy ngto --duration 30
      dtoee-testbed run topologies/city.yaml --seed 7 --out runs/city-7
    """
    check_mode(assertions, simulate=False)
    from testbed.host.rootless import ensure_root

    ensure_root()  # before anything heavy is loaded
    from dataclasses import replace

    from testbed.run.planning import plan_run

    plan = plan_run(
        topology, trace_path=trace, duration_s=duration, seed=seed, policy=policy, model=model, cut=cut,
        criterion=criterion, overrides=overrides, out=out, backend=backend,
    )  # fmt: skip
    plan = replace(plan, require_fidelity=require_fidelity, debug=debug, assertions=assertions)
    return carry_out(plan, monitor, with_optimum=with_optimum, as_json=as_json)


def carry_out(plan: Plan, monitor: MonitorChoice, *, with_optimum: bool, as_json: bool) -> int:
    """Run a plan live under a monitor, print its summary and return the exit code."""
    from cli.watch import make_observer
    from testbed.live.experiment import Experiment

    with make_observer(monitor) as observer:
        outcome = Experiment(plan, observer).run()
    return finish(
        outcome, with_optimum=with_optimum, as_json=as_json, require_fidelity=plan.require_fidelity,
        assertions=plan.assertions,
    )  # fmt: skip


def finish(
    outcome: Outcome, *, with_optimum: bool, as_json: bool, require_fidelity: bool = False,
    assertions: Sequence[Assertion] = (),
) -> int:  # fmt: skip
    """Print the summary of a run that has ended and the outcomes of its assertions, and return the exit code.

    If no optimum can be computed, a warning says why, and the summary is printed all the same.

    Raises:
        EmulationBroken: `require_fidelity`, and the emulation did not hold. The summary has been printed.
        AssertionsMissed: a figure misses a bound that was asserted. All has been printed.
    """
    from cli.optimum import optimum_lines
    from cli.printing.assertion_lines import print_findings
    from cli.printing.columns import print_lines
    from cli.printing.summary_lines import print_summary

    findings: list[Finding] = []
    if outcome.summary is not None:
        if assertions:
            from testbed.assertions import findings_of

            findings = findings_of(assertions, outcome.summary)
        if as_json:
            _print_json(outcome, outcome.summary, with_optimum=with_optimum)
        else:
            print_summary(outcome.summary, outcome.run_directory)
            optimum, _ = _bound(outcome) if with_optimum else (None, "")
            if optimum is not None:
                print_lines(optimum_lines(optimum, outcome.summary))
            if findings:
                click.echo()
            print_findings(findings)
    if outcome.exit_reason == "interrupted":
        click.echo(f"interrupted; what was recorded is in {outcome.run_directory}", err=True)
        return 130
    if require_fidelity and outcome.report is not None:
        from testbed.fidelity.report import refuse_broken

        refuse_broken(outcome.report)
    if findings:
        from testbed.assertions import refuse_missed

        refuse_missed(findings)
    return 0


def _print_json(outcome: Outcome, summary: Mapping[str, Any], *, with_optimum: bool) -> None:
    import json

    from cli.optimum import run_beside

    content: dict[str, Any] = {**summary, "run_directory": str(outcome.run_directory)}
    if with_optimum:
        optimum, reason = _bound(outcome)
        if optimum is None:
            content |= {"optimum": None, "optimum_missing": reason}
        else:
            content["optimum"] = {**optimum.as_dict(), "run": run_beside(optimum, summary)}
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def _bound(outcome: Outcome) -> tuple[Optimum | None, str]:
    """The optimum for the tasks of a run, and ""; or None and the reason, which stderr also shows."""
    if outcome.exit_reason != "completed":
        reason = f"the run was {outcome.exit_reason}: not all of its trace was offered"
        click.echo(f"note: no optimum: {reason}", err=True)
        return None, reason
    from testbed.optimum.bound import bound_for_run

    try:
        return bound_for_run(outcome.run_directory)[0], ""
    except Exception as error:  # even a fault of the solver must not cost the summary
        reason = str(error) if isinstance(error, TestbedError) else f"{type(error).__name__}: {error}"
        click.echo(f"warning: no optimum: {reason}", err=True)
        return None, reason
