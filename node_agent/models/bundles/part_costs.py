"""The costs of a model's parts as a card states them, and those of the sub-models that a cut makes of them.

If lengths vary, work is a polynomial c0 + c1 n + c2 n^2 of the sample's length n, and the length of an activation is
c0 + c1 n.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from node_agent.models.data_types import ActivationFormat, Input, SubModelProfile
from node_agent.models.tensors import usual_form
from node_agent.wire import InputForm, TensorForm

Amount = Annotated[int, Meta(ge=0, le=2**53)]
Shape = Annotated[tuple[Annotated[int, Meta(ge=1, le=2**26)], ...], Meta(min_length=1, max_length=8)]
Coefficient = Annotated[float, Meta(ge=-(2.0**53), le=2.0**53)]
# Not tuple[Coefficient, Coefficient, Coefficient]: beside a bounded integer, msgspec 0.23 reads it into foreign memory.
Polynomial = Annotated[tuple[Coefficient, ...], Meta(min_length=3, max_length=3)]
Line = Annotated[tuple[Coefficient, ...], Meta(min_length=2, max_length=2)]
Lengths = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]


class PartCost(msgspec.Struct, frozen=True):
    """The cost of an exit head: work per task, bytes of its parameters."""

    flop: Amount | Polynomial
    parameters_bytes: Amount

    def work(self, lengths: Lengths) -> Figures:
        """Return the work [FLOP] on samples of these lengths."""
        if isinstance(self.flop, int):
            return np.full(len(lengths), float(self.flop))
        return polynomial(self.flop, lengths)


class BlockCost(PartCost, frozen=True):
    """The cost of a block, and the shape of its output."""

    output_shape: Shape  # (1, ...); where lengths vary, of the longest sample, without the 1
    output_length: Line | None = None  # None: it does not vary


class ModelParts(msgspec.Struct, frozen=True):
    """The costs in a card, part by part; a part that runs before the first block belongs to it."""

    input_shape: Shape
    blocks: tuple[BlockCost, ...]
    exits: dict[str, PartCost]  # by the number of the block they stand behind


def polynomial(coefficients: Sequence[float], lengths: Lengths) -> Figures:
    """Return c0 + c1 n + c2 n^2 ... for each length n, shape (N,)."""
    n = lengths.astype(np.float64)
    total: Figures = np.zeros(len(n))
    for coefficient in reversed(coefficients):
        total = total * n + coefficient
    return total


class CutCosts:
    """The costs of the sub-models of a cut on samples of these lengths."""

    def __init__(
        self, parts: ModelParts, ends: Sequence[int], form: Input, lengths: Lengths | None, activation: ActivationFormat
    ) -> None:
        """Compute the costs.

        Args:
            parts: the costs of the model's parts.
            ends: the block after which each sub-model ends.
            form: the form of the samples.
            lengths: of the samples (N,); None if all have one shape.
            activation: the format of activations between stages.
        """
        self._lengths = np.ones(1, dtype=np.int64) if lengths is None else lengths
        self._varies = form.varies
        self._stages = [
            (*parts.blocks[begin:end], parts.exits[str(end)]) for begin, end in zip((0, *ends), ends, strict=False)
        ]
        before = [parts.blocks[end - 1] for end in ends[:-1]]
        self._shapes = [parts.input_shape, *(block.output_shape for block in before)]
        self._length_of: list[Sequence[float] | None] = [(0.0, 1.0) if form.varies else None]
        self._length_of += [block.output_length for block in before]
        self._types = [form.dtype, *(activation for _ in before)]

    def check(self) -> None:
        """Raise ValueError if a stage has no work, or no input, for one of the samples."""
        for stage in range(len(self._stages)):
            for what, amounts in (("work", self.flop(stage)), ("input", self.length(stage))):
                if not (amounts >= 1).all():
                    raise ValueError(f"costs: stage {stage + 1} has no {what}")

    def flop(self, stage: int) -> Figures:
        """Return the work [FLOP] of a stage (from 0) on each sample, (N,)."""
        total: Figures = np.zeros(len(self._lengths))
        for part in self._stages[stage]:
            total = total + part.work(self._lengths)
        return total

    def length(self, stage: int) -> Lengths:
        """Return the first dimension of a stage's input (from 0) for each sample, (N,)."""
        found = self._length_of[stage]
        if found is None:
            return np.full(len(self._lengths), self._shapes[stage][0])
        return np.rint(polynomial(found, self._lengths)).astype(np.int64)

    def work(self, stage: int, length: int) -> float:
        """Return the work [FLOP] of a stage (from 0) on an input with this first dimension."""
        found = self._length_of[stage]
        sample = length if found is None or not found[1] else round((length - found[0]) / found[1])
        return float(sum(part.work(np.array([sample]))[0] for part in self._stages[stage]))

    def forms(self) -> tuple[InputForm, ...]:
        """Return the tensors that the stages take; the usual length is that of the mean sample."""
        found = []
        for stage, (shape, dtype) in enumerate(zip(self._shapes, self._types, strict=True)):
            form = InputForm(usual_form(dtype, tuple(shape)))
            if self._length_of[stage] is not None:
                usual = max(1, round(float(self.length(stage).mean())))
                form = InputForm(form.sized(usual), shape[0])
            found.append(form)
        return tuple(found)

    def _variability(self, stage: int) -> float:
        """The squared coefficient of variation of a stage's work."""
        work = self.flop(stage)
        return float(work.var() / work.mean() ** 2) if self._varies and work.mean() else 0.0

    def profiles(self) -> tuple[SubModelProfile, ...]:
        """Return the costs of each stage, means over the samples where these differ."""
        sizes = [
            round(float(self.length(stage).mean()) * math.prod(shape[1:])) * TensorForm(dtype, (1,)).byte_count
            for stage, (shape, dtype) in enumerate(zip(self._shapes, self._types, strict=True))
        ]
        return tuple(
            SubModelProfile(
                stage=index + 1,
                flop=round(float(self.flop(index).mean())),
                input_bytes=sizes[index],
                output_bytes=sizes[index + 1] if index + 1 < len(sizes) else 0,
                parameters_bytes=sum(part.parameters_bytes for part in parts),
                variability=self._variability(index),
            )
            for index, parts in enumerate(self._stages)
        )
