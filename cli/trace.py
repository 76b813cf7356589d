"""`trace`: make, convert and show traces of workloads and of links (network traces)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.printing.workload_lines import print_workload
from cli.quantity import DURATION_HELP, bit_rate, finite, seconds, share
from cli.shared_options import seed_option
from cli.trace_import import import_command, source_options
from testbed.wording import counted, milliseconds, percent

if TYPE_CHECKING:
    from testbed.scenario import ArrivalProcess
    from testbed.trace.importers.contract import TimeUnit
    from testbed.trace.link_reading import TraceFormat
    from testbed.trace.link_trace import LinkTrace

_FORMATS = click.Choice(["csv", "mahimahi"])
_EVERY = (
    "Length of a step over which the trace is averaged, such as '100 ms'; outages keep steps of their own. A bare "
    "number is seconds.  [default: 100 ms for mahimahi, the file's rows for csv]"
)


@click.group(name="trace", short_help="Generate, import, convert or inspect traces of workloads and of links.")
def command() -> None:
    """Generate, import, convert or inspect traces.

    A workload trace lists the tasks that devices offer: JSON lines of time_s [s], device, sample. A network trace gives
    the rate, delay and loss of a link over time, as mahimahi packet deliveries or as a time series (CSV); links of a
    topology can follow it.
    """


command.add_command(import_command)


def _process(ctx: click.Context, param: click.Parameter, value: str | None) -> ArrivalProcess | None:
    from node_agent.errors import InputError
    from testbed.trace.processes.registry import process_from

    try:
        return None if value is None else process_from(value)
    except InputError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


@command.command()
@click.argument("topology")
@click.option(
    "--process",
    metavar="PROCESS",
    callback=_process,
    help="Arrival process: poisson, bursty, diurnal, flash-crowd, ramp or mmpp, with parameters after a colon: "
    "flash-crowd:at=20 s,peak=x8.  [default: the topology's]",
)
@click.option("--duration", metavar="TIME", callback=seconds, help=DURATION_HELP)
@seed_option("Seed of arrival times and samples.  [default: the topology's]")
@click.option("--out", required=True, metavar="FILE", help="File to write; an existing one is replaced.")
def generate(topology: str, process: ArrivalProcess | None, duration: float | None, seed: int | None, out: str) -> None:
    """Draw a workload for the devices of TOPOLOGY.

    A workload says when tasks arrive, and which sample each carries. --seed affects nothing else: ranges in the
    topology, such as rates, are drawn from its own seed.

    \b
    Examples:
      dtoee-testbed trace generate topologies/quickstart.yaml --out load.jsonl
      dtoee-testbed simulate topologies/quickstart.yaml --trace load.jsonl
    """
    from testbed.topology import load_topology
    from testbed.trace.workload import generate as draw
    from testbed.trace.workload import write_trace

    # Events at a percentage of the duration move with --duration, as in a run.
    scenario = load_topology(topology).resolve(duration_s=duration)
    arrivals = draw(
        scenario,
        process=process,
        duration_s=duration,
        seed=seed,
        sample_count=scenario.model.open().sample_count,
    )
    write_trace(out, arrivals)
    click.echo(f"{out}: {len(arrivals)} tasks of {len(scenario.devices)} devices", err=True)


@command.command()
@click.argument("file")
@click.option("--every", metavar="TIME", callback=seconds, help=f"For network traces. {_EVERY}")
@source_options
@click.option("--picture", type=click.Path(path_type=Path), metavar="FILE", help="Draw the trace, as PNG or SVG.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of text; times in seconds, rates in Mbit/s or tasks/s."
)
def inspect(
    file: str, every: float | None, form: str | None, time_column: str | None, time_unit: TimeUnit,
    device_column: str | None, picture: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what is in the trace FILE.

    A workload trace: its tasks, their rates [tasks/s], gaps and burstiness, by device. So are requests in any format
    that `trace import` reads; times then count from the first one. A network trace: its rates [Mbit/s], outages,
    delays and losses. FILE may be packed by gzip.

    \b
    Example:
      dtoee-testbed trace inspect load.jsonl --picture load.png
    """
    from testbed.trace.importers.contract import Columns
    from testbed.trace.inspection.examining import examine
    from testbed.trace.inspection.trace_picture import draw_link, draw_workload, picture_format
    from testbed.trace.link_trace import LinkTrace

    if picture is not None:
        picture_format(picture)
    columns = Columns(time_column, time_unit, device_column)
    found = examine(file, every_s=every, form=form, columns=columns)
    if isinstance(found, LinkTrace):
        _inspect_link(file, found, as_json)
        if picture is not None:
            draw_link(found, Path(file).name, picture)
    elif every is not None:
        raise click.UsageError("--every is for network traces, and this is one of a workload")
    else:
        summary = found.gathered.summary()
        if as_json:
            _print_json(file, {"format": found.form, **summary})
        else:
            print_workload(summary, found.form, keyed=found.keyed)
        if picture is not None:
            title = f"{Path(file).name}: {counted(summary['all']['tasks'], found.noun)} in {summary['span_s']:.6g} s"
            draw_workload(found.gathered, title, picture, keyed=found.keyed)


