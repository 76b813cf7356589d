"""Ten kinds of clothes, 28x28 pixels: three blocks, each with an exit.

The pictures come from Debian's package dataset-fashion-mnist (MIT).
"""

from torch import nn

from dtoee_testbed import EarlyExitModel, Input, read_idx


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class FashionNet(EarlyExitModel):
    input = Input(shape=(1, 28, 28))
    classes = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    licence = "pictures: MIT"

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([block(1, 8, 2), block(8, 24, 2), block(24, 64, 2)])
        self.heads = nn.ModuleDict({"1": head(8), "2": head(24), "3": head(64)})

    @classmethod
    def samples(cls, split):
        return read_idx("/usr/share/datasets/fashion-mnist", split, cls.classes)
