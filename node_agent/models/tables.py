"""A model's data types without torch: samples, exit scores, costs and the outcome of one inference."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError

ActivationFormat = Literal["float32", "float16"]
Activation = npt.NDArray[np.float32] | npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Inference:
    """The outcome of one sub-model on one task."""

    activation: Activation | None  # (1, C, H, W), the input of the next stage; None after the last stage
    prediction: int  # class that this sub-model's exit would answer
    confidence: float  # temperature-scaled softmax probability of that class, 0..1


@dataclass(frozen=True, slots=True)
class SubModelProfile:
    """The cost of one sub-model: work per task, bytes per task over the links, memory for its parameters."""

    stage: int  # 1-based
    flop: int  # per task, exit head included; a multiply-add counts as two
    input_bytes: int  # tensor only, without message headers
    output_bytes: int  # activation for the next stage; 0 at the last
    parameters_bytes: int
    variability: float = 0.0  # squared coefficient of variation of the work; `flop` and the bytes are then means


@dataclass(frozen=True, slots=True)
class ExitScores:
    """The answers of each exit to each evaluation sample: a row per sample, a column per exit, the first exit first.

    The scores of a cut have one exit per stage: stage h stands in column h - 1.
    """

    confidence: npt.NDArray[np.floating[Any]]  # [N, exits], 0..1; compare Python floats: float32 would round thresholds
    prediction: npt.NDArray[np.integer[Any]]  # [N, exits], class


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled images that devices offer as tasks; training, calibration and the exit table did not use them."""

    images: npt.NDArray[np.uint8]  # [N, 1, 32, 32]
    labels: npt.NDArray[np.int64]  # [N]
    severity: npt.NDArray[np.float32]  # [N], 0 (clean) .. 1 (hardest)

    def __len__(self) -> int:
        return len(self.labels)


def check_cut(cut: Sequence[int], exits: Sequence[int]) -> tuple[int, ...]:
    """The cut as a tuple, checked for a model with these exits.

    A cut lists the block after which each sub-model ends. The blocks strictly rise, each has an exit head, and the last
    one is the model's last block.

    Raises:
        InputError: a model with these exits cannot be cut so.
    """
    chosen = tuple(cut)
    hint = f"a cut is strictly rising, takes its positions from {list(exits)} and ends with {exits[-1]}"
    if not chosen:
        raise InputError("the cut names no position", hint=hint)
    if any(isinstance(block, bool) or not isinstance(block, int) for block in chosen):
        raise InputError(f"cut {list(chosen)} must hold whole numbers", hint=hint)
    for block in chosen:
        if block not in exits:
            raise InputError(f"cut {list(chosen)}: there is no exit after block {block}", hint=hint)
    if any(later <= earlier for earlier, later in pairwise(chosen)):
        raise InputError(f"cut {list(chosen)} does not rise", hint=hint)
    if chosen[-1] != exits[-1]:
        raise InputError(f"cut {list(chosen)} leaves blocks after {chosen[-1]} unused", hint=hint)
    return chosen
