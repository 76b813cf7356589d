"""A layer of the decoder equals one that is written in plain numpy, whichever way it runs."""

import numpy as np
import pytest
import torch

from node_agent.models.families.smollm.decoder import Norm, rotate, rotations
from tests.node_agent.models.families.smollm.files import TINY
from tests.node_agent.models.families.smollm.reference import layer as reference_layer


def states(batch=2, n=TINY.context):
    return torch.randn(batch, n, TINY.width, generator=torch.Generator().manual_seed(4))


def test_a_layer_equals_the_reference(content, network):
    x = states()
    for number, layer in enumerate(network.layers):
        wanted = [reference_layer(content.tensor, number, one.double().numpy(), TINY) for one in x]
        np.testing.assert_allclose(layer(x).numpy(), wanted, rtol=2e-5, atol=2e-5)


def test_a_layer_in_steps_equals_one_pass(network):
    x, layer = states(), network.layers[0]
    keys, values = torch.zeros(2, 2, TINY.groups, TINY.context, TINY.head_width)
    parts = [layer.step(x[:, :5], 0, keys, values)]
    parts += [layer.step(x[:, p : p + 1], p, keys, values) for p in range(5, TINY.context)]
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x), rtol=1e-5, atol=1e-5)


def test_the_last_position_alone_equals_one_pass(network):
    x = states()
    torch.testing.assert_close(network.layers[1].last(x), network.layers[1](x)[:, -1], rtol=1e-5, atol=1e-5)


def test_no_position_sees_a_later_one(network):
    x = states()
    changed = x.clone()
    changed[:, 7:] += 1
    before, after = network.layers[0](x), network.layers[0](changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_rotation_keeps_lengths_and_depends_on_distance_alone():
    turns, chance = rotations(TINY), torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 1, 1, 1, TINY.head_width, generator=chance)
    at = [
        [float((rotate(q, turns[i : i + 1]) * rotate(k, turns[j : j + 1])).sum()) for j in range(6)] for i in range(6)
    ]
    assert at[0][3] == pytest.approx(at[2][5], abs=1e-5)
    assert at[0][3] != pytest.approx(at[3][0], abs=1e-3)
    assert float(rotate(q, turns[5:6]).norm()) == pytest.approx(float(q.norm()), rel=1e-5)


def test_a_norm_gives_a_mean_square_of_one():
    norm = Norm(TINY)
    norm.weight.fill_(1)
    squares = norm(10 * states()).square().mean(dim=-1)
    torch.testing.assert_close(squares, torch.ones_like(squares), rtol=1e-4, atol=1e-4)
