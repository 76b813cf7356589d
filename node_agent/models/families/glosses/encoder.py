"""The parts of MiniLM: token embeddings, encoder layers with the norm behind each sum, and exit heads."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from node_agent.models.families.glosses.minilm import ATTENTION_HEADS, INNER_WIDTH, NORM_EPSILON, WIDTH


class Embedding(nn.Module):
    """A vector for each token, plus one for its position, normed.

    The vectors of tokens do not train. Those of positions include MiniLM's vector of the first sentence.
    """

    def __init__(self, tokens: int, longest: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, WIDTH).requires_grad_(False)
        self.position = nn.Embedding(longest, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, n) token numbers, int64 -> (N, n, 384)."""
        vectors = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        return cast(Tensor, self.dropout(self.norm(vectors)))


class EncoderLayer(nn.Module):
    """Self-attention of twelve heads, then two linear layers with GELU between them; after each a sum and a norm."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH, NORM_EPSILON)
        self.inner = nn.Linear(WIDTH, INNER_WIDTH)
        self.outer = nn.Linear(INNER_WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n, 384) -> (N, n, 384)."""
        count, length, _ = x.shape
        heads = (count, length, 3, ATTENTION_HEADS, WIDTH // ATTENTION_HEADS)
        query, key, value = self.query_key_value(x).view(heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        joined = attended.transpose(1, 2).reshape(count, length, WIDTH)
        x = self.attention_norm(x + self.dropout(self.attended(joined)))
        return cast(Tensor, self.norm(x + self.dropout(self.outer(functional.gelu(self.inner(x))))))


class MeanHead(nn.Module):
    """An exit: the mean of the tokens' vectors, and one linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n, 384) -> unscaled logits (N, classes)."""
        return cast(Tensor, self.linear(x.mean(dim=1)))
