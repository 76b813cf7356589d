"""Sub-models as servers run them."""

import numpy as np
import pytest
import torch
from torch import nn

from node_agent.models.data_types import Input
from node_agent.models.networks import hosted
from node_agent.models.networks.early_exit import EarlyExitModel
from node_agent.models.networks.hosted import cut
from node_agent.models.tensors import as_tensor
from node_agent.wire import InputForm, TensorForm

CLASSES = 1000


class Widening(EarlyExitModel):
    input = Input(shape=(4,), dtype="float32")
    classes = CLASSES

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.blocks = nn.ModuleList([nn.Identity()])
        self.heads = nn.ModuleDict({"1": nn.Linear(4, CLASSES)})


@pytest.mark.parametrize("few", [CLASSES, CLASSES - 1], ids=["python", "torch"])
def test_the_best_of_many_classes_is_found_either_way(monkeypatch, few):
    monkeypatch.setattr(hosted, "FEW_CLASSES", few)
    network = Widening().fold()
    network.add_temperatures()
    (sub_model,) = cut(network, (1,), [InputForm(TensorForm("float32", (1, 4)))])
    for sample in np.random.default_rng(2).normal(size=(20, 1, 4)).astype(np.float32):
        wanted = network(torch.from_numpy(sample))[0].softmax(dim=1)[0]
        answer = sub_model.infer(as_tensor(sample))
        assert answer.prediction == int(wanted.argmax())
        assert answer.confidence == pytest.approx(float(wanted.max()), rel=1e-6)
