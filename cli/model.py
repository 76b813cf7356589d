"""`model`: list, profile and train early-exit models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.model_exporter import exporter
from cli.printing.columns import print_table
from cli.printing.model_lines import (
    cost_lines,
    criterion_lines,
    exit_lines,
    format_lines,
    labels_text,
    list_lines,
    simulated_lines,
    stage_lines,
    threshold_lines,
)
from cli.shared_options import parse_cut
from testbed.wording import number

if TYPE_CHECKING:
    from node_agent.models.data_types import ActivationFormat
    from node_agent.models.interface import Model
    from node_agent.models.networks.early_exit import EpochReport
    from node_agent.models.training.tasks import Job
    from testbed.scenario import ModelChoice


@click.group(name="model", short_help="List, profile or train early-exit models.")
def command() -> None:
    """List, profile or train the early-exit models that the servers run."""


command.add_command(exporter)


@command.command(name="list")
@click.argument("places", metavar="[PATH]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text; accuracy is 0..1, sizes in bytes.")
def list_models(places: tuple[str, ...], as_json: bool) -> None:
    """List the models that come with the testbed, those at each PATH, and published costs.

    PATH is a model (a bundle's folder, FILE.py:CLASS or a table), or a folder with bundles in it. Shows what is real, a
    network or a table of answers, with the accuracy (0..1) of each exit on samples that no training used. Published
    costs answer nothing: they lend their work and sizes to another model.
    """
    from node_agent.models import listing

    rows, costs = [listing.describe(place) for place in listing.places(places)], listing.all_costs()
    if as_json:
        click.echo(json.dumps({"schema": 1, "models": rows, "costs": costs}, indent=2))
        return
    for row in rows:
        for line in list_lines(row):
            click.echo(line)
    print_table(cost_lines(costs), title="Published costs, for `cost:` in a topology", left=(0, 6))


@command.command()
@click.argument("model", required=False)
@click.option(
    "--cut",
    metavar="BLOCKS",
    callback=parse_cut,
    help="Blocks after which the model is cut, one per stage; the last is the last block.  [default: the topology's, "
    "else all exits; for glyphs 2,3,5]",
)
@click.option(
    "--activation",
    type=click.Choice(["float32", "float16", "int8"]),
    help="Format in which activations travel; float16 halves their bytes, int8 quarters them.  [default: the "
    "topology's, else float32]",
)
@click.option(
    "--criterion",
    metavar="NAME",
    help="Exit criterion of all tables but that of the criteria: confidence, entropy, margin or patience.  [default: "
    "the topology's, else confidence]",
)
@click.option("--formats", is_flag=True, help="Also send samples through the sub-models in every activation format.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    metavar="N",
    help="Most evaluation samples for --formats.",
)
@click.option(
    "--topology",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Simulate this topology with every format and criterion, and print the mean delays.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables; times in seconds, shares 0..1.")
def profile(
    model: str | None,
    cut: tuple[int, ...] | None,
    activation: ActivationFormat | None,
    criterion: str | None,
    formats: bool,
    samples: int,
    topology: Path | None,
    as_json: bool,
) -> None:
    """Measure the sub-models of MODEL on this machine.

    MODEL is a shipped model, a bundle's folder, FILE.py:CLASS or a table (default: that of --topology, else glyphs).
    The first table has work [MFLOP], sizes [byte], CPU time [ms] and speed [GFLOP/s] of each stage; a table of answers
    has no time. The second has the accuracy of the exits, the expected calibration error (ECE, 15 bins) of their
    confidences, and the probability that a right answer is more confident than a wrong one (AUROC). The third shows the
    share of all tasks that leaves at each stage under three thresholds. The fourth compares the exit criteria at equal
    work per task. All but the first count the samples of the exit table.

    --formats sends evaluation samples through the sub-models as tasks do, and prints the effect of each activation
    format on answers, bytes over the links and CPU time per task. --topology adds mean delays, from simulations under
    the policy of FILE: formats change sizes there, but not answers. FILE's model, cut, format and criterion hold where
    you state none.

    \b
    Examples:
      dtoee-testbed model profile glyphs --cut 3,5 --activation float16
      dtoee-testbed model profile glyphs --formats --topology topologies/quickstart.yaml
    """
    from node_agent.models import load_model
    from node_agent.models.effects import criteria_effects, format_effects
    from node_agent.models.measuring import report

    chosen = _chosen(topology, model, cut, activation, criterion)
    found = load_model(chosen.name).judged_by(chosen.criterion)
    figures = report(found, chosen.cut, chosen.activation)
    figures["criterion"] = chosen.criterion
    figures["criteria"] = criteria_effects(found, chosen.cut, chosen.activation)
    if formats:
        figures["formats"] = format_effects(found, chosen.cut, samples)
    if topology is not None:
        figures["topology"] = str(topology)
        figures["simulated"] = _simulated(topology, chosen, found, figures["criteria"])
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    print_table(stage_lines(figures["stages"]), left=(1,))
    if said := labels_text(figures):
        click.echo(f"{said}\n")
    print_table(exit_lines(figures["stages"]), left=())
    print_table(threshold_lines(figures["thresholds"]), left=())
    print_table(criterion_lines(figures["criteria"]), title="Criteria, at the work of confidence 0.80")
    if formats:
        title = f"Activations, {figures['formats'][0]['samples']} evaluation samples, threshold 0.80"
        print_table(format_lines(figures["formats"]), title=title)
    if topology is not None:
        title = f"Simulated: {topology} with {found.name}, cut {','.join(map(str, chosen.cut))}"
        title += f", at the costs of {chosen.cost.name}" if chosen.cost else ""
        print_table(simulated_lines(figures["simulated"]), title=title, left=(0, 1))


def _chosen(
    topology: Path | None,
    model: str | None,
    cut: tuple[int, ...] | None,
    activation: ActivationFormat | None,
    criterion: str | None,
) -> ModelChoice:
    """The model, cut, format and criterion that are stated, else those of the topology, else the usual ones."""
    from node_agent.models import load_model
    from node_agent.models.measuring import usual_cut
    from testbed.scenario import ModelChoice

    if topology is None:
        name = model or "glyphs"
        cut = cut or usual_cut(load_model(name))
        return ModelChoice(name, cut, activation or "float32", criterion=criterion or "confidence")
    from testbed.topology import load_topology

    stated = load_topology(topology, model=model, cut=cut, criterion=criterion).resolve().model
    return replace(stated, activation=activation or stated.activation)


def _simulated(
    topology: Path, chosen: ModelChoice, model: Model, criteria: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Simulate a topology with every format that suits the model under the chosen criterion, then the reverse."""
    from node_agent.models.data_types import ACTIVATION_FORMATS
    from testbed.simulation.alternatives import mean_delays

    others = [row["criterion"] for row in criteria if row["criterion"] != chosen.criterion]
    choices = [(activation, chosen.criterion) for activation in ACTIVATION_FORMATS if _suits(model, activation)]
    choices += [(chosen.activation, criterion) for criterion in others]
    return mean_delays(topology, chosen.name, chosen.cut, choices)


def _suits(model: Model, activation: ActivationFormat) -> bool:
    from node_agent.errors import InputError

    try:
        model.check_format(activation)
    except InputError:
        return False
    return True


@command.command()
@click.argument("model", default="glyphs")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the bundle: new, empty, or with a bundle of the same class.  [default: FILE-CLASS beside FILE.py]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    metavar="N",
    help="Seed of the split, the weights and the order of samples.  [default: the recipe's]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    metavar="N",
    help="Passes over the training samples; 0 measures the stored weights again.  [default: the recipe's]",
)
@click.option(
    "--backbone",
    type=click.Choice(["frozen", "full"]),
    help="What is trained: only the exit heads, behind the blocks of the bundle that is there, or all.  [default: the "
    "recipe's]",
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    metavar="N",
    help="Epochs without a lower validation loss before training stops.  [default: the recipe's]",
)
def train(model: str, out: Path | None, **changes: object) -> None:
    """Train MODEL, measure it and write its bundle. The defaults remake a shipped model; that takes minutes of CPU.

    MODEL is a shipped model (default: glyphs), or FILE.py:CLASS: a class of your own, whose file runs now. Ctrl-C
    leaves no bundle that is not whole. The shipped models learn from the files of other packages, smollm from its own
    answers (a quarter of an hour of CPU). If packages are missing, the error says how to install them.

    \b
    Examples:
      dtoee-testbed model train my_model.py:MyModel
      dtoee-testbed model train glyphs --out my-glyphs --seed 2
    """
    from node_agent.models.bundles.card import outside_of
    from node_agent.models.bundles.writing import write_bundle
    from node_agent.models.training.tasks import job_for

    job = job_for(model, **{name: value for name, value in changes.items() if value is not None})
    folder = out or job.folder
    if folder is None:
        raise click.UsageError("--out is missing: state a new folder for the bundle")
    job.task.kind.check_sources()
    if job.begins_untrained(folder):
        click.echo("note: the blocks are not trained: their weights are those that the class itself sets", err=True)
    with _claimed(folder, job), _progress("training", job.task.recipe.epochs) as show:
        content = job.run(folder, show)
        write_bundle(folder, content)
    accuracy: dict[str, float] = content.card["accuracy"]["evaluation"]  # type: ignore[index]
    shown = ", ".join(f"{number(value, '.3f')} after block {block}" for block, value in accuracy.items())
    click.echo(f"{folder}: accuracy of the exits on the evaluation samples: {shown}")
    if said := labels_text({"labels": content.card.get("labels"), "outside": outside_of(content.card)}):
        click.echo(f"{folder}: {said}")


