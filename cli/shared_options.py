"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cli.quantity import seconds

if TYPE_CHECKING:
    from testbed.cells.cluster.choice import ClusterChoice
    from testbed.topology.overrides import Override

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


def override_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options --theta, --slot, --load and --set, which the command receives as `overrides`, in this order."""

    @wraps(function)
    def with_overrides(
        *args: object, theta: float | None, slot: float | None, load: float | None, assignments: tuple[Override, ...],
        **options: object,
    ) -> object:  # fmt: skip
        return function(*args, overrides=_overrides(theta, slot, load, assignments), **options)

    for option in reversed(_OVERRIDES):
        with_overrides = option(with_overrides)
    return with_overrides


def cluster_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options --scheduler, --workers, --keys and --insecure, which the command receives as `cluster`."""

    @wraps(function)
    def with_cluster(
        *args: object, scheduler: str | None, workers: int | None, keys: Path | None, insecure: bool, **options: object
    ) -> object:
        return function(*args, cluster=_cluster(scheduler, workers, keys, insecure=insecure), **options)

    for option in reversed(_CLUSTER):
        with_cluster = option(with_cluster)
    return with_cluster


def _cluster(scheduler: str | None, workers: int | None, keys: Path | None, *, insecure: bool) -> ClusterChoice | None:
    from node_agent.errors import InputError
    from testbed.cells.cluster.choice import ClusterChoice

    if (scheduler, workers, keys, insecure) == (None, None, None, False):
        return None
    try:
        return ClusterChoice(scheduler, workers, keys, insecure)
    except InputError as error:
        raise click.UsageError(f"{error} ({error.hint})") from None


_CLUSTER = (
    click.option(
        "--scheduler", metavar="URL",
        help="Carry out the runs on the workers of this Dask scheduler: tls://HOST:PORT, or tcp://HOST:PORT on this "
        "machine. Live runs get a machine each.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), metavar="N",
        help="Carry out the simulations on N Dask workers, started on this machine for this command.",
    ),
    click.option(
        "--keys", type=click.Path(path_type=Path), metavar="DIR",
        help="Keys for tls://, made by `dtoee-testbed cluster keys DIR`.",
    ),
    click.option(
        "--insecure", is_flag=True,
        help="Allow tcp:// to another machine. Whoever reaches such a scheduler can run any code on its workers.",
    ),
)  # fmt: skip


def _overrides(
    theta: float | None, slot: float | None, load: float | None, assignments: tuple[Override, ...]
) -> tuple[Override, ...]:
    from testbed.topology.overrides import Override, load_overrides

    periods = [Override(key, f"{value!r} s") for key, value in (("theta", theta), ("slot", slot)) if value is not None]
    return (*periods, *(() if load is None else load_overrides(load)), *assignments)


def _factor(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    from testbed.units import QuantityError, parse_factor

    try:
        return None if value is None else parse_factor(value)
    except QuantityError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


def _assignments(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Override, ...]:
    from node_agent.errors import InputError
    from testbed.topology.overrides import parse_override

    try:
        return tuple(parse_override(value) for value in values)
    except InputError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


_OVERRIDES = (
    click.option(
        "--theta", metavar="TIME", callback=seconds,
        help="Mean delay that 100 points of accuracy are worth.  [default: the topology's]",
    ),
    click.option(
        "--slot", metavar="TIME", callback=seconds,
        help="Emulated time between two decisions of the policy.  [default: the topology's]",
    ),
    click.option(
        "--load", metavar="xFACTOR", callback=_factor,
        help="Multiply the tasks that all devices offer, for example x1.2.",
    ),
    click.option(
        "--set", "assignments", multiple=True, metavar="KEY=VALUE", callback=_assignments,
        help="Replace a value of the topology: servers.near.capacity='4 GFLOP/s', devices.*.rate=x0.5. Keys follow the "
        "file, with dots; * stands for every entry; xFACTOR multiplies. May be given more than once.",
    ),
)  # fmt: skip
