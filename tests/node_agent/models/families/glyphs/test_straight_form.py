"""A sub-model without its modules answers bit for bit as the sub-model itself."""

import pytest
import torch
from node_agent.models.architecture import Architecture
from node_agent.models.network import EarlyExitNetwork, cut
from node_agent.models.straight import straight

from node_agent.models import load_bundle


@pytest.mark.parametrize("positions", [(2, 5), (2, 3, 5), (3, 4, 5)])
def test_every_sub_model_of_the_bundle_answers_the_same(positions):
    bundle = load_bundle("glyphs")
    sub_models = bundle.sub_models(positions)
    for begin in (0, 7, 400):
        features = torch.from_numpy(bundle.evaluation.images[begin : begin + 1].copy())
        for sub_model in sub_models:
            before = features.clone()
            with torch.inference_mode():
                onward, logits = sub_model(features)
                found, found_logits = straight(sub_model)(features)
            assert torch.equal(features, before)  # what it is given stays as it was
            assert torch.equal(found_logits, logits)
            if onward is not None:
                assert torch.equal(found, onward)
                features = onward


def shrinking() -> EarlyExitNetwork:
    """Blocks with and without a shortcut's convolution, and with each stride."""
    torch.manual_seed(3)
    return EarlyExitNetwork(Architecture(channels=(4, 4, 6, 6), strides=(1, 2, 4, 1), exits=(2, 4)))


def test_all_kinds_of_blocks_answer_the_same():
    network = shrinking().fold()
    x = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        for sub_model in cut(network, (2, 4)):
            onward, logits = sub_model(x)
            found, found_logits = straight(sub_model)(x)
            assert torch.equal(found_logits, logits)
            assert onward is None or torch.equal(found, onward)
            x = found


def test_it_keeps_no_gradients_and_therefore_takes_frozen_networks_only():
    with pytest.raises(ValueError, match="stage 1 is not frozen"):
        straight(cut(shrinking(), (2, 4))[0])
    unfolded = shrinking().eval().requires_grad_(False)
    with pytest.raises(ValueError, match="not folded"):
        straight(cut(unfolded, (2, 4))[0])
