"""`topology`: check topology files as `run` does, without touching the system, or print their JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node_agent.errors import InputError, TestbedError
from testbed.wording import counted

if TYPE_CHECKING:
    from node_agent.models.interface import Model
    from testbed.scenario import Scenario


@click.group(name="topology", short_help="Validate topology files, or print their JSON Schema.")
def command() -> None:
    """Check topology files, or print the JSON Schema that editors use for completion."""


@command.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: per file whether it is valid, its size, problems, warnings."
)
def validate(files: tuple[str, ...], as_json: bool) -> int:
    """Check topology files, and print a line on each valid one.

    Runs the same checks as `run`, without touching the system. Problems go to stderr as file:line:column with a hint;
    the exit code is then 3. Warnings, such as servers that cannot keep up, do not change it.

    \b
    Example:
      dtoee-testbed topology validate topologies/*.yaml
    """
    from testbed.optimum.predicted_overload import predicted_overloads
    from testbed.optimum.predicted_refusal import predicted_refusals
    from testbed.run.planning import check_topology
    from testbed.topology.followed_traces import too_many_changes

    reports: list[dict[str, Any]] = []
    exit_code = 0
    for path in files:
        try:
            scenario, model = check_topology(Path(path))
            lively = too_many_changes(scenario)
            predicted = [*predicted_overloads(scenario, model), *predicted_refusals(scenario, model)]
            warnings = [*([lively] if lively else []), *model.warnings, *_lacks(model), *predicted]
        except InputError as error:
            exit_code = error.exit_code
            reports.append({"file": path, "valid": False, "problems": _report_problems(error, path)})
            continue
        reports.append({"file": path, "valid": True, **_describe(scenario), "warnings": warnings})
        if not as_json:
            click.echo(f"{path}: {_summary(scenario)}")
            for warning in warnings:
                click.echo(f"    warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps({"schema": 1, "topologies": reports}, indent=2, ensure_ascii=False))
    return exit_code


@command.command()
def schema() -> None:
    """Print the JSON Schema of topology files.

    It is the content of topologies/topology.schema.json, which editors use for completion and checks.
    """
    from testbed.topology import topology_json_schema_text

    click.echo(topology_json_schema_text(), nl=False)


def _lacks(model: Model) -> list[str]:
    """Return a warning if this machine cannot run the model's network; simulations do without."""
    try:
        model.check_able()
    except TestbedError as error:
        return [f"a live run cannot start here: {error}: {error.hint}"]
    return []


def _report_problems(error: TestbedError, path: str) -> list[dict[str, Any]]:
    from testbed.topology import TopologyError

    if not isinstance(error, TopologyError):
        click.echo(f"error: {error}\nhint: {error.hint}", err=True)
        return [{"file": path, "message": str(error), "hint": error.hint}]
    for problem in error.problems:
        click.echo(str(problem), err=True)
        if problem.hint:
            click.echo(f"    hint: {problem.hint}", err=True)
    return [
        {
            "file": problem.source,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in error.problems
    ]


def _describe(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "devices": len(scenario.devices),
        "own_processors": len(scenario.own_processors),
        "servers_per_stage": [
            sum(server.device is None for server in scenario.servers_of_stage(stage))
            for stage in range(1, scenario.stages + 1)
        ],
        "switches": len(scenario.switches),
        "links": len(scenario.links),
        "events": len(scenario.incidents),
        "network_traces": {file: len(links) for file, links in scenario.followers.items()},
        "link_changes_per_s": scenario.link_changes_per_s,
        "tasks_per_s": sum(device.rate_per_s for device in scenario.devices),
        "duration_s": scenario.duration_s,
    }


def _summary(scenario: Scenario) -> str:
    facts = _describe(scenario)
    stages = "-".join(map(str, facts["servers_per_stage"]))
    switches = f", {counted(facts['switches'], 'switch', 'es')}" if facts["switches"] else ""
    follow = ""
    if scenario.followers:
        following = sum(bool(link.traces) for link in scenario.links)
        verb = "follows" if following == 1 else "follow"
        follow = f"; {counted(following, 'link')} {verb} {', '.join(scenario.followers)}"
        follow += f" ({scenario.link_changes_per_s:.1f} changes/s)"
    own = f" ({facts['own_processors']} with stage 1)" if facts["own_processors"] else ""
    servers = counted(sum(facts["servers_per_stage"]), "server")
    return (
        f"{counted(facts['devices'], 'device')}{own}, {servers} ({stages}){switches}, "
        f"{counted(facts['links'], 'link')}, {facts['tasks_per_s']:.1f} tasks/s for {scenario.duration_s:g} s{follow}"
    )
