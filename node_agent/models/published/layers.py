"""Pieces that transformers share: linear layers, norms, and the two halves of a transformer layer."""

from node_agent.models.published.costs import Block, Form, Part, Work


def stack(layers: int, embedding: Part, layer: Part, head: Part, activation: Form) -> tuple[Block, ...]:
    """Equal layers, first to last, each with its exit head; the embedding belongs to the first."""
    bodies = (embedding + layer, *(layer for _ in range(layers - 1)))
    return tuple(Block(body, activation, head) for body in bodies)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> Part:
    """A linear layer on every token: a matrix of inputs x outputs."""
    return Part(Work(per_token=2 * inputs * outputs), inputs * outputs + bias * outputs)


def linear_once(inputs: int, outputs: int, *, bias: bool = True) -> Part:
    """A linear layer on one token of a task."""
    return Part(Work(fixed=2 * inputs * outputs), inputs * outputs + bias * outputs)


def layer_norm(width: int) -> Part:
    """A layer norm: scale and shift."""
    return Part(Work(), 2 * width)


def rms_norm(width: int) -> Part:
    """A norm by the root mean square: scale only."""
    return Part(Work(), width)


def table(entries: int, width: int) -> Part:
    """A table of embeddings: look-ups count no FLOP."""
    return Part(Work(), entries * width)


def attention(width: int, *, bias: bool = True) -> Part:
    """Self-attention with as many key heads as query heads, whose widths sum to `width`.

    Four linear layers, and for each pair of tokens 2 * width FLOP in the product of queries and keys, and as many in
    the product of weights and values. So 4 * width * n ** 2 for a task of n tokens.
    """
    projections = linear(width, width, bias=bias)
    return projections + projections + projections + projections + Part(Work(per_pair=4 * width), 0)


def feed_forward(width: int, inner: int) -> Part:
    """Two linear layers with biases, an activation function between them."""
    return linear(width, inner) + linear(inner, width)
