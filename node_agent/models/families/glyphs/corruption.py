"""Graded corruption: each image gets its own severity, so that some tasks are easy and some need the deepest exit.

The severity is stored with the image, so the cause of a task's difficulty is known.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from node_agent.models.families.glyphs.architecture import SIDE_PIXELS


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """The largest magnitude of each effect, at severity 1; a random share of it is drawn for every image."""

    rotation_rad: float = math.radians(40)
    log_scale: float = math.log(1.5)
    shift_pixels: float = 5.0
    clutter_pieces: int = 3
    clutter_chance: float = 0.6  # of each piece
    clutter_brightness: float = 0.9
    occlusion_pixels: float = 13.0  # side of the square that hides the image
    contrast_loss: float = 0.65
    background: float = 0.4  # grey level, 0..1
    noise_deviation: float = 0.18  # of grey levels 0..1


def corrupt(
    images: npt.NDArray[np.uint8], severity: Tensor, chance: torch.Generator, magnitudes: Magnitudes | None = None
) -> Tensor:
    """Corrupt clean images [N, 28, 28] by severities [N] in 0..1 into uint8 [N, 1, 32, 32].

    Clutter is cut from the same images, so pass the images of one split only. The same state of the generator `chance`
    gives the same result.
    """
    most = magnitudes or Magnitudes()
    margin = (SIDE_PIXELS - images.shape[-1]) // 2
    clean = functional.pad(torch.tensor(images).unsqueeze(1).float() / 255.0, (margin,) * 4)
    s = severity.view(-1, 1, 1, 1)
    scene = _transform(
        clean,
        angle=_spread(s, chance) * most.rotation_rad,
        scale=torch.exp(_spread(s, chance) * most.log_scale),
        shift=torch.cat([_spread(s, chance), _spread(s, chance)], dim=1) * most.shift_pixels,
    )
    for _ in range(most.clutter_pieces):
        piece = _clutter_piece(clean, chance) * most.clutter_brightness
        scene = torch.maximum(scene, piece * (_share(s, chance) < s * most.clutter_chance).float())
    scene = _occlude(scene, s * _share(s, chance) * most.occlusion_pixels, chance)
    scene = scene * (1.0 - s * _share(s, chance) * most.contrast_loss)
    scene = scene + (1.0 - scene) * (s * _share(s, chance) * most.background)
    noise = torch.randn(scene.shape, generator=chance) * (s * _share(s, chance) * most.noise_deviation)
    return ((scene + noise).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def _share(like: Tensor, chance: torch.Generator) -> Tensor:
    """Uniform in 0..1, one per image."""
    return torch.rand(like.shape, generator=chance)


def _spread(severity: Tensor, chance: torch.Generator) -> Tensor:
    """Uniform in -severity..severity, one per image."""
    return severity * (2.0 * _share(severity, chance) - 1.0)


def _transform(images: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Rotate (rad), scale and shift every image about its centre; shift [N, 2, 1, 1] is in pixels."""
    angle, scale = angle.flatten(), scale.flatten()
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    offset = -shift.flatten(1) / (SIDE_PIXELS / 2)
    rows = [torch.stack([cosine, sine, offset[:, 0]], dim=1), torch.stack([-sine, cosine, offset[:, 1]], dim=1)]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _clutter_piece(images: Tensor, chance: torch.Generator) -> Tensor:
    """A small piece of another image for every image, shrunk and placed near the rim."""
    count = len(images)
    donors = images[torch.randint(count, (count,), generator=chance)]
    one = donors.new_empty(count, 1, 1, 1)
    centre = SIDE_PIXELS * (0.3 + 0.4 * torch.rand(count, 2, 1, 1, generator=chance))
    window = _square(centre, 8.0 + 6.0 * _share(one, chance))
    direction = 2.0 * math.pi * _share(one, chance)
    middle_to_rim = 7.0 + 7.0 * _share(one, chance)
    target = SIDE_PIXELS / 2 + middle_to_rim * torch.cat([torch.cos(direction), torch.sin(direction)], dim=1)
    return _transform(
        donors * window,
        angle=2.0 * math.pi * _share(one, chance),
        scale=0.6 + 0.4 * _share(one, chance),
        shift=target - centre,
    )


def _occlude(scene: Tensor, side: Tensor, chance: torch.Generator) -> Tensor:
    """Hide a square of `side` pixels [N, 1, 1, 1] behind one grey level, somewhere in the inner part of the image."""
    count = len(scene)
    centre = SIDE_PIXELS * (0.2 + 0.6 * torch.rand(count, 2, 1, 1, generator=chance))
    grey = 0.5 * torch.rand(count, 1, 1, 1, generator=chance)
    hidden = _square(centre, side)
    return scene * (1.0 - hidden) + grey * hidden


def _square(centre: Tensor, side: Tensor) -> Tensor:
    """Mask [N, 1, 32, 32] of squares with centres (x, y) [N, 2, 1, 1] and sides [N, 1, 1, 1], all in pixels."""
    pixel = torch.arange(SIDE_PIXELS) + 0.5
    near_x = (pixel.view(1, 1, 1, -1) - centre[:, :1]).abs() < side / 2
    near_y = (pixel.view(1, 1, -1, 1) - centre[:, 1:]).abs() < side / 2
    return (near_x & near_y).float()
