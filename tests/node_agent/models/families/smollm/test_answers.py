"""Greedy answers in batches, with known past, equal those of whole passes one by one."""

import torch

from node_agent.models.families.smollm.answers import Decoder, answer
from tests.node_agent.models.families.smollm.files import TINY

PROMPTS = [[3, 4, 5], [7, 8, 9, 10], [1, 2, 3], [5, 5, 5, 5]]


def decoder_of(network):
    return Decoder(TINY, network.embedding, network.layers, network.last)


def one_by_one(network, prompt):
    tokens = list(prompt)
    while len(tokens) <= TINY.context:
        tokens.append(int(network(torch.tensor([tokens]))[-1].argmax()))
    return tokens


def test_answers_equal_whole_passes(network):
    found = list(answer(decoder_of(network), PROMPTS, end=-1))
    rows = [row.tolist() for batch in found for row in batch.tokens]
    assert rows == [one_by_one(network, prompt) for prompt in (PROMPTS[0], PROMPTS[2], PROMPTS[1], PROMPTS[3])]
    assert all(bool(batch.answered[:, n:].all()) for batch, n in zip(found, (2, 3), strict=True))
    assert not any(bool(batch.answered[:, :n].any()) for batch, n in zip(found, (2, 3), strict=True))


def test_states_leads_and_sums_are_those_of_a_whole_pass(network):
    (batch,) = answer(decoder_of(network), [PROMPTS[1]], end=-1, kept=(2, 3))
    x = network.embedding(batch.tokens[:, :-1])
    for number, layer in enumerate(network.layers, start=1):
        x = layer(x)
        if number in batch.states:
            torch.testing.assert_close(batch.states[number].float(), x, rtol=2e-3, atol=2e-3)
    logits = network.last.of_state(x)[batch.answered]
    best = logits.topk(2).values
    torch.testing.assert_close(batch.lead[batch.answered], best[:, 0] - best[:, 1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(batch.log_sum[batch.answered], logits.logsumexp(dim=1), rtol=1e-4, atol=1e-4)


def test_an_answer_counts_up_to_and_with_its_end(network):
    whole = one_by_one(network, PROMPTS[1])
    said = whole[4:]
    end = next(token for place, token in enumerate(said) if place and token not in said[:place])
    (batch,) = answer(decoder_of(network), [PROMPTS[1]], end=end)
    counted = batch.tokens[0, 1:][batch.answered[0]].tolist()
    assert counted == said[: said.index(end) + 1]
