"""The answers of a network's consecutive blocks, computed module by module, for comparison with sub-models."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Inference(NamedTuple):
    """The answer of the exit behind the blocks, and their output in the format in which it travels."""

    prediction: int
    confidence: float
    activation: npt.NDArray[np.generic]


def block_by_block(network, blocks, array, activation="float32") -> Inference:
    """Run `blocks` (numbers from 1) of a folded network, and the head behind the last one, on the input of a task."""
    import torch

    with torch.inference_mode():
        x = torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.float32))
        for block in blocks:
            x = network.part(block)(x)
        scores = torch.softmax(network.head(blocks[-1])(x)[0] / network.temperature(blocks[-1]), dim=0)
        confidence, prediction = scores.max(dim=0)
        return Inference(int(prediction), float(confidence), x.numpy().astype(activation))
