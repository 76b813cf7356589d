"""A sub-model of glosses as plain functions: the same operations on the same parameters, without modules around them.

The result is the same, bit for bit, and PyTorch's modules cost no time: a tenth of that of a layer on a short text.

Decision 023: a sub-model runs as plain calls in a row (docs/decisions/023-straight-sub-models.md).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from node_agent.models.families.glosses.encoder import Embedding, EncoderLayer, MeanHead
from node_agent.models.families.glosses.minilm import ATTENTION_HEADS, NORM_EPSILON, WIDTH
from node_agent.models.networks.early_exit import Forward, Step, in_a_row


def straight(body: Sequence[nn.Module], head: MeanHead) -> Forward:
    """Return parts and head as a function: (1, n) tokens or (1, n, 384) -> states (1, n, 384), unscaled logits.

    It shares their parameters, which must be in their inference form: dropout is left out.

    Raises:
        TypeError: there is a module without a straight form.
    """
    weight, bias, linear = head.linear.weight, head.linear.bias, functional.linear
    return in_a_row(body, _step, lambda x: linear(x.mean(dim=1), weight, bias))


def _step(module: nn.Module) -> Step:
    match module:
        case Embedding():
            return _embedding(module)
        case EncoderLayer():
            return _layer(module)
        case _:
            raise TypeError(f"no straight form of {type(module).__name__}")


def _embedding(module: Embedding) -> Step:
    token, position, norm = module.token.weight, module.position.weight, _norm(module.norm)
    embedding = functional.embedding
    return lambda tokens: norm(embedding(tokens, token) + position[: tokens.shape[1]])


def _layer(layer: EncoderLayer) -> Step:
    query_key_value, attended = _linear(layer.query_key_value), _linear(layer.attended)
    attention_norm, norm = _norm(layer.attention_norm), _norm(layer.norm)
    inner, outer = _linear(layer.inner), _linear(layer.outer)
    attend, gelu = functional.scaled_dot_product_attention, functional.gelu
    width = WIDTH // ATTENTION_HEADS

    def forward(x: Tensor) -> Tensor:
        count, length, _ = x.shape
        split = query_key_value(x).view(count, length, 3, ATTENTION_HEADS, width).permute(2, 0, 3, 1, 4)
        joined = attend(*split).transpose(1, 2).reshape(count, length, WIDTH)
        x = attention_norm(x + attended(joined))
        return norm(x + outer(gelu(inner(x))))

    return forward


def _linear(module: nn.Linear) -> Step:
    weight, bias, linear = module.weight, module.bias, functional.linear
    return lambda x: linear(x, weight, bias)


def _norm(module: nn.LayerNorm) -> Step:
    weight, bias, norm = module.weight, module.bias, torch.layer_norm
    return lambda x: norm(x, (WIDTH,), weight, bias, NORM_EPSILON)
