"""The evaluation samples of a bundle, as devices offer them."""

import numpy as np

from node_agent.models.data_types import Samples
from node_agent.models.interface import Inputs
from node_agent.models.tensors import as_tensor
from node_agent.wire import Tensor


class SampleInputs(Inputs):
    """The evaluation samples of a bundle."""

    def __init__(self, samples: Samples) -> None:
        self._images = samples.images
        self._ends = None if samples.lengths is None else np.concatenate([[0], np.cumsum(samples.lengths)])

    def tensor(self, sample: int) -> Tensor:
        if self._ends is None:
            return as_tensor(self._images[sample : sample + 1])
        return as_tensor(self._images[self._ends[sample] : self._ends[sample + 1]])
