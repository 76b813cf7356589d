"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., object])


def seed_option(what: str, default: int | None = None) -> Callable[[Function], Function]:
    """The option --seed, as a decorator, with this help, which also shows a `default`."""
    return click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        metavar="N",
        default=default,
        show_default=default is not None,
        help=what,
    )


def first_seed_option(function: Function) -> Function:
    """The option --seed of a command that repeats runs."""
    return seed_option("Seed of the first repeat; each further repeat adds 1.  [default: the topology's]")(function)


def all_runs_option(function: Function) -> Function:
    """The option --out of a command that repeats runs."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Directory of all runs and results; complete runs in it are kept.  [default: a new one in runs/]",
    )(function)


def parse_cut(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """The blocks of a cut such as 2,3,5; None for no text."""
    try:
        return None if value is None else tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers such as 2,3,5", ctx, param) from None


def model_options(function: Function) -> Function:
    """The options --model, --cut and --criterion of a command that takes a topology."""
    criterion = click.option(
        "--criterion",
        metavar="NAME",
        help="Exit criterion, whose score servers compare with their thresholds: confidence, entropy, margin or "
        "patience.  [default: the topology's]",
    )
    cut = click.option(
        "--cut",
        metavar="BLOCKS",
        callback=parse_cut,
        help="Last block of each sub-model, first stage first, for example 2,3,5.  [default: the topology's, or all "
        "exits of another model that has one for each stage]",
    )
    model = click.option(
        "--model",
        metavar="MODEL",
        help="Another model than the topology's: a name from `model list`, the folder of a bundle, FILE.py:CLASS for "
        "your own, or a table (.npz, .csv, .parquet).",
    )
    return model(cut(criterion(function)))
