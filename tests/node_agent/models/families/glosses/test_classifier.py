import numpy as np
import pytest
import torch

from node_agent.models.families.glosses import GlossesNetwork, selection
from node_agent.models.families.glosses.classifier import LAYERS, fill_embedding, fill_layer
from node_agent.models.networks.cost import measure_parts
from node_agent.models.networks.made import make_network
from tests.node_agent.models.families.glosses.published import layers_of, made_up

PIECES = ("[CLS]", "[SEP]", "[UNK]", "a", "kind", "##s", "of", "fish")


def activations(network, tokens: list[int]) -> list[np.ndarray]:
    x, found = torch.tensor([tokens]), []
    with torch.inference_mode():
        for block in range(1, LAYERS + 1):
            x = network.part(block)(x)
            found.append(x[0].numpy())
    return found


def filled(weights, numbers: list[int]) -> GlossesNetwork:
    network = GlossesNetwork(len(numbers)).eval()
    with torch.no_grad():
        fill_embedding(network.embedding, weights, torch.tensor(numbers))
        for number, block in enumerate(network.blocks):
            fill_layer(block, weights, f"encoder.layer.{number}")
    return network


@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_the_layers_are_those_that_are_published(length):
    weights = made_up(tokens=40)
    numbers = [3, 4, 7, 11, 12, 30, 39]  # the network knows fewer tokens, under new numbers
    tokens = np.random.default_rng(length).integers(0, len(numbers), length).tolist()
    network = filled({name: torch.from_numpy(array) for name, array in weights.items()}, numbers)
    expected = layers_of(weights, [numbers[token] for token in tokens], LAYERS)
    for ours, theirs in zip(activations(network, tokens), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_training_begins_with_the_first_layers_of_minilm(texts, given):
    network = GlossesNetwork()
    network.begin()
    weights = {name: tensor.numpy() for name, tensor in given.items()}
    for row in (0, 40_000):
        tokens = texts.tokens[row].tolist()
        numbers = selection.vocabulary().numbers[tokens].tolist()
        assert (numbers[0], numbers[-1]) == (101, 102)  # of [CLS] and [SEP] in MiniLM's vocabulary
        expected = layers_of(weights, numbers, LAYERS)
        for ours, theirs in zip(activations(network.eval(), tokens), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_the_vectors_of_tokens_do_not_train():
    network = GlossesNetwork(8, PIECES)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert "embedding.token.weight" not in trained
    assert {"embedding.position.weight", "blocks.0.inner.weight", "heads.4.linear.bias"} <= trained


def test_the_work_is_that_of_a_count_by_hand():
    costs = measure_parts(GlossesNetwork(8, PIECES).eval())
    weights = 384 * (3 * 384) + 384 * 384 + 2 * 384 * 1536  # of the matrices of a layer
    for block in costs["blocks"]:
        # For n tokens: a multiply-add counts as two; scores and sums of attention take n x n products of 384 numbers.
        assert block["flop"] == [0, 2 * weights, 2 * 2 * 384]
        assert block["output_length"] == [0, 1]
        assert block["output_shape"] == [64, 384]
    assert all(head["flop"] == [2 * 384 * 20, 0, 0] for head in costs["exits"].values())


def test_a_card_keeps_the_vocabulary():
    network = make_network(GlossesNetwork, GlossesNetwork(8, PIECES).card_entries())
    assert network.words.pieces == PIECES
    assert network.embedding.token.num_embeddings == 8
    assert network.words.text([0, 3, 4, 5, 6, 7, 1]) == "a kinds of fish"


@pytest.mark.parametrize("pieces", ["", 7, ["a"], "a b c", "[CLS] [SEP]", "[CLS] [SEP] [UNK]" + " a" * 30522])
def test_a_card_without_a_vocabulary_that_is_possible_is_refused(pieces):
    with pytest.raises(ValueError, match=r"pieces|vocabulary"):
        make_network(GlossesNetwork, {"pieces": pieces})
