"""Train an early-exit network, calibrate its exits and make its bundle; a seed gives one result."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from node_agent.errors import InputError
from node_agent.models.bundles.writing import BundleContent, MeasuredTable
from node_agent.models.data_types import Samples
from node_agent.models.networks.cost import measure_parts
from node_agent.models.networks.early_exit import EarlyExitModel, EpochReport, Progress, Recipe, TrainingData
from node_agent.models.networks.made import build, class_fault, recipe_fault, running
from node_agent.models.networks.scoring import (
    batches,
    calibrate,
    check_scores,
    exit_answers,
    input_array,
    temperatures,
)
from node_agent.models.networks.threads import fixed_threads
from node_agent.models.networks.user_code import UserClass
from node_agent.models.training.labelled import split_samples

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Training:
    """A class to train, and how."""

    kind: type[EarlyExitModel]
    recipe: Recipe
    card: Mapping[str, Any]  # entries from which the class makes its network
    code: UserClass | None = None  # the user's file that holds the class
    family: str | None = None  # or the family that holds it


def train_model(
    task: Training, progress: Progress | None = None, *, stored: EarlyExitModel | None = None,
    history: Mapping[str, Any] | None = None,
) -> BundleContent:  # fmt: skip
    """Train, calibrate and measure, and return a bundle's content; takes seconds to minutes of processor time.

    Args:
        task: the class and the settings.
        progress: called after each epoch.
        stored: a network that is measured instead of a new one, or from which training begins if there are epochs.
        history: entries of the card about how `stored` was trained.

    Raises:
        EnvironmentLacking: a source of samples is missing.
        InputError: the class breaks the contract, its code fails, or its recipe or samples do not fit.
    """
    if fault := class_fault(task.kind):
        raise InputError(f"model {_name(task)}: {fault}", hint="docs/models.md has an example")
    if fault := recipe_fault(task.recipe):
        raise InputError(f"model {_name(task)}: {fault}", hint="state it in the class: recipe = Recipe(...)")
    with running(task.code, "training_data"):
        data = task.kind.prepare(task.recipe, progress) or split_samples(task.kind, task.recipe, task.code)
    with running(task.code, "training"), fixed_threads(task.recipe.threads):
        return build_content(task, data, progress, stored=stored, history=history)


def build_content(
    task: Training, data: TrainingData, progress: Progress | None = None, *, stored: EarlyExitModel | None = None,
    history: Mapping[str, Any] | None = None,
) -> BundleContent:  # fmt: skip
    """Train on these samples and return a bundle's content; arguments as in `train_model`."""
    with fixed_threads(task.recipe.threads):
        if stored is None or task.recipe.epochs:
            network, epochs_run = fit(task, data, progress, stored)
            history = {"training": asdict(task.recipe), "epochs_run": epochs_run}
        else:
            network = stored
        network = network.fold()
        _round(network)
        check_scores(network, data.calibration, _name(task))
        calibrate(network, data.calibration)
        _round(network)  # temperatures, too
        table = measured_table(network, data.exit_table)
        scores = exit_answers(network, data.evaluation)
        right = np.equal(scores.prediction, data.evaluation.labels[:, None]).mean(axis=0)
        by_exit = [str(block) for block in network.exits]
        card = {
            "schema": 1,
            **_origin(task),
            **network.card_entries(),
            "exits": list(network.exits),
            "input": {"shape": list(network.input.shape), "dtype": network.input.dtype, "varies": network.input.varies},
            "classes": task.kind.classes if isinstance(task.kind.classes, int) else list(task.kind.classes),
            "licence": network.licence,
            "costs": measure_parts(network),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            **(history or {}),
            "samples": {
                "train": data.train_count,
                "calibration": len(data.calibration),
                "exit_table": len(table),
                "evaluation": len(data.evaluation),
            },
            "temperature": dict(zip(by_exit, temperatures(network), strict=True)),
            "accuracy": {
                "exit_table": dict(zip(by_exit, table.correct.mean(axis=0).tolist(), strict=True)),
                "evaluation": dict(zip(by_exit, right.tolist(), strict=True)),
            },
            **data.notes,
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
        }
    return BundleContent(network.own_state(), table, data.evaluation, scores, card, network.notices, network.stored_as)


def measured_table(network: EarlyExitModel, samples: Samples) -> MeasuredTable:
    """Return the answers of all exits to the samples of an exit table, and which are right."""
    answers = exit_answers(network, samples)
    return MeasuredTable(answers, np.equal(answers.prediction, samples.labels[:, None]))


def _round(network: EarlyExitModel) -> None:
    """Round the weights to the type in which a bundle holds them, so that what is measured is what will run."""
    if network.stored_as == "float16":
        for tensor in network.own_state().values():
            if tensor.dtype == torch.float32:
                tensor.copy_(tensor.half())


def _origin(task: Training) -> dict[str, object]:
    if task.code is None:
        return {"family": task.family}
    return {"code": {"file": task.code.file.name, "name": task.code.name, "sha256": task.code.sha256()}}


