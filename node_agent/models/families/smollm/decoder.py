"""The layers of a LLaMA decoder, in inference form: all weights are fixed.

The architecture: Touvron et al., LLaMA: Open and Efficient Foundation Language Models, 2023. Grouped-query attention:
Ainslie et al., GQA, 2023. Rotary positions: Su et al., RoFormer, 2021.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes of a decoder."""

    layers: int = 30
    width: int = 576  # numbers of a position between layers
    heads: int = 9  # of attention
    groups: int = 3  # heads that share their keys and values with others: one key and one value each
    inner: int = 1536  # numbers of a position inside the feed-forward part
    vocabulary: int = 49152
    epsilon: float = 1e-5  # of the norms
    theta: float = 100_000.0  # base of the rotary positions
    context: int = 64  # most positions

    @property
    def head_width(self) -> int:
        """Numbers of a head of attention."""
        return self.width // self.heads

    @property
    def key_width(self) -> int:
        """Numbers of all keys of a position, and of all values."""
        return self.groups * self.head_width


SMOLLM2_135M = Dimensions()


def fixed(*shape: int) -> nn.Parameter:
    """Return a weight that does not learn, and whose memory is not filled: reading it from a file does that."""
    return nn.Parameter(torch.empty(shape), requires_grad=False)


def rotations(sizes: Dimensions) -> Tensor:
    """Return the rotation of each pair of numbers at each position, complex [positions, pairs].

    Pair i at position p turns by p theta^(-2i / head width).
    """
    pairs = torch.arange(0, sizes.head_width, 2, dtype=torch.float64) / sizes.head_width
    angles = torch.outer(torch.arange(sizes.context, dtype=torch.float64), sizes.theta**-pairs)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate pairs of neighbours, x[..., 0] with x[..., 1] and so on; shapes (N, heads, n, width), (n, width / 2).

    The files of llama.cpp hold queries and keys in an order that makes pairs neighbours.
    """
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


class Norm(nn.Module):
    """Root mean square norm with a factor for each number (RMSNorm)."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.weight, self.epsilon = fixed(sizes.width), sizes.epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return x / rms(x) * weight; the shape stays."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    """Causal attention with rotary positions; groups of heads share keys and values."""

    turns: Tensor

    def __init__(self, sizes: Dimensions, turns: Tensor) -> None:
        super().__init__()
        self.sizes = sizes
        self.qkv = fixed(sizes.width + 2 * sizes.key_width, sizes.width)  # queries, keys, values
        self.out = fixed(sizes.width, sizes.width)
        self.register_buffer("turns", turns, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every position to itself and those before; (N, n, width), the shape stays."""
        q, k, v = self.parts(x, 0)
        return self.mixed(q, k, v, causal=True)

    def last(self, x: Tensor) -> Tensor:
        """Attend from the last position alone; (N, n, width) -> (N, 1, width)."""
        width, n = self.sizes.width, x.shape[1]
        k, v = functional.linear(x, self.qkv[width:]).chunk(2, dim=-1)
        q = rotate(self._heads(functional.linear(x[:, -1:], self.qkv[:width])), self.turns[n - 1 : n])
        return self.mixed(q, rotate(self._heads(k), self.turns[:n]), self._heads(v), causal=False)

    def parts(self, x: Tensor, begin: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries (N, heads, n, w), rotated keys and values (N, groups, n, w) of positions `begin`..."""
        sizes, turns = self.sizes, self.turns[begin : begin + x.shape[1]]
        q, k, v = functional.linear(x, self.qkv).tensor_split([sizes.width, sizes.width + sizes.key_width], dim=-1)
        return rotate(self._heads(q), turns), rotate(self._heads(k), turns), self._heads(v)

    def mixed(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Return the output of attention (N, n, width) for queries of n positions, keys and values of all."""
        if q.shape[2] == 1:  # the heads of a group as positions that share keys and values: these are not copied
            grouped = q.reshape(len(q), self.sizes.groups, -1, self.sizes.head_width)
            mixed = functional.scaled_dot_product_attention(grouped, k, v).reshape(q.shape)
        else:
            mixed = functional.scaled_dot_product_attention(q, self._shared(k), self._shared(v), is_causal=causal)
        return functional.linear(mixed.transpose(1, 2).flatten(2), self.out)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.sizes.head_width).transpose(1, 2)

    def _shared(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.sizes.heads // self.sizes.groups, dim=1)


class FeedForward(nn.Module):
    """A gated feed-forward part: down(silu(gate x) * up x) (SwiGLU)."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.gate_up = fixed(2 * sizes.inner, sizes.width)
        self.down = fixed(sizes.width, sizes.inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output; the shape stays."""
        gate, up = functional.linear(x, self.gate_up).chunk(2, dim=-1)
        return functional.linear(functional.silu(gate) * up, self.down)


class Layer(nn.Module):
    """A layer of the decoder: attention and feed-forward part, each behind a norm and beside a sum."""

    def __init__(self, sizes: Dimensions, turns: Tensor) -> None:
        super().__init__()
        self.attention_norm, self.attention = Norm(sizes), Attention(sizes, turns)
        self.feed_norm, self.feed = Norm(sizes), FeedForward(sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the state of every position (N, n, width) after this layer."""
        y: Tensor = x + self.attention(self.attention_norm(x))
        return self._fed(y)

    def _fed(self, x: Tensor) -> Tensor:
        fed: Tensor = self.feed(self.feed_norm(x))
        return x + fed

    def step(self, x: Tensor, begin: int, keys: Tensor, values: Tensor) -> Tensor:
        """Return the states of positions `begin`... after this layer, for positions whose past is known.

        Args:
            x: their states before it (N, n, width).
            begin: the first of them.
            keys: of all positions (N, groups, context, w); those of the new positions are written into it.
            values: the same for values.
        """
        end = begin + x.shape[1]
        q, keys[:, :, begin:end], values[:, :, begin:end] = self.attention.parts(self.attention_norm(x), begin)
        return self._fed(x + self.attention.mixed(q, keys[:, :, :end], values[:, :, :end], causal=begin == 0))

    def last(self, x: Tensor) -> Tensor:
        """Return the state of the last position (N, width) after this layer, for states (N, n, width) before it."""
        return self._fed(x[:, -1:] + self.attention.last(self.attention_norm(x)))[:, 0]