def _inspect_link(file: str, trace: LinkTrace, as_json: bool) -> None:
    from testbed.trace.link_writing import figures

    found = figures(trace)
    if as_json:
        _print_json(file, found)
        return
    click.echo(f"network trace of {found['duration_s']:g} s in {counted(found['steps'], 'step')}")
    if found["mean_rate_mbit_per_s"] is not None:
        click.echo(
            f"rate    mean {found['mean_rate_mbit_per_s']:.3f} Mbit/s, "
            f"{found['least_rate_mbit_per_s']:.3f} to {found['greatest_rate_mbit_per_s']:.3f}"
        )
        click.echo(f"outage  {percent(found['outage_share'])} of the time, {found['longest_outage_s']:g} s at most")
    if found["mean_delay_s"] is not None:
        mean, greatest = milliseconds(found["mean_delay_s"], ".1f"), milliseconds(found["greatest_delay_s"], ".1f")
        click.echo(f"delay   mean {mean}, {greatest} at most")
    if found["mean_loss"] is not None:
        click.echo(f"loss    mean {percent(found['mean_loss'], '.2f')}")


@command.command()
@click.argument("file")
@click.option("--out", required=True, metavar="FILE", help="File to write; an existing one is replaced.")
@click.option("--format", "form", type=_FORMATS, help="Format to write.  [default: that which FILE does not have]")
@click.option("--every", metavar="TIME", callback=seconds, help=_EVERY)
def convert(file: str, out: str, form: TraceFormat | None, every: float | None) -> None:
    """Convert a network trace to the other format.

    FILE holds mahimahi packet deliveries or a time series (CSV).

    \b
    Example:
      dtoee-testbed trace convert recorded.down --out recorded.csv --every 500ms
    """
    from testbed.trace.link_reading import guess_format, parse_link_trace, read_bytes

    content = read_bytes(file)
    source_form = guess_format(content, file)
    trace = parse_link_trace(content, file, source_form, every_s=every)
    _write_link(out, trace, form or ("csv" if source_form == "mahimahi" else "mahimahi"))


@command.command(name="generate-link")
@click.option(
    "--rate",
    metavar="RATE",
    default="8 Mbit/s",
    show_default=True,
    callback=bit_rate,
    help="Mean rate outside outages, with its unit.",
)
@click.option(
    "--variability",
    type=click.FloatRange(0, 5),
    callback=finite,
    default=0.5,
    show_default=True,
    help="Standard deviation of the rate, divided by its mean.",
)
@click.option(
    "--coherence",
    metavar="TIME",
    default="5 s",
    show_default=True,
    callback=seconds,
    help="Time after which the correlation of the rate's logarithm has fallen to 1/e; longer is smoother.",
)
@click.option(
    "--outages",
    metavar="SHARE",
    default="2 %",
    show_default=True,
    callback=share,
    help="Share of the time in outages, when the link carries nothing.",
)
@click.option(
    "--outage", metavar="TIME", default="500 ms", show_default=True, callback=seconds, help="Mean length of an outage."
)
@click.option(
    "--delay", metavar="TIME", callback=seconds, help="Mean one-way delay.  [default: none; the topology states it]"
)
@click.option(
    "--duration", metavar="TIME", default="120 s", show_default=True, callback=seconds, help="Length of the trace."
)
@click.option(
    "--every", metavar="TIME", default="100 ms", show_default=True, callback=seconds, help="Length of one step."
)
@seed_option("Seed of rates, outages and delays.", default=1)
@click.option("--format", "form", type=_FORMATS, help="Format to write.  [default: by the name of --out, else csv]")
@click.option("--out", required=True, metavar="FILE", help="File to write; an existing one is replaced.")
def generate_link(
    rate: float, variability: float, coherence: float, outages: float, outage: float, delay: float | None,
    duration: float, every: float, seed: int, form: TraceFormat | None, out: str,
) -> None:  # fmt: skip
    """Make up a network trace of a cellular link.

    Its rate wanders (log-normal, correlated over --coherence) and fails now and then. A TIME without a unit is seconds.

    \b
    Example:
      dtoee-testbed trace generate-link --rate "12 Mbit/s" --out phone.csv
    """
    from testbed.trace.link_reading import format_of_name, whole_step_s
    from testbed.trace.link_synthesis import Fading, synthesise
    from testbed.trace.link_trace import MOST_DELAY_S, MOST_MBIT_PER_S

    fading = Fading(
        rate, variability=variability, coherence_s=coherence, outage_share=outages, outage_s=outage, delay_s=delay
    )
    trace = synthesise(fading, duration_s=duration, every_s=whole_step_s(every), seed=seed)
    _write_link(out, trace, form or format_of_name(out) or "csv")
    cut_off = [
        f"{most:g} {unit}"
        for series, most, unit in (
            (trace.rate_mbit_per_s, MOST_MBIT_PER_S, "Mbit/s"), (trace.delay_s, MOST_DELAY_S, "s of delay")
        )
        if series is not None and max(series) >= most
    ]  # fmt: skip
    if cut_off:
        click.echo(f"note: cut off at {' and '.join(cut_off)}, so its mean is below the one asked for", err=True)


def _write_link(out: str, trace: LinkTrace, form: TraceFormat) -> None:
    from testbed.trace.link_writing import left_out, write_link_trace

    write_link_trace(out, trace, form)
    lost = left_out(trace, form)
    without = f", without its {' and '.join(lost)}" if lost else ""
    click.echo(f"{out}: {trace.length_s:g} s, {form}{without}", err=True)


def _print_json(file: str, found: Mapping[str, object]) -> None:
    json.dump({"schema": 1, "file": file, **found}, sys.stdout, indent=2)
    click.echo()
