import numpy as np
import pytest
import torch

from node_agent.models.families.glyphs import GlyphsNetwork
from node_agent.models.families.glyphs.architecture import GLYPHS, GLYPHS_DEEP, Architecture
from node_agent.models.families.glyphs.layers import CLASSES
from node_agent.models.networks.cost import counted, cpu_s_per_inference, profile
from tests.node_agent.models.pieces import pieces

ALL_CUTS = [
    *((GLYPHS, positions) for positions in [(5,), (2, 5), (2, 3, 5), (2, 3, 4, 5)]),
    *((GLYPHS_DEEP, positions) for positions in [(7,), (2, 3, 4, 5, 7)]),
]


def conv_flop(inputs: int, outputs: int, kernel: int, side: int) -> int:
    return 2 * inputs * outputs * kernel**2 * side**2


def block_flop(architecture: Architecture, block: int) -> int:
    """Counted by hand: two 3x3 convolutions and, where the shape changes, a 1x1 shortcut; the stem is in block 1."""
    channels, strides = architecture.channels, architecture.strides
    inputs = channels[max(block - 2, 0)]
    outputs, side = channels[block - 1], 32 // int(np.prod(strides[:block]))
    flop = conv_flop(inputs, outputs, 3, side) + conv_flop(outputs, outputs, 3, side)
    if inputs != outputs or strides[block - 1] != 1:
        flop += conv_flop(inputs, outputs, 1, side)
    return flop + (conv_flop(1, channels[0], 3, 32) if block == 1 else 0)


@pytest.fixture(scope="module")
def network() -> GlyphsNetwork:
    return GlyphsNetwork(GLYPHS).fold()


def test_the_hand_count_itself_matches_known_figures():
    assert [round(block_flop(GLYPHS, block) / 1e6, 1) for block in range(1, 6)] == [9.7, 4.6, 8.7, 7.3, 18.5]
    deep = [round(block_flop(GLYPHS_DEEP, block) / 1e6, 1) for block in range(1, 8)]
    assert deep == [9.7, 2.5, 4.6, 8.7, 7.3, 18.5, 8.7]


@pytest.mark.parametrize(("architecture", "positions"), ALL_CUTS)
def test_measured_work_equals_the_hand_count(architecture, positions):
    network = GlyphsNetwork(architecture).fold()
    begin = 0
    for cost, end in zip(profile(pieces(network, positions)), positions, strict=True):
        blocks = sum(block_flop(architecture, block) for block in range(begin + 1, end + 1))
        assert cost.flop == blocks + 2 * architecture.channels[end - 1] * CLASSES
        begin = end


def test_bytes_are_those_of_the_tensors(network):
    costs = profile(pieces(network, (2, 3, 4, 5)))
    assert [cost.stage for cost in costs] == [1, 2, 3, 4]
    assert [cost.input_bytes for cost in costs] == [1024, 24 * 256 * 4, 32 * 256 * 4, 64 * 64 * 4]
    assert [cost.output_bytes for cost in costs] == [24 * 256 * 4, 32 * 256 * 4, 64 * 64 * 4, 0]
    halved = profile(pieces(network, (2, 3, 4, 5), "float16"))
    assert [cost.input_bytes for cost in halved] == [1024, 24 * 256 * 2, 32 * 256 * 2, 64 * 64 * 2]
    assert [cost.flop for cost in halved] == [cost.flop for cost in costs]


def test_parameter_bytes_add_up_to_the_whole_network(network):
    whole = sum(tensor.nbytes for tensor in network.state_dict().values())
    assert sum(cost.parameters_bytes for cost in profile(pieces(network, GLYPHS.exits))) == whole


def test_processor_time_is_plausible_and_the_thread_setting_is_kept(network):
    threads = torch.get_num_threads()
    cheap, dear = (cpu_s_per_inference(pieces(network, positions)[0], runs=50) for positions in ((2, 5), (5,)))
    assert 1e-5 < cheap < dear < 0.1
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("fused", [True, False])
def test_attention_counts_although_torch_leaves_it_out(fused):
    """A layer of a transformer: four projections, two products of attention, two layers behind it."""
    layer = torch.nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True).eval()
    x = torch.zeros(1, 10, 16)
    projections, attention, behind = 4 * 2 * 10 * 16**2, 2 * 2 * 10**2 * 16, 2 * 2 * 10 * 16 * 32
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        _, flop = counted(lambda: layer(x))
        assert torch.backends.mha.get_fastpath_enabled() is fused
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    assert flop == projections + attention + behind


def test_an_lstm_and_a_look_up_count_what_multiplies():
    embedded, look_up = counted(lambda: torch.nn.Embedding(10, 4)(torch.zeros(1, 3, dtype=torch.int64)))
    assert look_up == 0
    _, flop = counted(lambda: torch.nn.Linear(4, 5)(embedded))
    assert flop == 2 * 3 * 4 * 5
