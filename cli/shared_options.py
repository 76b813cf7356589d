"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.quantity import factor, seconds

if TYPE_CHECKING:
    from testbed.assertions import Assertion
    from testbed.cells.cluster.choice import ClusterChoice
    from testbed.topology.overrides import Override

Function = TypeVar("Function", bound=Callable[..., object])


def together(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """A decorator that adds several options; --help shows them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


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


def assert_option(function: Function) -> Function:
    """The option --assert of a command that makes one run, which receives `assertions`."""
    return click.option(
        "--assert", "assertions", multiple=True, metavar="BOUND", callback=_assertions_of_a_run,
        help="A bound that a figure of the summary must keep, else the exit code is 5: 'p95 < 600 ms', 'accuracy >= 85 "
        "%', 'lost == 0'. Figures are short names or paths such as delay_s.p95. May be given more than once.",
    )(function)  # fmt: skip


def policies_assert_option(function: Function) -> Function:
    """The option --assert of a command that compares policies, which receives `assertions`."""
    return click.option(
        "--assert", "assertions", multiple=True, metavar="BOUND", callback=_assertions,
        help="A bound that the means of every policy must keep, else the exit code is 5: 'p95 < 600 ms', 'lost == 0'; "
        "'ngto: p95 < 600 ms' concerns one policy. Counts are sums over all runs. May be given more than once.",
    )(function)  # fmt: skip


def objective_option(function: Function) -> Function:
    """The option --slo of a command that searches where an objective holds, which receives `objective`."""
    return click.option(
        "--slo", "objective", multiple=True, required=True, metavar="BOUND", callback=_assertions,
        help="What must hold in a run: 'p95 < 500 ms', 'accuracy >= 85 %'; 'ngto: p95 < 1 s' concerns one policy. "
        "Figures are short names or paths such as delay_s.p95. With several, all must hold.",
    )(function)  # fmt: skip


def check_mode(assertions: Sequence[Assertion], *, simulate: bool, option: str = "--assert") -> None:
    """Raise UsageError if an assertion is on a figure that only live runs, or only simulations, have."""
    other = "live" if simulate else "simulated"
    for assertion in assertions:
        if assertion.known.mode == other:
            raise click.UsageError(f"{option} {str(assertion)!r}: only {other} runs have {assertion.path}")


def _assertions(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Assertion, ...]:
    if not values:
        return ()
    from node_agent.errors import InputError
    from testbed.assertions import parse_assertion

    try:
        return tuple(parse_assertion(value) for value in values)
    except InputError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


def _assertions_of_a_run(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Assertion, ...]:
    found = _assertions(ctx, param, values)
    for assertion in found:
        if assertion.policy is not None:
            raise click.BadParameter(f"{assertion.text!r}: a run has one policy; leave out its name", ctx, param)
    return found


def override_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options --theta, --slot, --load and --set, which the command receives as `overrides`, in this order."""

    @wraps(function)
    def with_overrides(*args: object, assignments: tuple[Override, ...], **options: object) -> object:
        overrides = _taken_out(options, assignments)
        return function(*args, overrides=overrides, **options)

    return together(*_PERIODS_AND_LOAD, _SET)(with_overrides)


def cluster_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options --scheduler, --workers, --keys and --insecure, which the command receives as `cluster`."""

    @wraps(function)
    def with_cluster(
        *args: object, scheduler: str | None, workers: int | None, keys: Path | None, insecure: bool, **options: object
    ) -> object:
        return function(*args, cluster=_cluster(scheduler, workers, keys, insecure=insecure), **options)

    return together(*_CLUSTER)(with_cluster)


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


def plain_override_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options --theta, --slot and --load of a command with another --set; it receives them as `overrides`."""

    @wraps(function)
    def with_overrides(*args: object, **options: object) -> object:
        overrides = _taken_out(options)
        return function(*args, overrides=overrides, **options)

    return together(*_PERIODS_AND_LOAD)(with_overrides)


def _taken_out(options: dict[str, object], assignments: tuple[Override, ...] = ()) -> tuple[Override, ...]:
    """Take --theta, --slot and --load out of a command's options; return what they and `assignments` replace."""
    from testbed.topology.overrides import LOAD, Override, load_overrides

    theta, slot, load = (options.pop(name) for name in ("theta", "slot", "load"))
    loaded = load is not None or any(each.key == LOAD for each in assignments)
    if loaded and options.get("trace") is not None:
        raise click.UsageError("--load multiplies the topology's rates: a workload of --trace does not follow them")
    periods = [Override(key, f"{value!r} s") for key, value in (("theta", theta), ("slot", slot)) if value is not None]
    return (*periods, *(load_overrides(load) if isinstance(load, float) else ()), *assignments)


def _assignments(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Override, ...]:
    from node_agent.errors import InputError
    from testbed.topology.overrides import parse_override

    try:
        return tuple(parse_override(value) for value in values)
    except InputError as error:
        raise click.BadParameter(f"{error} ({error.hint})", ctx, param) from None


_PERIODS_AND_LOAD = (
    click.option(
        "--theta", metavar="TIME", callback=seconds,
        help="Mean delay that 100 points of accuracy are worth.  [default: the topology's]",
    ),
    click.option(
        "--slot", metavar="TIME", callback=seconds,
        help="Emulated time between two decisions of the policy.  [default: the topology's]",
    ),
    click.option(
        "--load", metavar="xFACTOR", callback=factor,
        help="Multiply the tasks that all devices offer, for example x1.2.",
    ),
)  # fmt: skip
_SET = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", callback=_assignments,
    help="Replace a value of the topology: servers.near.capacity='4 GFLOP/s', devices.*.rate=x0.5. Keys follow the "
    "file, with dots; * stands for every entry; xFACTOR multiplies. May be given more than once.",
)  # fmt: skip
