"""Sub-models of a real network, as servers run them."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import nn

from node_agent.exit_criteria import CONFIDENCE, ExitCriterion
from node_agent.models.data_types import ActivationFormat, check_cut
from node_agent.models.interface import Answer, SubModel
from node_agent.models.networks.early_exit import COMPUTED_AS, EarlyExitModel
from node_agent.models.tensors import as_array, as_tensor, quantised
from node_agent.wire import InputForm, Tensor

Work = Callable[[int], float]
FEW_CLASSES = 256  # up to this number, Python finds the largest of them sooner than torch


class NetworkSubModel(SubModel):
    """Consecutive blocks of a network and the exit behind them.

    Attributes:
        stage: its stage, from 1.
        last: True if no stage follows.
        modules: its parts and its head, in the order in which they run.
    """

    def __init__(
        self, network: EarlyExitModel, blocks: range, *, stage: int, input_form: InputForm,
        activation: ActivationFormat, work: Work | None = None, criterion: ExitCriterion = CONFIDENCE,
    ) -> None:  # fmt: skip
        """Host `blocks` of a folded network.

        Args:
            network: the network; its parameters are shared.
            blocks: numbers of the blocks.
            stage: from 1.
            input_form: the tensors that it takes.
            activation: the format of the activations that it sends.
            work: gives the work [FLOP] of an input by its first dimension; None: not known.
            criterion: makes the confidence of an answer of the exit's probabilities.
        """
        self.input_form, self.stage, self.last = input_form, stage, blocks[-1] == len(network.blocks)
        body, head = [network.part(block) for block in blocks], network.head(blocks[-1])
        self.modules: tuple[nn.Module, ...] = (*body, head)
        self._forward = network.straight(body, head)
        self._temperature = network.temperature(blocks[-1])
        self._varies, self._activation = network.input.varies, activation
        # Of the default criterion, Python's max is faster than numpy's.
        self._criterion = None if criterion.measured_as == CONFIDENCE.name else criterion
        self._work = cache(work) if work is not None else None
        # Activations are computed in float32, whatever their form between nodes.
        self._input_type = COMPUTED_AS[input_form.usual.dtype]

    def infer(self, tensor: Tensor) -> Answer:
        if not self.input_form.fits(tensor.form):
            form, usual = tensor.form, self.input_form.usual
            raise ValueError(f"stage {self.stage} takes {usual.dtype} {usual.shape}, got {form.dtype} {form.shape}")
        array = as_array(tensor)
        # Arrays over received frames are read-only, and torch has no read-only tensors. It converts faster than numpy.
        x = torch.from_numpy(array if array.flags.writeable else array.copy()).to(self._input_type)
        with torch.inference_mode():
            features, logits = self._forward(x.unsqueeze(0) if self._varies else x)
            probabilities = torch.softmax(logits[0] / self._temperature, dim=0)
            prediction, confidence = _best(probabilities)
            onward = None if self.last else self._sent(features)
        if self._criterion is not None:
            confidence = float(self._criterion.at_exit(probabilities.numpy()[None])[0])
        return Answer(prediction, confidence, onward)

    def _sent(self, features: torch.Tensor) -> Tensor:
        array = (features.half() if self._activation == "float16" else features.float()).numpy()
        array = array[0] if self._varies else array
        return quantised(array) if self._activation == "int8" else as_tensor(array)

    def flop(self, tensor: Tensor) -> float:
        if self._work is None:
            raise ValueError(f"the work of stage {self.stage} is not known")
        return self._work(tensor.form.shape[0])

    def example(self) -> Tensor:
        """Return a tensor of zeros of the usual form, for warming up and measuring."""
        form = self.input_form.usual
        return Tensor(form, bytes(form.byte_count))

    @property
    def parameters_bytes(self) -> int:
        """Memory of its parameters [byte]."""
        return sum(tensor.nbytes for module in self.modules for tensor in module.state_dict().values())


def _best(probabilities: torch.Tensor) -> tuple[int, float]:
    """Return the class of the largest probability (classes,), and that; the fastest way depends on their number."""
    if len(probabilities) <= FEW_CLASSES:
        scores: list[float] = probabilities.tolist()
        largest = max(scores)
        return scores.index(largest), largest
    found = probabilities.max(dim=0)
    return int(found.indices), float(found.values)


def cut(
    network: EarlyExitModel, positions: Sequence[int], forms: Sequence[InputForm],
    activation: ActivationFormat = "float32", work: Sequence[Work] = (), criterion: ExitCriterion = CONFIDENCE,
) -> tuple[NetworkSubModel, ...]:  # fmt: skip
    """Cut a folded network after the given blocks: (2, 3, 5) gives three sub-models that end after blocks 2, 3 and 5.

    The sub-models share the network's parameters. Exits inside a sub-model are dropped: no task could leave there.

    Args:
        network: the network.
        positions: the block after which each sub-model ends.
        forms: the inputs of the sub-models, stage h at index h - 1.
        activation: the format in which activations travel.
        work: see `NetworkSubModel`; one for each stage, or none.
        criterion: makes the confidence of an answer of the exit's probabilities.

    Raises:
        InputError: a position has no exit, the positions do not strictly rise, or the last block is missing.
    """
    ends = check_cut(positions, network.exits)
    begins = (0, *ends[:-1])
    return tuple(
        NetworkSubModel(
            network, range(begin + 1, end + 1), stage=stage, input_form=forms[stage - 1], activation=activation,
            work=work[stage - 1] if work else None, criterion=criterion,
        )
        for stage, (begin, end) in enumerate(zip(begins, ends, strict=True), start=1)
    )  # fmt: skip
