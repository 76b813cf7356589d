"""The model's own greedy answers to prompts, in batches, with the states of every position at the exits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_agent.models.families.smollm.decoder import Dimensions, Layer
from node_agent.models.families.smollm.heads import LastHead

BATCH = 96  # most prompts that are answered together


@dataclass(frozen=True, slots=True)
class Decoder:
    """The parts of a model that answer."""

    sizes: Dimensions
    embedding: Callable[[Tensor], Tensor]
    layers: Sequence[Layer]
    head: LastHead


@dataclass(frozen=True, slots=True)
class Answers:
    """Prompts of one batch with the model's answers; B prompts, n positions (the context of the model).

    The token that is answered behind position p stands at p + 1.
    """

    tokens: Tensor  # [B, n + 1], int64: the prompt, then the answer
    answered: Tensor  # [B, n], bool: behind these positions the model answers, up to and with the end of its turn
    lead: Tensor  # [B, n], logit of the best token minus that of the second
    log_sum: Tensor  # [B, n], logarithm of the sum of the exponentials of the logits
    states: dict[int, Tensor]  # by layer: [B, n, width], states behind it, in float16 (they stay below 32,768)


def answer(decoder: Decoder, prompts: Sequence[Sequence[int]], end: int, kept: Sequence[int] = ()) -> Iterator[Answers]:
    """Answer prompts up to the model's context, and yield the answers in batches, the shortest prompts first.

    Prompts of one length are answered together, so that none needs padding.

    Args:
        decoder: the model.
        prompts: token numbers.
        end: the token that ends an answer.
        kept: the layers whose states are kept.
    """
    by_length: dict[int, list[Sequence[int]]] = {}
    for prompt in prompts:
        by_length.setdefault(len(prompt), []).append(prompt)
    for _, alike in sorted(by_length.items()):
        for begin in range(0, len(alike), BATCH):
            with torch.no_grad():
                yield _answer_batch(decoder, torch.tensor(alike[begin : begin + BATCH]), end, kept)


def _answer_batch(decoder: Decoder, prompts: Tensor, end: int, kept: Sequence[int]) -> Answers:
    sizes, (batch, length) = decoder.sizes, prompts.shape
    context = sizes.context
    pasts = [torch.zeros(2, batch, sizes.groups, context, sizes.head_width) for _ in decoder.layers]
    states = {block: torch.zeros(batch, context, sizes.width, dtype=torch.float16) for block in kept}
    lead, log_sum = torch.zeros(batch, context), torch.zeros(batch, context)
    tokens, new = prompts, prompts
    while tokens.shape[1] <= context:
        begin, stop = tokens.shape[1] - new.shape[1], tokens.shape[1]
        x = decoder.embedding(new)
        for block, (layer, past) in enumerate(zip(decoder.layers, pasts, strict=True), start=1):
            x = layer.step(x, begin, past[0], past[1])
            if block in states:
                states[block][:, begin:stop] = x
        logits = decoder.head.of_state(x[:, -1])
        best = logits.topk(2, dim=1)
        lead[:, stop - 1], log_sum[:, stop - 1] = best.values[:, 0] - best.values[:, 1], logits.logsumexp(dim=1)
        new = best.indices[:, :1]
        tokens = torch.cat([tokens, new], dim=1)
    ended = (tokens[:, length:] == end).cumsum(dim=1) > 0
    answered = torch.zeros(batch, context, dtype=torch.bool)
    answered[:, length - 1] = True
    answered[:, length:] = ~ended[:, :-1]
    return Answers(tokens, answered, lead, log_sum, states)
