"""A sub-model of a real network, as a server runs it."""

import torch

from node_agent.models.model import Answer, SubModel
from node_agent.models.network import SubModel as Module
from node_agent.models.straight import straight
from node_agent.models.tables import ActivationFormat
from node_agent.models.tensors import as_array, as_tensor
from node_agent.wire import InputForm, Tensor


class NetworkSubModel(SubModel):
    """Consecutive blocks of a network and the exit behind them."""

    def __init__(self, module: Module, input_form: InputForm, activation: ActivationFormat, flop: float) -> None:
        """Host `module`, which takes `input_form` and `flop` [FLOP] of work a task.

        `activation` is the format of the activations that it sends.
        """
        self.input_form = input_form
        self._module = module
        self._flop = flop
        self._forward, self._temperature = straight(module), module.head.temperature
        self._last, self._halved = module.last, activation == "float16"

    def infer(self, tensor: Tensor) -> Answer:
        array = as_array(tensor)
        with torch.inference_mode():
            features, logits = self._forward(self._module.as_input(array))
            scores: list[float] = torch.softmax(logits[0] / self._temperature, dim=0).tolist()
            onward = None if self._last else as_tensor((features.half() if self._halved else features).numpy())
        confidence = max(scores)
        return Answer(scores.index(confidence), confidence, onward)

    def flop(self, tensor: Tensor) -> float:  # noqa: ARG002 - all tasks have the same size
        return self._flop
