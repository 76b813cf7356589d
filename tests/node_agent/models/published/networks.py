"""The architectures once more, as plain torch modules on the meta device: shapes and work, but no numbers.

Dimensions are written again here, so that a wrong one in the package differs from the test's. Attention consists of
two plain matrix products, which torch's counter counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

META = torch.device("meta")


@dataclass(frozen=True)
class Network:
    """An architecture in pieces; the stem belongs to the first block."""

    stem: nn.Module
    blocks: Sequence[nn.Module]
    head: Callable[[int], nn.Module]  # the exit head behind a block, from 1; new, or with parameters of the stem
    example: Callable[[int | None], Tensor]  # a task of this number of tokens, after the ids' or pixels' conversion


@dataclass(frozen=True)
class Counted:
    """One stage as torch counts it."""

    flop: int
    parameters: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def count(network: Network, cut: Sequence[int], tokens: int | None = None) -> list[Counted]:
    """Cut a network into stages, run each on meta tensors, and count."""
    found = []
    x, begin = network.example(tokens), 0
    for end in cut:
        body = nn.Sequential(*([network.stem] if begin == 0 else []), *network.blocks[begin:end])
        head = network.head(end)
        if begin and isinstance(head, TiedHead):
            head = head.untied()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            y = body(x)
            head(y)
        parameters = sum(tensor.numel() for tensor in nn.ModuleList([body, head]).parameters())  # each shared one once
        found.append(Counted(int(counter.get_total_flops()), parameters, _shape(x), _shape(y)))
        x, begin = y, end
    return found


def _shape(x: Tensor) -> tuple[int, ...]:
    """(1, C, H, W) of images and their activations; (n,) or (n, d) of sequences, whose batch of one goes unsent."""
    return tuple(x.shape) if x.ndim == 4 else tuple(x.shape[1:])


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * channels
        self.inner = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.inner(x) + self.shortcut(x))


def resnet101() -> Network:
    with META:
        stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = [64] * 3 + [128] * 4 + [256] * 23 + [512] * 3
        befores = [16, *widths]
        blocks = [
            Bottleneck(4 * before, width, 2 if number in (4, 8, 31) else 1)
            for number, (before, width) in enumerate(zip(befores, widths, strict=False), start=1)
        ]

    def head(end: int) -> nn.Module:
        with META:
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * widths[end - 1], 1000))

    return Network(stem, [block.eval() for block in blocks], head, lambda _: torch.zeros(1, 3, 224, 224, device=META))


class Attention(nn.Module):
    """Self-attention by two products of matrices; `fused` uses torch's own function for them."""

    def __init__(self, width: int, heads: int, *, bias: bool = True, fused: bool = False) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=bias) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        if self.fused:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = functional.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class GatedFeedForward(nn.Module):
    """The SwiGLU of LLaMA: three matrices."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """A transformer layer: norms before its halves, or behind them (`after`, as in BERT)."""

    def __init__(
        self, attention: nn.Module, feed: nn.Module, norms: tuple[nn.Module, nn.Module], *, after: bool
    ) -> None:
        super().__init__()
        self.attention, self.feed, self.after = attention, feed, after
        self.first, self.second = norms

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            x = self.first(x + self.attention(x))
            return self.second(x + self.feed(x))
        x = x + self.attention(self.first(x))
        return x + self.feed(self.second(x))


def plain_layer(width: int, heads: int, *, after: bool = False, fused: bool = False) -> Layer:
    """A layer with biases, layer norms and a feed-forward of four times the width."""
    feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    norms = nn.LayerNorm(width), nn.LayerNorm(width)
    return Layer(Attention(width, heads, fused=fused), feed, norms, after=after)


class Patches(nn.Module):
    """Patches of 16x16 pixels, the class token and the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 768, 16, 16)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, 768)), nn.Parameter(torch.zeros(1, 197, 768))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([self.token, self.conv(image).flatten(2).transpose(1, 2)], dim=1) + self.positions


class Tokens(nn.Module):
    """Embeddings of ids; of positions, segments and a norm where the architecture has them."""

    def __init__(self, vocabulary: int, width: int, positions: int = 0, segments: int = 0) -> None:
        super().__init__()
        self.ids = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width) if positions else None
        self.segments = nn.Embedding(segments, width) if segments else None
        self.norm = nn.LayerNorm(width) if segments else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.ids(ids)
        if self.positions is not None:
            x = x + self.positions(torch.arange(ids.shape[1], device=ids.device))
        if self.segments is not None:
            x = x + self.segments(torch.zeros_like(ids))
        return self.norm(x)


class OnOnePosition(nn.Module):
    """An exit head that reads the first position (classes) or the last one (the next token)."""

    def __init__(self, position: int, *layers: nn.Module) -> None:
        super().__init__()
        self.position, self.layers = position, nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[:, self.position])


class TiedHead(OnOnePosition):
    """A final norm and the product with the table of tokens, which the first stage has already."""

    def __init__(self, table: nn.Embedding) -> None:
        vocabulary, width = table.weight.shape
        product = nn.Linear(width, vocabulary, bias=False)
        product.weight = table.weight
        super().__init__(-1, nn.LayerNorm(width), product)
        self.table = table

    def untied(self) -> OnOnePosition:
        """The same head with a table of its own, for stages without the embedding."""
        vocabulary, width = self.table.weight.shape
        return OnOnePosition(-1, nn.LayerNorm(width, device=META), nn.Linear(width, vocabulary, False, device=META))


def ids(tokens: int | None) -> Tensor:
    """A task of a language model: shape (1, n)."""
    assert tokens is not None
    return torch.zeros(1, tokens, dtype=torch.int64, device=META)


def vit_b16() -> Network:
    with META:
        stem, blocks = Patches(), [plain_layer(768, 12) for _ in range(12)]

    def head(_: int) -> nn.Module:
        with META:
            return OnOnePosition(0, nn.LayerNorm(768), nn.Linear(768, 1000))

    return Network(stem, blocks, head, lambda _: torch.zeros(1, 3, 224, 224, device=META))


def bert_base() -> Network:
    with META:
        stem, blocks = Tokens(30522, 768, 512, 2), [plain_layer(768, 12, after=True) for _ in range(12)]

    def head(_: int) -> nn.Module:
        with META:
            return OnOnePosition(0, nn.Linear(768, 768), nn.Tanh(), nn.Linear(768, 2))

    return Network(stem, blocks, head, ids)


def gpt2() -> Network:
    with META:
        stem, blocks = Tokens(50257, 768, 1024), [plain_layer(768, 12) for _ in range(12)]

    def head(_: int) -> nn.Module:
        with META:
            return TiedHead(stem.ids)

    return Network(stem, blocks, head, ids)


def llama_7b() -> Network:
    """Without the rotation of positions, which multiplies no matrices and has no parameters."""

    def layer() -> Layer:
        norms = nn.RMSNorm(4096), nn.RMSNorm(4096)
        return Layer(Attention(4096, 32, bias=False), GatedFeedForward(4096, 11008), norms, after=False)

    with META:
        stem, blocks = Tokens(32000, 4096), [layer() for _ in range(32)]

    def head(_: int) -> nn.Module:
        with META:
            return OnOnePosition(-1, nn.RMSNorm(4096), nn.Linear(4096, 32000, bias=False))

    return Network(stem, blocks, head, ids)


NETWORKS = {"resnet101": resnet101, "vit-b16": vit_b16, "bert-base": bert_base, "gpt2": gpt2, "llama-7b": llama_7b}
