"""The shape of an early-exit network: its blocks and exits, without weights (no torch)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import msgspec
from msgspec import Meta

SIDE_PIXELS = 32  # of the images that every model takes

# Bounds, because a card may come from anywhere, and a network is made before its weights are read into it. At these
# bounds it takes less than 100 MB.
MOST_BLOCKS, MOST_CHANNELS = 16, 256
Channels = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=MOST_CHANNELS)], ...], Meta(min_length=1, max_length=MOST_BLOCKS)
]
Strides = Annotated[tuple[Annotated[int, Meta(ge=1, le=4)], ...], Meta(min_length=1, max_length=MOST_BLOCKS)]
Exits = Annotated[tuple[Annotated[int, Meta(ge=1, le=MOST_BLOCKS)], ...], Meta(min_length=1, max_length=MOST_BLOCKS)]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Residual blocks in a row, and the blocks that carry an exit head; the last block has one.

    Raises:
        ValueError: the numbers of channels and strides differ, the strides do not divide the side of the image, or the
            exits do not rise to the last block.
    """

    channels: Channels  # of each block's output
    strides: Strides  # factor by which each block shrinks both sides of the image
    exits: Exits  # numbers of the blocks with an exit head, from 1, rising

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels of {len(self.channels)} blocks, but strides of {len(self.strides)}")
        if SIDE_PIXELS % math.prod(self.strides):
            raise ValueError(f"strides {list(self.strides)} do not divide {SIDE_PIXELS} pixels")
        rising = all(earlier < later for earlier, later in pairwise((0, *self.exits)))
        if not (rising and self.exits[-1:] == (self.blocks,)):
            raise ValueError(f"exits {list(self.exits)} do not rise to {self.blocks}, the number of blocks")

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.channels)

    def activation_shape(self, block: int) -> tuple[int, int, int, int]:
        """Shape (1, C, H, W) of the output of `block` (1-based)."""
        side = SIDE_PIXELS // math.prod(self.strides[:block])
        return (1, self.channels[block - 1], side, side)


# Work per block on one image (MFLOP): 9.7, 4.6, 8.7, 7.3, 18.5. Early exits are cheap and weak, late ones strong.
GLYPHS = Architecture(channels=(16, 24, 32, 64, 96), strides=(1, 2, 1, 2, 1), exits=(2, 3, 4, 5))

# Seven blocks for up to five stages (MFLOP: 9.7, 2.5, 4.6, 8.7, 7.3, 18.5, 8.7). Its first exits see a smaller part of
# the image than those of glyphs, its last one the whole image. So every exit is clearly better than the one before it.
GLYPHS_DEEP = Architecture(channels=(16, 16, 24, 32, 64, 96, 128), strides=(1, 2, 1, 1, 2, 1, 2), exits=(2, 3, 4, 5, 7))


def architecture_of(card: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a bundle's card describes.

    Raises:
        ValueError: it is not possible.
    """
    if "strides" not in card:  # a bundle of an earlier version, which knew one architecture
        if tuple(card.get("exits", ())) != GLYPHS.exits:
            raise ValueError(f"exits {card.get('exits')}, but no strides")
        return GLYPHS
    return msgspec.convert(card, Architecture)  # its ValidationError is a ValueError
