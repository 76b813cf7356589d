"""`trace`: make workload traces for a topology, or show what is in one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from cli.quantity import seconds

if TYPE_CHECKING:
    from testbed.scenario import ArrivalProcess

COUNTING_WINDOW_S = 1.0


@click.group(name="trace", short_help="Generate or inspect workload traces.")
def command() -> None:
    """Generate or inspect workload traces (JSON lines: time_s, device, sample)."""


@command.command()
@click.argument("topology")
@click.option("--process", type=click.Choice(["poisson", "bursty"]), help="Arrival process.  [default: the topology's]")
@click.option("--duration", metavar="TIME", callback=seconds, help="How long tasks arrive.  [default: the topology's]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Random seed.  [default: the topology's]")
@click.option("--out", required=True, metavar="FILE", help="File to write; an existing one is replaced.")
def generate(topology: str, process: ArrivalProcess | None, duration: float | None, seed: int | None, out: str) -> None:
    """Draw a workload for the devices of TOPOLOGY.

    --seed draws when the tasks arrive and which samples they are; ranges in the topology are drawn from its own seed.
    """
    from node_agent.models import load_bundle
    from testbed.topology import load_topology
    from testbed.trace.workload import generate as draw
    from testbed.trace.workload import write_trace

    # Events that the topology states in % of the duration move with it, as they do in a run of this duration.
    scenario = load_topology(topology).resolve(duration_s=duration)
    arrivals = draw(
        scenario,
        process=process,
        duration_s=duration,
        seed=seed,
        sample_count=load_bundle(scenario.model.name).sample_count,
    )
    write_trace(out, arrivals)
    click.echo(f"{out}: {len(arrivals)} tasks of {len(scenario.devices)} devices", err=True)


@command.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: str, as_json: bool) -> None:
    """Show how many tasks a trace offers, at which rates and how bursty."""
    from testbed.trace.summary import summarise
    from testbed.trace.workload import read_trace

    summary = summarise(read_trace(file), window_s=COUNTING_WINDOW_S)
    if as_json:
        json.dump({"schema": 1, "file": file, **summary}, sys.stdout, indent=2)
        click.echo()
        return
    whole = summary["all"]
    click.echo(
        f"{whole['tasks']} tasks of {len(summary['devices'])} devices in {summary['span_s']:.1f} s, "
        f"{summary['samples']} different samples"
    )
    click.echo(f"{'device':<16} {'tasks':>8} {'tasks/s':>9} {'burstiness':>11}")
    for name, row in (*summary["devices"].items(), ("all", whole)):
        click.echo(f"{name:<16} {row['tasks']:>8} {row['rate_per_s']:>9.3f} {_number(row['dispersion']):>11}")
    click.echo(
        f"burstiness: variance over mean of the number of tasks in {COUNTING_WINDOW_S:g} s (1 for Poisson arrivals)"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
