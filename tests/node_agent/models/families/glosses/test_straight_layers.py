"""A sub-model without its modules answers bit for bit as the modules themselves."""

import pytest
import torch
from torch import nn

from node_agent.models import load_bundle
from node_agent.models.families.glosses.straight_layers import straight
from tests.node_agent.models.families.straightened import same_as_modules


@pytest.mark.parametrize("positions", [(4,), (1, 2, 4), (1, 2, 3, 4)])
def test_every_sub_model_of_the_bundle_answers_the_same(positions):
    bundle = load_bundle("glosses")
    network = bundle.network()
    for sample in (0, 7, 400):
        tokens = torch.from_numpy(bundle.evaluation.sample(sample).astype("int64"))[None]
        same_as_modules(network, positions, tokens)


def test_other_modules_have_no_straight_form():
    with pytest.raises(TypeError, match="no straight form of ReLU"):
        straight([nn.ReLU()], load_bundle("glosses").network().head(1))
