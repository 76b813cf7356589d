"""A model's data types without torch: the form of its input, samples, exit scores and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from node_agent.errors import InputError
from node_agent.exit_criteria import Classes, ExitCriterion, Scores

ActivationFormat = Literal["float32", "float16", "int8"]
ACTIVATION_FORMATS: tuple[ActivationFormat, ...] = get_args(ActivationFormat)


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

    confidence: Scores  # [N, exits], 0..1, of the exit criterion; compare Python floats: float32 would round thresholds
    prediction: Classes  # [N, exits]
    alone: Scores | None = None  # [N, exits], what each exit's probabilities alone give; None: the same as `confidence`


@dataclass(frozen=True, slots=True)
class ExitAnswers:
    """The answers of each exit, and the numbers that exit criteria make of their probabilities.

    A row per sample, a column per exit, the first exit first.
    """

    prediction: Classes  # [N, exits]; -1: not known
    measured: Mapping[str, Scores]  # by name of a criterion, [N, exits], 0..1

    def judged_by(self, criterion: ExitCriterion, columns: Sequence[int], lacking: InputError) -> ExitScores:
        """Return the scores of a cut by a criterion.

        Args:
            criterion: the criterion.
            columns: of the exits of the cut.
            lacking: raised if what the criterion needs was not measured.
        """
        if criterion.measured_as not in self.measured or (self.prediction.min() < 0 and not criterion.of_one_exit):
            raise lacking
        whole = list(columns) == list(range(self.measured[criterion.measured_as].shape[1]))  # then nothing is copied
        alone = self.measured[criterion.measured_as]
        alone = alone if whole else alone[:, columns]
        prediction = self.prediction if whole else self.prediction[:, columns]
        if criterion.of_one_exit:
            return ExitScores(alone, prediction)
        return ExitScores(criterion.over_exits(alone, prediction, len(columns)), prediction, alone)


class Input(msgspec.Struct, frozen=True):
    """The form of a model's samples.

    If it varies, samples may differ in their first dimension, for example in the number of tokens.
    """

    # of one sample, for example (1, 28, 28) or (64,); if it varies, the first dimension is the largest possible
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**20)], ...], Meta(min_length=1, max_length=7)]
    dtype: Literal["uint8", "uint16", "float16", "float32"] = "uint8"  # uint8 for pixels, uint16 for token numbers
    varies: bool = False  # True if samples may be shorter than the first dimension says


@dataclass(frozen=True)
class Samples:
    """Labelled inputs. Devices offer those as tasks that training, calibration and the exit table did not use.

    If lengths vary, the samples stand behind one another in `images`, along the first dimension.
    """

    images: npt.NDArray[Any]  # [N, *shape]; where lengths vary, [sum of lengths, *shape[1:]]
    labels: npt.NDArray[np.int64]  # [N], classes
    severity: npt.NDArray[np.float32] | None = None  # [N], 0 (clean) .. 1 (hardest); None: not known
    lengths: npt.NDArray[np.int64] | None = None  # [N], first dimension of each sample; None: all have one shape

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """The place behind each sample of varying length, [N]."""
        assert self.lengths is not None
        return np.cumsum(self.lengths)

    def sample(self, index: int) -> npt.NDArray[Any]:
        """Return a sample as it travels: (1, *shape), or (length, *shape[1:]) where lengths vary."""
        if self.lengths is None:
            return self.images[index : index + 1]
        end = int(self._ends[index])
        return self.images[end - int(self.lengths[index]) : end]

    def batch(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return samples of one length as an array (rows, *shape)."""
        if self.lengths is None:
            return self.images[rows]
        return np.stack([self.sample(int(row)) for row in rows])

    def chosen(self, rows: npt.NDArray[np.int64]) -> "Samples":
        """Return the samples of these rows, in their order."""
        severity = None if self.severity is None else self.severity[rows]
        if self.lengths is None:
            return Samples(self.images[rows], self.labels[rows], severity)
        parts = [self.sample(int(row)) for row in rows]
        images = np.concatenate(parts) if parts else self.images[:0]
        return Samples(images, self.labels[rows], severity, self.lengths[rows])


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
