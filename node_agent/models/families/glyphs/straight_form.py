"""A sub-model as one plain function: the same operations on the same parameters, without the modules around them.

The result is the same, bit for bit, and PyTorch's modules cost no time.

Decision 023: a sub-model runs as plain calls in a row (docs/decisions/023-straight-sub-models.md).
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from node_agent.models.families.glyphs.layers import ConvNorm, ExitHead, ResidualBlock, Stem
from node_agent.models.networks.early_exit import Forward, Step, in_a_row


def straight(body: Sequence[nn.Module], head: ExitHead) -> Forward:
    """Return parts and head as a function: (1, C, H, W) -> features (1, C', H', W'), unscaled logits (1, classes).

    It shares their parameters, which must be folded and frozen. So no call has to turn gradients off.

    Raises:
        ValueError: they are not frozen or not folded.
        TypeError: there is a module without a straight form.
    """
    if any(parameter.requires_grad for module in (*body, head) for parameter in module.parameters()):
        raise ValueError("the sub-model is not frozen")
    weight, bias, linear = head.linear.weight, head.linear.bias, nn.functional.linear
    return in_a_row(body, _step, lambda x: linear(x.mean(dim=(2, 3)), weight, bias))


def _step(module: nn.Module) -> Step:
    match module:
        case Stem():
            return _stem(module)
        case ResidualBlock():
            return _residual(module)
        case _:
            raise TypeError(f"no straight form of {type(module).__name__}")


def _stem(stem: Stem) -> Step:
    conv = _convolution(stem.conv)
    return lambda image: conv(image.to(torch.float32).div_(255.0)).relu_()


def _residual(block: ResidualBlock) -> Step:
    first, second = _convolution(block.first), _convolution(block.second)
    shortcut = None if isinstance(block.shortcut, nn.Identity) else _convolution(cast(ConvNorm, block.shortcut))

    def forward(x: Tensor) -> Tensor:
        inner = second(first(x).relu_())
        return inner.add_(x if shortcut is None else shortcut(x)).relu_()

    return forward


def _convolution(folded: ConvNorm) -> Step:
    if hasattr(folded, "norm"):
        raise ValueError("a convolution whose batch norm is not folded in")
    conv = folded.conv
    weight, bias, stride, padding = conv.weight, conv.bias, conv.stride, cast(tuple[int, int], conv.padding)
    convolve = torch.conv2d
    return lambda x: convolve(x, weight, bias, stride, padding)
