"""`model`: list, profile and train the early-exit models that the nodes run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.model_exporter import exporter
from cli.printing.columns import Lines, print_table
from testbed.wording import number, side_by_side

if TYPE_CHECKING:
    from node_agent.models import Bundle
    from node_agent.models.train import EpochReport

THRESHOLDS_SHOWN = (0.5, 0.8, 0.95)


def _parse_cut(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers such as 2,3,5", ctx, param) from None


@click.group(name="model", short_help="List, profile or train early-exit models.")
def command() -> None:
    """List, profile or train the early-exit models that the servers run."""


command.add_command(exporter)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table; accuracy is 0..1.")
def list_models(as_json: bool) -> None:
    """List the models that come with the testbed.

    Shows the accuracy (0..1) of each exit, and the number of samples that no training used.
    """
    from node_agent.models import available_models, load_bundle

    rows = [_describe(load_bundle(name)) for name in available_models()]
    if as_json:
        click.echo(json.dumps({"schema": 1, "models": rows}, indent=2))
        return
    lines = [["model", "classes", "exits after block", "accuracy of each exit", "samples"]]
    for row in rows:
        accuracies = ", ".join(number(accuracy, ".3f") for accuracy in row["accuracy"].values())
        lines.append(
            [row["name"], str(len(row["classes"])), ", ".join(row["accuracy"]), accuracies, str(row["samples"])]
        )
    print_table(lines)


def _describe(bundle: Bundle) -> dict[str, Any]:
    accuracy = bundle.exit_table(bundle.exits).correct.mean(axis=0)
    return {
        "name": bundle.name,
        "classes": bundle.card.get("classes", []),
        "accuracy": {str(block): float(share) for block, share in zip(bundle.exits, accuracy, strict=True)},
        "samples": bundle.sample_count,
    }


@command.command()
@click.argument("name", default="glyphs")
@click.option(
    "--cut",
    metavar="BLOCKS",
    callback=_parse_cut,
    default="2,3,5",
    show_default=True,
    help="Blocks after which the model is cut, one per stage; the last is the last block.",
)
@click.option(
    "--activation",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Format in which activations travel; float16 halves their bytes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables; CPU time in seconds, shares 0..1.")
def profile(name: str, cut: tuple[int, ...], activation: str, as_json: bool) -> None:
    """Measure the sub-models of NAME on this machine.

    NAME is a shipped model (default: glyphs) or a bundle's folder. The first table has work [MFLOP], sizes [byte], CPU
    time [ms], speed [GFLOP/s] and accuracy of each stage; the second, the share of all tasks that leaves at each stage
    under three thresholds.

    \b
    Example:
      dtoee-testbed model profile glyphs --cut 1,3,5 --activation float16
    """
    from node_agent.models import load_bundle

    report = _measure(load_bundle(name), cut, activation)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    print_table(_stage_lines(report["stages"]), left=(1,))
    print_table(_threshold_lines(report["thresholds"]), left=())


def _stage_lines(stages: Sequence[Mapping[str, Any]]) -> Lines:
    lines = [["stage", "blocks", "MFLOP", "in B", "out B", "weights B", "CPU ms", "GFLOP/s", "accuracy"]]
    for row in stages:
        sizes = (str(row[name]) for name in ("input_bytes", "output_bytes", "parameters_bytes"))
        speed = number(row["flop"] / row["cpu_s"], ".1f", 1e-9)
        figures = (number(row["cpu_s"], ".3f", 1e3), speed, number(row["accuracy"], ".3f"))
        lines.append([str(row["stage"]), row["blocks"], number(row["flop"], ".2f", 1e-6), *sizes, *figures])
    return lines


def _threshold_lines(thresholds: Sequence[Mapping[str, Any]]) -> Lines:
    lines = [["threshold", "share leaving at each stage", "accuracy"]]
    for row in thresholds:
        shares = side_by_side(row["exit_share"], ".1f", 1e2)
        lines.append([number(row["threshold"], ".2f"), f"{shares} %", number(row["accuracy"], ".3f")])
    return lines


def _measure(bundle: Bundle, cut: tuple[int, ...], activation: str) -> dict[str, Any]:
    from node_agent.models.cost import cpu_s_per_inference
    from node_agent.models.cost import profile as profile_sub_models

    sub_models = bundle.sub_models(cut)
    costs = profile_sub_models(sub_models, "float16" if activation == "float16" else "float32")
    table = bundle.exit_table(cut)
    stages = []
    for cost, sub_model, begin, end in zip(costs, sub_models, (0, *cut), cut, strict=False):
        blocks = f"{begin + 1}-{end}" if end > begin + 1 else str(end)
        measured = {
            "cpu_s": cpu_s_per_inference(sub_model),
            "accuracy": float(table.correct[:, cost.stage - 1].mean()),
        }
        stages.append({"stage": cost.stage, "blocks": blocks, **asdict(cost), **measured})
    thresholds = []
    for threshold in THRESHOLDS_SHOWN:
        share, accuracy = table.outcome([threshold] * (len(cut) - 1))
        thresholds.append({"threshold": threshold, "exit_share": share.tolist(), "accuracy": accuracy})
    return {
        "schema": 1,
        "model": bundle.name,
        "cut": list(cut),
        "activation": activation,
        "stages": stages,
        "thresholds": thresholds,
    }


@command.command()
@click.argument("name", default="glyphs")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    required=True,
    help="Folder for the bundle: new or empty. Topologies name it as their model.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    metavar="N",
    help="Seed of the split, the corruptions and the weights.  [default: that of the shipped model]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Passes over the training images.  [default: that of the shipped model]",
)
def train(name: str, out: Path, seed: int | None, epochs: int | None) -> None:
    """Train the model NAME (default: glyphs). Takes minutes of CPU; the defaults remake the shipped model.

    The source images come from two Python packages, of which only the files are read. If they are missing, the error
    says how to install them.

    \b
    Example:
      dtoee-testbed model train glyphs --out my-glyphs --seed 2
    """
    from node_agent.errors import InputError
    from node_agent.models import data, load_bundle
    from node_agent.models.train import RECIPES, train_model
    from testbed.record.claim import claim_directory

    if name not in RECIPES:
        raise InputError(f"no recipe for a model {name!r}", hint=f"models: {', '.join(RECIPES)}")
    data.check_sources()
    claim = claim_directory(out, what="folder")  # held to the end: training takes minutes
    if any(out.iterdir()):
        raise InputError(f"{out} is not empty", hint="name a new folder; a bundle must not mix with other files")

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    recipe = RECIPES[name]
    settings = replace(
        recipe, seed=recipe.seed if seed is None else seed, epochs=recipe.epochs if epochs is None else epochs
    )
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        epoch_bar = bar.add_task("training", total=settings.epochs, loss="-")

        def show(report: EpochReport) -> None:
            bar.update(epoch_bar, completed=report.epoch, loss=number(report.loss, ".3f"))
            if not console.is_terminal:
                click.echo(f"epoch {report.epoch}/{report.epochs}: loss {number(report.loss, '.3f')}", err=True)

        train_model(out, settings, show)
    claim.release()
    accuracy = load_bundle(str(out)).card["accuracy"]["evaluation"]
    shown = ", ".join(f"{number(value, '.3f')} after block {block}" for block, value in accuracy.items())
    click.echo(f"{out}: accuracy of the exits on the evaluation images: {shown}")
