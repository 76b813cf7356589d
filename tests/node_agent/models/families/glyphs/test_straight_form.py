"""A sub-model without its modules answers bit for bit as the modules themselves."""

import pytest
import torch
from torch import nn

from node_agent.models import load_bundle
from node_agent.models.families.glyphs import GlyphsNetwork
from node_agent.models.families.glyphs.architecture import Architecture
from node_agent.models.families.glyphs.straight_form import straight
from tests.node_agent.models.families.straightened import same_as_modules


@pytest.mark.parametrize("positions", [(2, 5), (2, 3, 5), (3, 4, 5)])
def test_every_sub_model_of_the_bundle_answers_the_same(positions):
    bundle = load_bundle("glyphs")
    network = bundle.network()
    for begin in (0, 7, 400):
        same_as_modules(network, positions, torch.from_numpy(bundle.evaluation.images[begin : begin + 1].copy()))


def shrinking() -> GlyphsNetwork:
    """Blocks with and without a shortcut's convolution, and with each stride."""
    torch.manual_seed(3)
    return GlyphsNetwork(Architecture(channels=(4, 4, 6, 6), strides=(1, 2, 4, 1), exits=(2, 4)))


def test_all_kinds_of_blocks_answer_the_same():
    same_as_modules(shrinking().fold(), (2, 4), torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8))


def test_it_keeps_no_gradients_and_therefore_takes_frozen_networks_only():
    network = shrinking()
    with pytest.raises(ValueError, match="is not frozen"):
        straight([network.part(1), network.part(2)], network.head(2))
    unfolded = shrinking().eval().requires_grad_(False)
    with pytest.raises(ValueError, match="not folded"):
        straight([unfolded.part(1), unfolded.part(2)], unfolded.head(2))


def test_other_modules_have_no_straight_form():
    with pytest.raises(TypeError, match="no straight form of ReLU"):
        straight([nn.ReLU()], shrinking().fold().head(2))
