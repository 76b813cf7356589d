"""The base class of all networks: a row of blocks, with exit heads behind some of them.

A family of the project and a user's own model in one file derive from it in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from node_agent.models.data_types import Input, Samples

# Types in which block 1 or a stage computes, by the type in which a tensor travels: torch knows few operations on
# uint16, and processors are slow at float16.
COMPUTED_AS = {
    "uint8": torch.uint8,
    "uint16": torch.int64,
    "int8": torch.float32,
    "float16": torch.float32,
    "float32": torch.float32,
}

Backbone = Literal["frozen", "full"]
Split = Literal["train", "test"]
StoredType = Literal["float32", "float16"]
Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a training run; with the code and the samples they determine its result."""

    seed: int = 1  # number that fixes the split, the first weights and the order of the samples
    epochs: int = 7  # number of passes over the training samples; 0 measures the weights as they are
    batch: int = 128  # number of samples per step
    peak_learning_rate: float = 4e-3  # factor of AdamW's steps at the peak of a one-cycle schedule
    weight_decay: float = 0.02  # factor of AdamW's decay
    exit_weights: tuple[float, ...] = ()  # factor of each exit's loss, first to last; (): 1 for each of them
    threads: int = 1  # number of torch's threads; another number rounds sums differently
    backbone: Backbone = "full"  # frozen: only the exit heads train
    patience: int | None = 3  # epochs without a lower validation loss before training stops; None: never
    channels_last: bool = False  # order of images in memory during training: faster for some convolutions
    held_out: int = 2000  # number of samples, at most, for each of validation, calibration and the exit table
    evaluation: int = 2000  # number of samples, at most, that devices offer


@dataclass(frozen=True, slots=True)
class EpochReport:
    """Progress of a training run: mean joint losses; or of work before it."""

    epoch: int  # 1-based
    epochs: int
    loss: float | None = None  # over the epoch; None: this work has none
    validation: float | None = None  # over the validation samples; None: they are not used
    what: str = "epoch"  # the things that are counted


