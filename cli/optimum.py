"""`optimum`: compute the best plan for a topology, or for the tasks of a recorded run, and a bound on any plan."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.printing.columns import Lines, print_lines, print_table
from cli.printing.summary_lines import outside_validation_text
from cli.quantity import DURATION_HELP
from cli.quantity import seconds as seconds_option
from cli.shared_options import model_options, override_options, seed_option
from testbed.wording import counted, milliseconds, number, percent, seconds, side_by_side

if TYPE_CHECKING:
    from testbed.optimum.bound import Optimum, PlanFigures, SegmentOptimum
    from testbed.topology.overrides import Override

PLANS_SHOWN = 8  # events are few, but with links that follow traces there is a plan for every slot
DEVICES_SHOWN = 12


def _thresholds(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...] | None:
    if value == "search":
        return None
    from testbed.units import QuantityError, parse_number

    try:
        return tuple(math.inf if part.strip() == "never" else parse_number(part) for part in value.split(","))
    except QuantityError:
        message = f"{value!r} is neither search nor numbers such as 0.8 or 0.8,never"
        raise click.BadParameter(message, ctx, param) from None


@click.command(name="optimum", short_help="Compute the best plan for a topology, and a bound on any plan.")
@click.argument("source", metavar="TOPOLOGY|RUN_DIR", type=click.Path(path_type=Path))
@seed_option("Seed of the topology's ranges and of the tasks (TOPOLOGY only).  [default: the topology's]")
@click.option("--duration", metavar="TIME", callback=seconds_option, help=DURATION_HELP)
@model_options
@override_options
@click.option(
    "--thresholds",
    metavar="search|C[,C...]",
    callback=_thresholds,
    default="search",
    show_default=True,
    help="Confidence thresholds (0 to 1, or never): search for the best, or take one for all stages, or one for each "
    "stage but the last. Examples: 0.8; 0.8,0.7; 0.8,never.",
)
@click.option(
    "--cuts",
    is_flag=True,
    help="Search where to cut the model and which server hosts which stage, and print the best topology.",
)
@click.option(
    "--stages",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --cuts: number of stages.  [default: the topology's]",
)
@click.option(
    "--time-limit",
    "limit",
    metavar="TIME",
    callback=seconds_option,
    help="With --cuts: real time after which the search ends with the best found.  [default: none]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --cuts: write the best topology to a new file instead of printing it.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON with all plans; times in seconds, shares and accuracy 0..1."
)
def command(
    source: Path,
    seed: int | None,
    duration: float | None,
    model: str | None, cut: tuple[int, ...] | None, criterion: str | None,
    overrides: tuple[Override, ...],
    thresholds: Sequence[float] | None,
    cuts: bool,
    stages: int | None, limit: float | None, out: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Compute the centralised optimum: the plans of a solver that knows everything, and a certified bound on any plan.

    A plan is a set of fixed shares and thresholds. Between two events the model assumes steady state and takes queues
    from a formula, a few per cent above true ones; the bound (columns `at least` and `at most`) holds in this model.
    The plans are also played against the tasks themselves: compare a run with the line `played`.

    With --cuts, the optimum is that over all cuts and placements: each server hosts one stage, its memory holds the
    sub-model, and links lead from stage to stage. Small networks are searched exactly, larger ones locally. Ctrl-C
    prints the best found so far, with exit code 130.

    For RUN_DIR, a directory of a complete run, rates are counted in its trace, and the run's figures are printed too.

    \b
    Examples:
      dtoee-testbed optimum topologies/quickstart.yaml
      dtoee-testbed optimum topologies/surge.yaml --thresholds 0.8,never
      dtoee-testbed optimum topologies/quickstart.yaml --cuts --out better.yaml
      dtoee-testbed optimum runs/first
    """
    if not cuts and (stages, limit, out) != (None,) * 3:
        raise click.UsageError("--stages, --time-limit and --out need --cuts")
    if cuts:
        if source.is_dir():
            raise click.UsageError("--cuts needs a topology: a run directory holds one cut and its tasks")
        chosen = {"model": model, "cut": cut, "criterion": criterion, "overrides": overrides, "stages": stages}
        return _place(source, {**chosen, "seed": seed, "duration_s": duration}, thresholds, limit, out, as_json)
    from testbed.optimum.bound import bound_for, bound_for_run
    from testbed.topology import load_topology

    summary: Mapping[str, Any] | None = None
    if source.is_dir():
        if (seed, duration, model, cut, criterion) != (None,) * 5 or overrides:
            what = "--seed, --duration, --model, --cut, --criterion and what replaces values"
            raise click.UsageError(f"{what} belong to topologies: a run directory holds its trace and its model")
        optimum, summary = bound_for_run(source, thresholds=thresholds)
    else:
        scenario = load_topology(source, model=model, cut=cut, criterion=criterion, overrides=overrides).resolve(
            seed=seed, duration_s=duration
        )
        optimum = bound_for(scenario, scenario.model.open(), thresholds=thresholds)
    if as_json:
        content = optimum.as_dict()
        if summary is not None:
            content["run"] = run_beside(optimum, summary)
        click.echo(json.dumps(content, indent=2, allow_nan=False))
        return 0
    _print(optimum, summary)
    return 0


