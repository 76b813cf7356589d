"""Small models as a user writes them, in one file; their samples need no download and train within a second."""

from pathlib import Path

from node_agent.models.bundles.writing import write_bundle
from node_agent.models.training.tasks import job_for

STRIPES = '''
"""Four classes of coloured pictures, 6x8 pixels, whose brightest column says the class."""

import numpy as np
from torch import nn

from dtoee_testbed import EarlyExitModel, Input, Recipe


class Stripes(EarlyExitModel):
    input = Input(shape=(3, 6, 8))
    classes = ("a", "b", "c", "d")
    licence = "CC0"
    recipe = Recipe(epochs=2, batch=16)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.heads = nn.ModuleDict({"1": nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), "2": Head()})

    @classmethod
    def samples(cls, split):
        chance = np.random.default_rng(len(split))
        labels = np.arange(240 if split == "train" else 40) % 4
        images = chance.integers(0, 120, (len(labels), 3, 6, 8), dtype=np.uint8)
        images[np.arange(len(labels)), :, :, 2 * labels] += 100
        return images, labels


class Head(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Dropout(0.1), nn.AdaptiveAvgPool2d((1, 8)), nn.Flatten(), nn.Linear(64, 4))
'''

TEXTS = '''
"""Texts of 3 to 16 tokens; the class is that of the commonest token group."""

import numpy as np
import torch
from torch import nn

from dtoee_testbed import EarlyExitModel, Input, Recipe


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        return x + nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=1)


class Halves(nn.Module):
    """Every second token; an odd one at the end is dropped."""

    def forward(self, x):
        return x[:, : x.shape[1] // 2 * 2 : 2]


class Texts(EarlyExitModel):
    input = Input(shape=(16,), dtype="uint16", varies=True)
    classes = 3
    recipe = Recipe(epochs=3, batch=16)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([
            nn.Sequential(nn.Embedding(30, 8), Layer(8)), Layer(8), nn.Sequential(Mean(), nn.Linear(8, 6)),
        ])
        self.heads = nn.ModuleDict({"1": nn.Sequential(Mean(), nn.Linear(8, 3)), "3": nn.Linear(6, 3)})

    @classmethod
    def samples(cls, split):
        chance = np.random.default_rng(len(split))
        labels = np.arange(150 if split == "train" else 30) % 3
        texts = []
        for label in labels:
            count = chance.integers(3, 17)
            groups = np.where(chance.random(count) < 0.7, label, chance.integers(0, 3, count))
            texts.append(3 * chance.integers(0, 10, count) + groups)
        return texts, labels


class Uneven(Texts):
    def __init__(self):
        super().__init__()
        self.blocks.insert(1, Halves())
        self.heads = nn.ModuleDict({"4": nn.Linear(6, 3)})
'''


def written(folder: Path, source: str = STRIPES, name: str = "mine.py") -> Path:
    """The file of a model."""
    file = folder / name
    file.write_text(source, encoding="utf-8")
    return file


def trained(text: str, **changes) -> Path:
    """The folder of the bundle of FILE.py:CLASS after training."""
    job = job_for(text, **changes)
    assert job.folder is not None
    write_bundle(job.folder, job.run(job.folder))
    return job.folder
