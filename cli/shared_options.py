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