@command.command()
@click.argument("model")
def measure(model: str) -> None:
    """Measure the exits of MODEL again, and add the scores of all exit criteria to its bundle.

    Needed for a bundle of an earlier version, and after you have added a criterion. MODEL is a shipped model, or
    FILE.py:CLASS, whose file runs now, or a bundle's folder. The weights stay, and so do confidences and predictions.
    The samples are those of the training run. smollm answers its requests again, which takes most of the time of its
    training.

    \b
    Example:
      dtoee-testbed model measure my_model.py:MyModel
    """
    from node_agent.errors import InputError
    from node_agent.models import load_model
    from node_agent.models.bundles.bundle import Bundle
    from node_agent.models.training.measure import measure_again

    found = load_model(model)
    if not isinstance(found, Bundle):
        raise InputError(f"{model}: a table holds what was recorded", hint="add arrays to it: docs/models.md")
    with _progress("measuring", None) as progress:
        measure_again(found, progress)
    click.echo(f"{found.folder}: measured again")


@contextmanager
def _claimed(folder: Path, job: Job) -> Iterator[None]:
    """Hold the folder to the end, since training takes minutes; a folder that stays empty is removed."""
    from node_agent.errors import InputError
    from testbed.record.claim import claim_directory

    existed = folder.exists()
    claim = claim_directory(folder, what="folder")
    try:
        if any(folder.iterdir()) and not job.replaceable(folder):
            hint = "name a new folder; a bundle must not mix with other files"
            raise InputError(f"{folder} is not empty", hint=hint)
        yield
    finally:
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
        claim.release()


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[EpochReport], None]]:
    """A bar on a terminal, else a line for each report; `total` is the number of epochs, None if it is not known."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, loss="loss -" if total else "")

        def show(report: EpochReport) -> None:
            loss = "" if report.loss is None else f"loss {number(report.loss, '.3f')}"
            if report.validation is not None:
                loss += f", validation {number(report.validation, '.3f')}"
            counted = what if report.what == "epoch" else report.what
            bar.update(task, description=counted, completed=report.epoch, total=report.epochs, loss=loss)
            if not console.is_terminal:
                click.echo(f"{report.what} {report.epoch}/{report.epochs}{loss and f': {loss}'}", err=True)

        yield show
