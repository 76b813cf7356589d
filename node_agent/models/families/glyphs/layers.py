"""The layers of glyphs: a stem, residual blocks, and exit heads."""

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from node_agent.models.families.glyphs.sources import CLASS_NAMES

CLASSES = len(CLASS_NAMES)


class ConvNorm(nn.Sequential):
    """A convolution followed by batch norm; once folded, a convolution with a bias and the same result."""

    conv: nn.Conv2d

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, folded: bool = False) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=folded)
        layers: list[tuple[str, nn.Module]] = [("conv", conv)]
        if not folded:
            layers.append(("norm", nn.BatchNorm2d(outputs)))
        super().__init__(OrderedDict(layers))

    def fold(self) -> None:
        """Merge the batch norm's running statistics into the convolution (for inference only; idempotent)."""
        if hasattr(self, "norm"):
            norm = cast(nn.BatchNorm2d, self.norm)
            self.conv = fuse_conv_bn_eval(self.conv.eval(), norm.eval())
            del self.norm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, folded: bool = False) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride, folded=folded)
        self.second = ConvNorm(outputs, outputs, 3, folded=folded)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, S, S) -> (N, outputs, S / stride, S / stride)."""
        inner = self.second(functional.relu(self.first(x)))
        return functional.relu(inner + self.shortcut(x))


class Stem(nn.Module):
    """The first feature maps from bytes: pixels are scaled here, so that a device sends one byte per pixel."""

    def __init__(self, channels: int, *, folded: bool = False) -> None:
        super().__init__()
        self.conv = ConvNorm(1, channels, 3, folded=folded)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, 32, 32) grey values 0..255, uint8 -> (N, channels, 32, 32)."""
        return functional.relu(self.conv(image.to(torch.float32) / 255.0))


class ExitHead(nn.Module):
    """Global average pooling and one linear layer; logits divided by `temperature` give calibrated confidences."""

    temperature: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, CLASSES)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> unscaled logits (N, classes)."""
        return cast(Tensor, self.linear(x.mean(dim=(2, 3))))