Progress = Callable[[EpochReport], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """A model that a family can train, and how."""

    card: Mapping[str, Any]  # the entries of a card from which `from_card` makes the network
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The samples of a training run. None may serve two purposes."""

    train: Callable[[int], Samples]  # the training samples of an epoch (from 1); each epoch may have others
    train_count: int  # number of samples in an epoch
    validation: Samples | None  # decide when training stops; None: it never stops early
    calibration: Samples  # set the temperatures
    exit_table: Samples  # make the table that nodes plan with
    evaluation: Samples  # devices offer them as tasks
    notes: Mapping[str, Any]  # further entries of the card


class EarlyExitModel(nn.Module):
    """An early-exit network that can be cut into sub-models after each block with a head.

    A subclass sets `self.blocks` and `self.heads` in its `__init__`, which takes no arguments, and the class attributes
    `input`, `classes` and perhaps `licence` and `recipe`. `samples` returns its data.

    Fixed inputs travel one by one and reach block 1 as (1, *shape). Where lengths vary, a sample reaches block 1 as
    (1, n, *shape[1:]). Pixels (uint8) reach it as float32 from 0 to 1, token numbers (uint16) as int64.

    Attributes:
        blocks: block n takes an activation (N, ...) and returns one; in an `nn.ModuleList`.
        heads: by the number of the block as text, modules from its activation to logits (N, classes). The last block
            has one.
        input: the form of a sample.
        classes: the names of the classes, or their number.
        licence: of weights and samples, in words.
        recipe: the settings of training.
    """

    blocks: nn.ModuleList
    heads: nn.ModuleDict
    input: ClassVar[Input]
    classes: ClassVar[Sequence[str] | int]
    licence: ClassVar[str] = ""
    recipe: ClassVar[Recipe] = Recipe()
    notices: ClassVar[Path | None] = None  # a file of licences that is copied into bundles
    stored_as: ClassVar[StoredType] = "float32"  # type of the weights in a bundle's file; they compute in float32
    borrowed: ClassVar[tuple[str, ...]] = ()  # beginnings of the names of weights that `borrow` fills in

    @classmethod
    def check_sources(cls) -> None:
        """Raise EnvironmentLacking, with the command that installs it, if a source of samples is missing."""

    @classmethod
    def samples(cls, split: Split) -> Any:  # noqa: ANN401 - whatever `labelled` accepts
        """Return the labelled samples of a split.

        Args:
            split: "train" or "test"; devices offer samples of the second, which training never sees.

        Returns:
            An object with `images` and `labels`, or a tuple of both. Images are an array (N, *shape), or a list of N
            arrays where lengths vary; labels are whole numbers (N,).
        """
        raise NotImplementedError(f"{cls.__name__}.samples: state where the labelled samples come from")

    @classmethod
    def training_data(cls, recipe: Recipe) -> TrainingData | None:  # noqa: ARG003
        """Return the samples of a training run; None: those of `samples`, split by the recipe's seed."""
        return None

    @classmethod
    def prepare(cls, recipe: Recipe, progress: Progress | None) -> TrainingData | None:  # noqa: ARG003
        """Return the samples as `training_data` does, with reports of progress where that takes long."""
        return cls.training_data(recipe)

    @classmethod
    def variants(cls) -> Mapping[str, Variant]:
        """Return the models that `model train` makes of this class, by name; {}: one, named like its family."""
        return {}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """Return a network with the dimensions in a card; `fold` gives its inference form.

        Raises:
            ValueError: the card describes no possible network.
        """
        return cls()

    def begin(self) -> None:
        """Fill in the weights with which training begins; without a definition, random ones.

        Raises:
            EnvironmentLacking: the package that holds them is missing.
        """

    def borrow(self) -> None:
        """Fill in the weights of `borrowed`, which an installed package holds and a bundle does not.

        The weights of a bundle are loaded before.

        Raises:
            EnvironmentLacking: the package is missing.
        """

    def teach(self, data: TrainingData, recipe: Recipe, progress: Progress | None) -> int | None:  # noqa: ARG002
        """Train in a way of its own, and return the number of epochs; None: all exits learn jointly from the labels."""
        return None

    def own_state(self) -> dict[str, Tensor]:
        """Return the tensors that a bundle holds, by name: all but those of `borrowed`."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(self.borrowed)}

    def card_entries(self) -> Mapping[str, Any]:
        """Return the entries of a card from which `from_card` makes this network."""
        return {}

    @property
    def exits(self) -> tuple[int, ...]:
        """Numbers of the blocks that carry a head, from 1, rising."""
        return tuple(sorted(int(block) for block in self.heads))

    def head(self, block: int) -> nn.Module:
        """Return the exit head after `block`."""
        return self.heads[str(block)]

    def part(self, block: int) -> nn.Module:
        """Return the module that runs as block `block` (from 1); block 1 includes what comes before it."""
        module = self.blocks[block - 1]
        return nn.Sequential(Unit(), module) if block == 1 and self.input.dtype == "uint8" else module

    def temperature(self, block: int) -> Tensor:
        """Return the temperature of the exit after `block`: its logits are divided by it."""
        return cast(Tensor, getattr(self, f"temperature_{block}"))

    def set_temperature(self, block: int, value: float) -> None:
        """Set the temperature of the exit after `block`."""
        self.temperature(block).fill_(value)

    def add_temperatures(self) -> None:
        """Give each exit a temperature of 1 that is stored with the weights; not for networks that have their own."""
        for block in self.exits:
            self.register_buffer(f"temperature_{block}", torch.ones(()))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return unscaled logits (N, classes) of every exit, first to last, for inputs (N, *shape)."""
        logits = []
        for block in range(1, len(self.blocks) + 1):
            x = self.part(block)(x)
            if str(block) in self.heads:
                logits.append(self.head(block)(x))
        return logits

    def fold(self) -> Self:
        """Turn the network into its inference form, in place, and freeze it; returns the network itself."""
        return self.eval().requires_grad_(False)

    def straight(self, body: Sequence[nn.Module], head: nn.Module) -> Forward:
        """Return consecutive parts and the head behind them as one function, possibly faster but equal bit for bit.

        The function takes the parts' input and returns the last part's activation and the unscaled logits (N, classes).
        """

        def forward(x: Tensor) -> tuple[Tensor, Tensor]:
            for part in body:
                x = part(x)
            return x, head(x)

        return forward


def in_a_row(body: Sequence[nn.Module], step_of: Callable[[nn.Module], Step], answer: Step) -> Forward:
    """Return parts and the head behind them as plain calls in a row, for `EarlyExitModel.straight`.

    Args:
        body: the parts; a part may be a sequence of modules.
        step_of: returns the plain form of a module.
        answer: the plain form of the head.
    """
    steps = [step_of(layer) for part in body for layer in (part if isinstance(part, nn.Sequential) else (part,))]

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        for step in steps:
            x = step(x)
        return x, answer(x)

    return forward


class Unit(nn.Module):
    """Bytes 0..255 as float32 numbers 0..1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled numbers; the shape stays."""
        return x.to(torch.float32) / 255.0