def _name(task: Training) -> str:
    return str(task.code or task.family or task.kind.__name__)


def fit(
    task: Training, data: TrainingData, progress: Progress | None = None, start: EarlyExitModel | None = None
) -> tuple[EarlyExitModel, int]:
    """Return the network after joint training of all exits (weighted cross entropies), and the epochs that it took.

    With validation samples and `patience`, training stops when their loss no longer falls; the best weights are kept.
    Training begins with the weights of `start`, if there is one.
    """
    recipe = task.recipe
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = _built(task)
        with running(task.code, "begin"):
            network.begin()
        network.borrow()
        if start is not None:
            network.load_state_dict(start.state_dict())
        if (taught := network.teach(data, recipe, progress)) is not None:
            return network, taught
        weights = recipe.exit_weights or (1.0,) * len(network.exits)
        if len(weights) != len(network.exits):
            said = f"recipe.exit_weights is {recipe.exit_weights}, but must be one number for each exit"
            hint = f"{len(network.exits)} numbers: the exits stand after blocks {list(network.exits)}"
            raise InputError(f"model {_name(task)}: {said}", hint=hint)
        if recipe.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        best: tuple[float, dict[str, Tensor]] | None = None
        epoch = waited = 0
        for epoch, loss in enumerate(_epochs(network, data, recipe, weights), start=1):
            checked = None
            if data.validation is not None and recipe.patience is not None:
                checked = _validation_loss(network, data.validation, weights)
                waited += 1
                if best is None or checked < best[0]:
                    best, waited = (checked, {key: value.clone() for key, value in network.state_dict().items()}), 0
            if progress is not None:
                progress(EpochReport(epoch, recipe.epochs, loss, checked))
            if recipe.patience is not None and waited >= max(1, recipe.patience):
                break
        if best is not None:
            network.load_state_dict(best[1])
    return network.to(memory_format=torch.contiguous_format), epoch  # type: ignore[call-overload]


def _built(task: Training) -> EarlyExitModel:
    try:
        network = build(task.kind, task.card, task.code)
        with running(task.code, "a pass of zeros"):
            try:
                measure_parts(network.eval(), partial(running, task.code))  # faults show before minutes of training
            except InputError as error:
                raise InputError(f"model {_name(task)}: {error}", hint=error.hint) from error
        return network
    except ValueError as error:
        raise InputError(f"model {_name(task)}: {error}", hint="docs/models.md has an example") from error


def _epochs(network: EarlyExitModel, data: TrainingData, recipe: Recipe, weights: tuple[float, ...]) -> Iterator[float]:
    """Train epoch by epoch; yields the mean loss of each."""
    if not recipe.epochs:
        return
    if recipe.backbone == "frozen":
        network.requires_grad_(False)
        network.heads.requires_grad_(True)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    first = data.train(1)
    per_epoch = sum(1 for _ in batches(first, np.arange(len(first)), recipe.batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.peak_learning_rate, total_steps=recipe.epochs * per_epoch, pct_start=0.2
    )
    for epoch in range(1, recipe.epochs + 1):
        samples = first if epoch == 1 else data.train(epoch)
        chance = torch.Generator().manual_seed(recipe.seed * 2000 + epoch)
        order = torch.randperm(len(samples), generator=chance).numpy()
        _train_mode(network, recipe)
        losses = []
        for rows in _shuffled(samples, order, recipe.batch, chance):
            loss = _joint_loss(network, samples, rows, weights)
            if not math.isfinite(float(loss.detach())):
                raise InputError(f"the loss is {float(loss.detach())} in epoch {epoch}", hint="a lower learning rate?")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
            schedule.step()
        yield float(np.mean(losses))


def _shuffled(samples: Samples, order: Rows, size: int, chance: torch.Generator) -> Iterator[Rows]:
    """Batches in random order; where lengths vary, `batches` sorts by length."""
    if samples.lengths is None:
        yield from batches(samples, order, size)
        return
    found = list(batches(samples, order, size))
    for index in torch.randperm(len(found), generator=chance).tolist():
        yield found[index]


def _train_mode(network: EarlyExitModel, recipe: Recipe) -> None:
    """Training mode; in a frozen backbone, for the heads alone: its running statistics must stay."""
    network.train()
    if recipe.backbone == "frozen":
        network.eval()
        network.heads.train()


def _validation_loss(network: EarlyExitModel, samples: Samples, weights: tuple[float, ...]) -> float:
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for rows in batches(samples, np.arange(len(samples)), 250):
            total += float(_joint_loss(network, samples, rows, weights)) * len(rows)
    return total / len(samples)


def _joint_loss(network: EarlyExitModel, samples: Samples, rows: Rows, weights: tuple[float, ...]) -> Tensor:
    target = torch.from_numpy(samples.labels[rows])
    logits = network(input_array(samples.batch(rows)))
    losses = [weight * functional.cross_entropy(one, target) for weight, one in zip(weights, logits, strict=True)]
    return torch.stack(losses).sum()
