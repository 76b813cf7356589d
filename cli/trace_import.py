"""`trace import`: workloads that other people published or recorded, for the devices of a topology."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.shared_options import Function, seed_option
from testbed.wording import counted, number, percent

if TYPE_CHECKING:
    from testbed.scenario import Scenario
    from testbed.trace.importers.assignment import DeviceChoice, SampleChoice
    from testbed.trace.importers.contract import TimeUnit
    from testbed.trace.importers.importing import Imported, Target
    from testbed.trace.importers.time_stamps import Window

# As in the registry of importers, which takes long to load; a test compares both.
FORMATS = (
    "azure-functions-2019", "azure-functions-2021", "azure-llm", "burstgpt", "mooncake", "testbed", "csv",
)  # fmt: skip

_DEVICES = {"spread": "at random", "hash": "by hash", "names": "by name"}
_SAMPLES = {"deal": "dealt", "length": "by length", "column": "as stated"}


def source_options(function: Function) -> Function:
    """The options --format, --time-column, --time-unit and --device-column of a command that reads requests."""
    for option in reversed(
        (
            click.option(
                "--format", "form", type=click.Choice(FORMATS), help="Format of FILE.  [default: by its first line]"
            ),
            click.option("--time-column", metavar="NAME", help="Column of the times in a table."),
            click.option(
                "--time-unit",
                type=click.Choice(["auto", "iso", "s", "ms", "us", "ns"]),
                default="auto",
                show_default=True,
                help="Unit of the times in a table: dates (iso), or numbers; auto goes by the column's name and its "
                "first value.",
            ),
            click.option(
                "--device-column", metavar="NAME", help="Column of users, functions or devices, for --devices."
            ),
        )
    ):
        function = option(function)
    return function


def _window(ctx: click.Context, param: click.Parameter, value: str | None) -> Window:
    from node_agent.errors import InputError
    from testbed.trace.importers.time_stamps import Window, window_from

    try:
        return Window() if value is None else window_from(value)
    except InputError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


def _factor(ctx: click.Context, param: click.Parameter, value: str) -> float:
    from testbed.units import QuantityError, parse_factor

    try:
        return parse_factor(value)
    except QuantityError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


def _share(ctx: click.Context, param: click.Parameter, value: str) -> float:
    found = _factor(ctx, param, value)
    if found > 1:
        message = "one trace cannot be made denser by keeping requests: let its time pass faster, by --speed"
        raise click.BadParameter(f"{value}: {message}", ctx, param)
    return found


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--topology", "-t", required=True, metavar="TOPOLOGY", help="Topology whose devices offer the tasks.")
@click.option("--out", required=True, metavar="FILE", help="File to write; an existing one is replaced, .gz packs it.")
@source_options
@click.option("--sample-column", metavar="NAME", help="Column of the samples' numbers, from 0.")
@click.option(
    "--window",
    metavar="START..END",
    callback=_window,
    help="Only requests from START on and before END, in the times of FILE: 600..1200 (seconds), '10 min..20 min', or "
    "dates. Either may be left out.",
)
@click.option(
    "--rate", "keep", metavar="xSHARE", default="x1", callback=_share,
    help="Keep each request with this probability, for example x0.01.",
)  # fmt: skip
@click.option(
    "--speed", metavar="xFACTOR", default="x1", callback=_factor,
    help="Let time pass faster: x60 makes a minute of an hour.",
)  # fmt: skip
@click.option(
    "--devices",
    type=click.Choice(["spread", "hash", "names"]),
    help="Device of each request: drawn in proportion to the devices' rates (spread); one for all requests of a user "
    "or function, drawn by a hash (hash); or that which the column names (names).  [default: names with "
    "--device-column, hash for Azure Functions, else spread]",
)
@click.option(
    "--samples",
    type=click.Choice(["deal", "length", "column"]),
    help="Sample of each request: dealt equally often (deal); one of those nearest in length to its tokens (length); "
    "or that of --sample-column.  [default: column with it, length if trace and model have lengths, else deal]",
)
@click.option("--without-failed", is_flag=True, help="Leave out requests that failed at the source.")
@seed_option("Seed of all draws.  [default: the topology's]")
def import_command(
    files: tuple[str, ...], topology: str, out: str, form: str | None, time_column: str | None, time_unit: TimeUnit,
    device_column: str | None, sample_column: str | None, window: Window, keep: float, speed: float,
    devices: DeviceChoice | None, samples: SampleChoice | None, without_failed: bool, seed: int | None,
) -> None:  # fmt: skip
    """Turn published or recorded requests into a workload.

    FILEs are tables of requests with a column of times (CSV), Azure Functions (2019, 2021), Azure LLM inference,
    BurstGPT or Mooncake traces, or workload traces of the testbed; gzip is unpacked. They need not be sorted.

    \b
    Examples:
      dtoee-testbed trace import BurstGPT_1.csv -t topologies/dictionary.yaml --window 0..3600 --out load.jsonl
      dtoee-testbed trace import calls.csv.gz -t topologies/quickstart.yaml --time-column start --out load.jsonl
    """
    from testbed.topology import load_topology
    from testbed.trace.importers.contract import Columns
    from testbed.trace.importers.importing import Treatment, import_trace
    from testbed.trace.importers.requests import Sieve, Source

    scenario = load_topology(topology).resolve(seed=seed)
    done = import_trace(
        Source(files, form, Columns(time_column, time_unit, device_column, sample_column)),
        _target(scenario),
        Path(out),
        Sieve(window, keep, failed=not without_failed),
        Treatment(devices, samples, speed, scenario.seed),
    )
    _report(out, done, scenario)


def _target(scenario: Scenario) -> Target:
    from testbed.trace.importers.importing import Target

    model = scenario.model.open()
    costs = model.sample_costs(scenario.model.cut, scenario.model.activation)
    lengths = None if costs is None else costs.length[:, 0]
    if lengths is not None and lengths.min() == lengths.max():
        lengths = None
    return Target(scenario.devices, model.sample_count, lengths)


def _report(out: str, done: Imported, scenario: Scenario) -> None:
    """Say what was imported, and what a reader of its figures should know, to standard error."""
    tally = done.tally
    mean = f", {number(tally.kept / done.span_s, '.3g')} tasks/s" if done.span_s > 0 else ""
    click.echo(
        f"{out}: {tally.kept:,} of {tally.read:,} requests ({tally.form}), {done.used} of "
        f"{counted(len(scenario.devices), 'device')} ({_DEVICES[done.devices]}), samples {_SAMPLES[done.samples]}, "
        f"{done.span_s:.6g} s{mean}",
        err=True,
    )
    if tally.failed:
        click.echo(f"note: {counted(tally.failed, 'request')} of the window failed at the source", err=True)
    if done.longer:
        share = percent(done.longer / tally.kept)
        click.echo(f"note: {share} of the requests are longer than the longest sample, which stands for them", err=True)
    if done.together > tally.kept / 2:
        click.echo("note: most tasks come at the same time as the one before: are the times coarse?", err=True)
    if done.span_s > scenario.duration_s:
        click.echo(f"note: the topology's duration is {scenario.duration_s:g} s; run it with --duration "
                   f"'{int(done.span_s) + 1} s'", err=True)  # fmt: skip
