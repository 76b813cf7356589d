"""The early-exit network: residual blocks in a row, exit heads behind some of them, and its cut into sub-models."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from node_agent.models.architecture import SIDE_PIXELS, Architecture
from node_agent.models.tables import Activation, ActivationFormat, Inference, check_cut

CLASSES = 20
BATCH = 250  # images scored at a time


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


class EarlyExitNetwork(nn.Module):
    """The whole model; `folded` selects the inference form, whose convolutions have biases instead of batch norms."""

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

    def head(self, block: int) -> ExitHead:
        """The exit head after `block` (one of the architecture's exits)."""
        return cast(ExitHead, self.heads[str(block)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 1, 32, 32) uint8 -> unscaled logits (N, classes) of every exit, first to last."""
        x, logits = self.stem(images), []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.architecture.exits:
                logits.append(self.head(number)(x))
        return logits

    def fold(self) -> "EarlyExitNetwork":
        """Fold every batch norm into its convolution, in place, and freeze; returns the network itself."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        return self.eval().requires_grad_(False)


class SubModel(nn.Module):
    """Consecutive blocks and the exit head at their end: the part of the model on one edge server."""

    def __init__(
        self, stage: int, body: nn.Sequential, head: ExitHead, *, last: bool, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.stage = stage
        self.last = last
        self.input_shape = input_shape
        self.body = body
        self.head = head

    @property
    def input_dtype(self) -> str:
        """Type of the input: "uint8" pixels at stage 1, "float32" activations after it (float16 is converted)."""
        return "uint8" if self.stage == 1 else "float32"

    def example_input(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """An all-zero input of the right shape and type, for warming up and measuring."""
        return np.zeros(self.input_shape, dtype=self.input_dtype)

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """(N, C, H, W) -> activation for the next stage (None if last), unscaled logits (N, classes)."""
        features = self.body(x)
        return None if self.last else features, self.head(features)

    def infer(self, array: npt.NDArray[np.generic], activation: ActivationFormat = "float32") -> Inference:
        """Run one task.

        Args:
            array: shape `input_shape`, uint8 at stage 1, float32 or float16 at the others; may be read-only.
            activation: the format of the activation in the result.

        Raises:
            ValueError: a wrong shape or type, for example from a faulty peer.
        """
        with torch.inference_mode():
            features, logits = self(self.as_input(array))
            scores = functional.softmax(logits[0] / self.head.temperature, dim=0)
            confidence, prediction = scores.max(dim=0)
            onward: Activation | None = None
            if features is not None:
                onward = (features.half() if activation == "float16" else features).numpy()
            return Inference(onward, int(prediction), float(confidence))

    def as_input(self, array: npt.NDArray[np.generic]) -> Tensor:
        """The array as the input tensor of `forward`.

        Raises:
            ValueError: its shape or type is not that of this sub-model's input.
        """
        allowed = ("uint8",) if self.stage == 1 else ("float32", "float16")
        if array.shape != self.input_shape or array.dtype.name not in allowed:
            raise ValueError(
                f"stage {self.stage} takes {' or '.join(allowed)} {self.input_shape}, got {array.dtype} {array.shape}"
            )
        # Arrays over received frames are read-only, and torch has no read-only tensors: copy or convert.
        return torch.from_numpy(array.astype(self.input_dtype, copy=not array.flags.writeable))


def cut(model: EarlyExitNetwork, positions: Sequence[int]) -> tuple[SubModel, ...]:
    """Cut a model after the given blocks: (2, 3, 5) gives three sub-models that end after blocks 2, 3 and 5.

    The sub-models share the model's parameters. Exits inside a sub-model are dropped: no task could leave there.

    Raises:
        InputError: a position has no exit, the positions do not strictly rise, or the last block is missing.
    """
    architecture = model.architecture
    ends = check_cut(positions, architecture.exits)
    pieces = []
    begin, shape = 0, (1, 1, SIDE_PIXELS, SIDE_PIXELS)
    for stage, end in enumerate(ends, start=1):
        front = [model.stem] if stage == 1 else []
        body = nn.Sequential(*front, *model.blocks[begin:end])
        piece = SubModel(stage, body, model.head(end), last=end == architecture.blocks, input_shape=shape)
        pieces.append(piece.eval())
        begin, shape = end, architecture.activation_shape(end)
    return tuple(pieces)


def exit_scores(
    model: EarlyExitNetwork, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Temperature-scaled confidence and predicted class, each [N, exits], for images uint8 [N, 1, 32, 32]."""
    confidences, predictions = [], []
    with torch.inference_mode():
        for begin in range(0, len(images), BATCH):
            logits = model(torch.tensor(images[begin : begin + BATCH]))
            scaled = [
                scores / model.head(block).temperature
                for block, scores in zip(model.architecture.exits, logits, strict=True)
            ]
            confidence, prediction = torch.stack(scaled, dim=1).softmax(dim=2).max(dim=2)
            confidences.append(confidence.double().numpy())
            predictions.append(prediction.numpy())
    return np.concatenate(confidences), np.concatenate(predictions)