def _place(
    source: Path, options: Mapping[str, Any], thresholds: Sequence[float] | None, limit_s: float | None,
    out: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Search the best placement, print it or write it, and return the exit code."""
    from cli.printing.placement_lines import placing, print_placement
    from testbed.placement import Placer, check_new, read_site, rewritten, write_new

    if out is not None:
        check_new(out)
    with placing() as observer:
        stated = read_site(source, **options)
        site = stated.site
        found = Placer(site, thresholds, seed=site.scenario.seed, limit_s=limit_s, observer=observer).run()
    written = None
    if found.best is not None:
        note = f"Written by dtoee-testbed optimum --cuts, from {source}."
        written = rewritten(
            stated, found.best.candidate, seed=options["seed"], duration_s=options["duration_s"],
            folder=None if out is None else str(out.absolute().parent), note=note,
        )  # fmt: skip
        if out is not None:
            write_new(out, written.text)
    if as_json:
        told = {"changes": (), "overrides": (), "text": None} if written is None else asdict(written)
        click.echo(json.dumps({**found.as_dict(), **told}, indent=2, allow_nan=False))
    else:
        print_placement(found, written, to_file=None if out is None or written is None else str(out))
    if found.ended == "interrupted":
        return 130
    return 0 if found.best is not None else 3


def optimum_lines(optimum: Optimum, summary: Mapping[str, Any] | None = None) -> Iterator[tuple[str, str]]:
    """Lines (label, text) for `print_lines`; `summary` is that of a run of the same scenario, None without one."""
    if optimum.overall is None:
        yield "Optimum", "none: no plan can serve what is offered" if optimum.unserved else "none: no task is offered"
    else:
        best = optimum.overall
        yield (
            "Optimum",
            (
                f"mean delay {_delay(best.mean_delay_s)} at accuracy {percent(best.accuracy)}, "
                f"utility {seconds(best.utility_s)} (model: no plan above {seconds(best.utility_bound_s)})"
            ),
        )
    if (played := optimum.played) is not None:
        yield (
            "",
            (
                f"played: mean delay {_delay(played.mean_delay_s)} at accuracy {percent(played.accuracy)}, "
                f"utility {seconds(played.utility_s)}"
            ),
        )
        if played.in_time is not None:
            in_time, right = percent(played.in_time), percent(played.correct_in_time)
            yield "", f"        {in_time} in time, {right} right and in time"
    if optimum.utility_of == "deadlines":
        yield "", "utility counts right answers in time when played and in runs, all right answers in the model"
    for segment in optimum.unserved:
        yield "", f"left out: {segment.begin_s:g}-{segment.end_s:g} s, {segment.trouble}"
    if optimum.links_outside_validation:
        yield "", outside_validation_text(optimum.links_outside_validation)
    if summary is None:
        return
    if refused := _refused(summary):
        yield "", f"without the {counted(refused, 'task')} that this run refused"
    beside = run_beside(optimum, summary)
    if beside["delay_over_played"] is not None:
        less_s = beside["utility_below_played_s"]
        yield (
            "",
            (
                f"this run: utility {seconds(abs(less_s))} {'below' if less_s >= 0 else 'above'} that, "
                f"delay {number(beside['delay_over_played'], '.2f')} times as long"
            ),
        )
    if refused and beside["mean_delay_s"] is not None:
        yield "", "not compared with the least delay of any plan: refusals evened out the arrivals"
    if beside["delay_over_least"] is not None:
        yield (
            "",
            (
                f"its delay is {number(beside['delay_over_least'], '.2f')} times the least of any plan as accurate "
                f"(model: {_delay(beside['least_delay_s'])})"
            ),
        )


def run_beside(optimum: Optimum, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's figures with the bound, in seconds and shares (0..1); a figure that does not exist is None.

    `least_delay_s` is the model's lower bound on the mean delay of plans with at least the run's accuracy. Names with
    `played` refer to the best plans, played against the same tasks. If devices refused tasks, those of the
    model are None: refusals make arrivals more even than the model's Poisson processes.
    """
    delay_s, accuracy, utility_s = summary["delay_s"]["mean"], summary["accuracy"], summary["utility"]
    refused, played = _refused(summary), optimum.played
    best = None if refused else optimum.overall
    least_s = None if refused or accuracy is None else optimum.least_delay_s(accuracy)
    return {
        "policy": summary["policy"],
        "mean_delay_s": delay_s,
        "accuracy": accuracy,
        "utility_s": utility_s,
        "least_delay_s": least_s,
        "delay_over_least": delay_s / least_s if delay_s is not None and least_s else None,
        "delay_over_played": delay_s / played.mean_delay_s if delay_s is not None and played else None,
        "utility_below_played_s": played.utility_s - utility_s if utility_s is not None and played else None,
        "utility_below_bound_s": best.utility_bound_s - utility_s if utility_s is not None and best else None,
    }


def _refused(summary: Mapping[str, Any]) -> int:
    return int(summary.get("tasks", {}).get("refused", 0))


def _print(optimum: Optimum, summary: Mapping[str, Any] | None) -> None:
    print_table(_figure_lines(optimum, summary), title=_title(optimum), left=(0, 7))
    planned = [segment for segment in optimum.segments if segment.figures is not None and segment.weight > 0]
    for segment in planned[:PLANS_SHOWN]:
        title = f"plan for {segment.begin_s:g}-{segment.end_s:g} s"
        print_table(_plan_lines(segment), title=title, left=(0, 3))
    if len(planned) > PLANS_SHOWN:
        click.echo(f"({len(planned) - PLANS_SHOWN} more plans: --json shows them)")
    print_lines(optimum_lines(optimum, summary))


def _title(optimum: Optimum) -> str:
    how = "thresholds searched for" if optimum.searched else "thresholds given"
    return f"{optimum.topology}: theta {optimum.theta_s:g} s, {how}"


def _figure_lines(optimum: Optimum, summary: Mapping[str, Any] | None) -> Lines:
    lines = [["segment", "tasks", "delay", "at least", "accuracy", "utility", "at most", ""]]
    for segment in optimum.segments:
        span = f"{segment.begin_s:g}-{segment.end_s:g} s"
        lines.append([span, number(segment.weight, ".0f"), *_cells(segment.figures), _state(segment)])
    whole = sum(segment.weight for segment in optimum.segments if segment.figures is not None)
    left = f"without {len(optimum.unserved)} of {len(optimum.segments)}" if optimum.unserved else ""
    lines.append(["overall", number(whole, ".0f"), *_cells(optimum.overall), left])
    if (played := optimum.played) is not None:
        figures = _cells_without_bounds(played.mean_delay_s, played.accuracy, played.utility_s)
        lines.append(["played", str(played.tasks), *figures, f"{played.times} times"])
    if summary is not None:
        figures = _cells_without_bounds(summary["delay_s"]["mean"], summary["accuracy"], summary["utility"])
        tasks = summary["tasks"].get("counted", summary["tasks"]["completed"])
        lines.append([f"run: {summary['policy']}", str(tasks), *figures, ""])
    return lines


def _cells_without_bounds(delay_s: float | None, accuracy: float | None, utility_s: float | None) -> tuple[str, ...]:
    return _delay(delay_s), "", percent(accuracy), seconds(utility_s), ""


def _cells(figures: PlanFigures | None) -> tuple[str, ...]:
    if figures is None:
        return ("-",) * 5
    return (
        _delay(figures.mean_delay_s), _delay(figures.lower_bound_s), percent(figures.accuracy),
        seconds(figures.utility_s), seconds(figures.utility_bound_s),
    )  # fmt: skip


def _state(segment: SegmentOptimum) -> str:
    if segment.figures is None:
        return segment.trouble
    return f"exits {side_by_side(segment.exit_share, '.0f', 1e2)} %"


def _plan_lines(segment: SegmentOptimum) -> Lines:
    lines = [["node", "busy", "threshold", "offloads to"]]
    devices = [name for name in segment.plan if name not in segment.utilisation]
    lines += [[name, "", "", _shares(segment.plan[name])] for name in devices[:DEVICES_SHOWN]]
    if len(devices) > DEVICES_SHOWN:
        lines.append([f"({len(devices) - DEVICES_SHOWN} more)", "", "", "--json shows them"])
    for name, utilisation in segment.utilisation.items():
        threshold = _threshold(segment.thresholds[name]) if name in segment.thresholds else ""
        lines.append([name, percent(utilisation, ".0f"), threshold, _shares(segment.plan.get(name, {}))])
    return lines


def _threshold(threshold: float) -> str:
    return number(threshold, ".3f") if threshold <= 1 else "never"


def _shares(row: Mapping[str, float]) -> str:
    ordered = sorted(row.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {percent(share)}" for name, share in ordered)


def _delay(mean_s: float | None) -> str:
    return milliseconds(mean_s, ".1f")
