import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from node_agent.errors import InputError
from node_agent.models.data_types import Samples, check_cut
from node_agent.models.families.glyphs import GlyphsNetwork
from node_agent.models.families.glyphs.architecture import GLYPHS, GLYPHS_DEEP, Architecture
from node_agent.models.families.glyphs.layers import CLASSES
from node_agent.models.networks.scoring import exit_scores
from node_agent.models.tensors import as_array, as_tensor
from tests.node_agent.models.pieces import pieces

EXITS = GLYPHS.exits
CUTS = [(5,), (2, 5), (3, 5), (2, 3, 5), (2, 4, 5), (2, 3, 4, 5)]
FORMATS = ("float32", "float16")
DEEP_CUTS = [(7,), (2, 7), (2, 3, 5, 7), (3, 4, 5, 7), (2, 3, 4, 5, 7)]


def lively_network(architecture: Architecture = GLYPHS, seed: int = 0) -> GlyphsNetwork:
    """A random network whose batch norms have seen data, as after training."""
    torch.manual_seed(seed)
    network = GlyphsNetwork(architecture).train()
    for _ in range(3):
        network(torch.randint(0, 256, (16, 1, 32, 32), dtype=torch.uint8))
    for block, temperature in zip(architecture.exits, (0.8, 0.9, 1.1, 1.3, 1.2), strict=False):
        network.head(block).temperature.fill_(temperature)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> GlyphsNetwork:
    return lively_network().fold()


@pytest.fixture(scope="module")
def deep_network() -> GlyphsNetwork:
    return lively_network(GLYPHS_DEEP).fold()


@pytest.fixture(params=[*CUTS, *DEEP_CUTS], ids=str)
def network_and_cut(request, network, deep_network) -> tuple[GlyphsNetwork, tuple[int, ...]]:
    return (network if request.param[-1] == 5 else deep_network), request.param


def pixels(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 32, 32), dtype=np.uint8)


def scores(network, images: np.ndarray):
    return exit_scores(network, Samples(images, np.zeros(len(images), np.int64)))


def run_chain(sub_models, image: np.ndarray):
    answers, tensor = [], as_tensor(image)
    for sub_model in sub_models:
        answers.append(sub_model.infer(tensor))
        tensor = answers[-1].activation
    return answers


@pytest.mark.parametrize(("architecture", "thousands"), [(GLYPHS, 240), (GLYPHS_DEEP, 510)])
def test_the_networks_have_as_many_parameters_as_told(architecture, thousands):
    count = sum(parameter.numel() for parameter in GlyphsNetwork(architecture).parameters())
    assert count / 1000 == pytest.approx(thousands, rel=0.03)


