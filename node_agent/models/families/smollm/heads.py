"""Exit heads: they turn the states of a text after a layer into the logits of its next token."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from node_agent.models.families.smollm.decoder import Dimensions, Layer, Norm, fixed

SHORTLIST = 6144  # tokens that an early exit can answer
OTHER = 0  # token in whose place early exits count all others: the end of a document, which no answer has


class Embedding(nn.Module):
    """A row of numbers for each token."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.weight = fixed(sizes.vocabulary, sizes.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, n) int64 -> (N, n, width)."""
        return functional.embedding(tokens, self.weight)


class LastHead(nn.Module):
    """The end of the model: norm, then the product with every row of the embedding."""

    def __init__(self, sizes: Dimensions, norm: Norm, embedding: Embedding) -> None:
        super().__init__()
        self.sizes, self.norm, self.embedding = sizes, norm, embedding

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, vocabulary) of the token behind the last position of states (N, n, width)."""
        return self.of_state(x[:, -1])

    def of_state(self, x: Tensor) -> Tensor:
        """Return the logits (N, vocabulary) behind positions with states (N, width)."""
        return functional.linear(self.norm(x), self.embedding.weight)


class Lent(nn.Module):
    """The weights of an early head that are the model's own."""

    rows: Tensor

    def __init__(self, sizes: Dimensions, layer: Layer, norm: Norm, shortlist: int) -> None:
        super().__init__()
        self.layer, self.norm = layer, norm
        self.register_buffer("rows", torch.empty(shortlist, sizes.width))  # of the embedding, in the shortlist's order


class EarlyHead(nn.Module):
    """An early exit: an affine map skips layers, then come the model's last layer, its norm, and a shortlist of tokens.

    The last layer sees the whole text, and works on the last position only.

    Decision 093: early exits run the model's last layer (docs/decisions/093-early-exits-run-the-last-layer.md).

    The logit of all other tokens together is a number of its own. It stands in the place of a token that no answer has,
    so that the exit is unsure where the answer is probably outside its shortlist. The logits of all tokens that are
    neither are minus infinity.
    """

    shortlist: Tensor

    def __init__(self, sizes: Dimensions, layer: Layer, norm: Norm, shortlist: int = SHORTLIST) -> None:
        super().__init__()
        self.vocabulary = sizes.vocabulary
        self.map = nn.Linear(sizes.width, sizes.width)
        self.other = nn.Linear(sizes.width, 1)
        self.register_buffer("shortlist", torch.arange(1, shortlist + 1, dtype=torch.int32))  # rising, without OTHER
        self.lent = Lent(sizes, layer, norm, shortlist)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, vocabulary) of the token behind the last position of states (N, n, width)."""
        few = self.few(self.lent.layer.last(self.map(x)))
        logits = few.new_full((len(few), self.vocabulary), -torch.inf)
        logits[:, self.shortlist] = few[:, 1:]
        logits[:, OTHER] = few[:, 0]
        return logits

    def few(self, x: Tensor) -> Tensor:
        """Return logits (N, 1 + shortlist), all other tokens first, for states (N, width) behind the last layer."""
        normed = self.lent.norm(x)
        return torch.cat([self.other(normed), functional.linear(normed, self.lent.rows)], dim=1)

    def look_up(self, embedding: Embedding) -> None:
        """Copy the rows of the shortlist's tokens from the embedding.

        Raises:
            ValueError: the shortlist names a token that does not exist.
        """
        numbers = self.shortlist.long()
        if not bool(((numbers >= 0) & (numbers < self.vocabulary)).all()):
            raise ValueError(f"a shortlist with tokens outside 0..{self.vocabulary - 1}")
        with torch.no_grad():
            self.lent.rows.copy_(embedding.weight[numbers])
