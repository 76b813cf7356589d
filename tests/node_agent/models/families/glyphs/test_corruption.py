import numpy as np
import pytest
import torch

from node_agent.models.families.glyphs.corruption import Magnitudes, corrupt


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strokes(count: int) -> np.ndarray:
    """Bright bars on black, each at its own place."""
    images = np.zeros((count, 28, 28), np.uint8)
    for index in range(count):
        images[index, 4:24, 4 + index % 16 : 9 + index % 16] = 255
    return images


def test_severity_zero_only_adds_the_margin():
    images = strokes(6)
    result = corrupt(images, torch.zeros(6), chance()).numpy()
    assert result.dtype == np.uint8
    assert result.shape == (6, 1, 32, 32)
    np.testing.assert_allclose(result[:, 0, 2:30, 2:30].astype(int), images, atol=1)
    assert result[:, 0, :2].max() == 0


def test_the_same_generator_state_gives_the_same_images():
    severity = torch.rand(20, generator=chance(4))
    first, again = (corrupt(strokes(20), severity, chance(5)) for _ in range(2))
    other = corrupt(strokes(20), severity, chance(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_more_severe_the_further_from_the_clean_image():
    images = strokes(200)
    clean = corrupt(images, torch.zeros(200), chance()).float()
    distance = [
        float((corrupt(images, torch.full((200,), s), chance()).float() - clean).abs().mean())
        for s in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert distance == sorted(distance)
    assert distance[0] == 0
    assert distance[-1] > 20


NOTHING = Magnitudes(
    rotation_rad=0,
    log_scale=0,
    shift_pixels=0,
    clutter_pieces=0,
    occlusion_pixels=0,
    contrast_loss=0,
    background=0,
    noise_deviation=0,
)


@pytest.mark.parametrize(
    ("effect", "most"),
    [
        ("rotation_rad", 0.8),
        ("log_scale", 0.4),
        ("shift_pixels", 5.0),
        ("clutter_pieces", 3),
        ("occlusion_pixels", 14.0),
        ("contrast_loss", 0.7),
        ("background", 0.4),
        ("noise_deviation", 0.2),
    ],
)
def test_every_effect_works_alone(effect, most):
    values = {name: getattr(NOTHING, name) for name in Magnitudes.__dataclass_fields__} | {effect: most}
    images, severity = strokes(50), torch.ones(50)
    still = corrupt(images, severity, chance(), NOTHING)
    moved = corrupt(images, severity, chance(), Magnitudes(**values))
    assert (still != moved).flatten(1).any(dim=1).float().mean() > 0.5


def test_a_shift_moves_by_the_stated_pixels():
    images = np.zeros((400, 28, 28), np.uint8)
    images[:, 13:15, 13:15] = 255
    values = {name: getattr(NOTHING, name) for name in Magnitudes.__dataclass_fields__} | {"shift_pixels": 5.0}
    moved = corrupt(images, torch.ones(400), chance(), Magnitudes(**values)).float()[:, 0]
    columns = (moved.sum(dim=1) * (torch.arange(32) + 0.5)).sum(dim=1) / moved.sum(dim=(1, 2))
    assert 4.5 < float((columns - 16).abs().max()) < 5.1