@pytest.mark.parametrize("architecture", [GLYPHS, GLYPHS_DEEP])
def test_folding_the_batch_norms_changes_no_logit(architecture):
    images = torch.from_numpy(pixels(8))
    plain = lively_network(architecture)
    with torch.inference_mode():
        expected = plain(images)
    folded = plain.fold()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    for ours, theirs in zip(folded(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_folded_weights_load_into_the_inference_form(network):
    fresh = GlyphsNetwork(GLYPHS, folded=True).eval()
    fresh.load_state_dict(network.state_dict())
    images = torch.from_numpy(pixels(2))
    for ours, theirs in zip(fresh(images), network(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_cut_pieces_in_a_row_equal_the_whole_network(network_and_cut):
    network, positions = network_and_cut
    images = pixels(6)
    confidence, prediction = scores(network, images)
    columns = [network.exits.index(block) for block in positions]
    sub_models = pieces(network, positions)
    for row, image in enumerate(images):
        outcomes = run_chain(sub_models, image[None])
        assert [outcome.prediction for outcome in outcomes] == prediction[row, columns].tolist()
        assert [outcome.confidence for outcome in outcomes] == pytest.approx(confidence[row, columns], abs=1e-5)
        assert outcomes[-1].activation is None


def test_declared_shapes_are_the_real_ones(network_and_cut):
    network, positions = network_and_cut
    sub_models = pieces(network, positions)
    outcomes = run_chain(sub_models, pixels(1))
    for outcome, block, following in zip(outcomes, positions, sub_models[1:], strict=False):
        shape = network.architecture.activation_shape(block)
        assert outcome.activation.form.shape == shape == following.input_form.usual.shape
        assert outcome.activation.form.dtype == following.input_form.usual.dtype == "float32"


@pytest.mark.parametrize(
    "positions", [(), (1, 5), (2, 3), (3, 2, 5), (2, 2, 5), (2, 3, 5, 5), (6,), (0, 5), (2.0, 5), (True, 5), ("2", 5)]
)
def test_impossible_cuts_are_refused_with_a_hint(network, positions):
    with pytest.raises(InputError) as caught:
        pieces(network, positions)
    assert "ends with 5" in caught.value.hint


@pytest.mark.parametrize("positions", [(2, 3, 4, 5, 6), (2, 3, 4, 6, 7), (1, 7), (2, 3, 4, 5)])
def test_impossible_cuts_of_the_deep_network_are_refused(deep_network, positions):
    with pytest.raises(InputError) as caught:
        pieces(deep_network, positions)
    assert "[2, 3, 4, 5, 7] and ends with 7" in caught.value.hint


@given(st.lists(st.integers(0, 6), max_size=5))
def test_a_cut_is_accepted_exactly_if_it_is_a_rising_choice_of_exits_ending_in_the_last(positions):
    possible = positions == sorted(set(positions)) and set(positions) <= set(EXITS) and 5 in positions
    if possible:
        assert check_cut(positions, EXITS) == tuple(positions)
    else:
        with pytest.raises(InputError):
            check_cut(positions, EXITS)


def test_activations_travel_as_float16_and_are_computed_as_float32(network):
    exact, short = (run_chain(pieces(network, (2, 3, 5), activation), pixels(1)) for activation in FORMATS)
    assert short[0].activation.form.dtype == "float16"
    assert short[0].activation.form.byte_count * 2 == exact[0].activation.form.byte_count
    np.testing.assert_allclose(as_array(short[0].activation), as_array(exact[0].activation), rtol=1e-3, atol=1e-4)
    assert short[-1].confidence == pytest.approx(exact[-1].confidence, abs=0.02)


@pytest.mark.filterwarnings("error")
def test_read_only_tensors_over_received_bytes_are_taken(network):
    first, second, _ = pieces(network, (2, 3, 5))
    image = as_tensor(pixels(1))
    onward = first.infer(replace(image, data=bytes(image.data))).activation
    received = replace(onward, data=bytes(onward.data))
    assert second.infer(received).prediction == second.infer(onward).prediction


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_temperature_moves_the_confidence_but_no_prediction(scale):
    network = lively_network().fold()
    images = pixels(20)
    confidence, prediction = scores(network, images)
    for block in EXITS:
        network.head(block).temperature.mul_(scale)
    rescaled, same = scores(network, images)
    assert (prediction == same).all()
    assert ((rescaled < confidence) == (scale > 1)).all()
    assert (rescaled > 1 / CLASSES).all()


@pytest.mark.parametrize(
    ("stage", "array"),
    [
        (1, np.zeros((1, 1, 28, 28), np.uint8)),
        (1, np.zeros((2, 1, 32, 32), np.uint8)),
        (1, np.zeros((1, 1, 32, 32), np.float32)),
        (2, np.zeros((1, 24, 16, 16), np.float16)),
        (2, np.zeros((1, 24, 16, 16), np.uint8)),
        (2, np.zeros((1, 32, 16, 16), np.float32)),
    ],
)
def test_arrays_a_sub_model_cannot_take_raise(network, stage, array):
    with pytest.raises(ValueError, match=f"stage {stage} takes"):
        pieces(network, (2, 3, 5))[stage - 1].infer(as_tensor(array))
