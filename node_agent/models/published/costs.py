"""Work, parameters and activations of a large architecture, block by block, and of the stages that a cut makes of it.

Work counts matrix multiplications and convolutions, as torch's counter does, at two FLOP for a multiply-add. It leaves
out biases, norms, activation functions, softmax, pooling and look-ups of embeddings. Attention counts both of its
products in full, queries with keys and weights with values: a causal mask does not halve them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from node_agent.errors import InputError
from node_agent.models.data_types import ACTIVATION_FORMATS, ActivationFormat

PARAMETER_BYTES = 4  # float32, whatever the format of the activations
Form = tuple[int | None, ...]  # a shape; None stands for the number of tokens of a task


@dataclass(frozen=True, slots=True)
class Work:
    """FLOP of one task as a polynomial of its number of tokens n: fixed + per_token * n + per_pair * n ** 2.

    >>> (Work(fixed=10) + Work(per_token=2, per_pair=1)).at(3)
    25
    """

    fixed: int = 0  # FLOP, whatever the length
    per_token: int = 0  # FLOP for each token
    per_pair: int = 0  # FLOP for each pair of tokens, both orders and a token with itself: attention

    def __add__(self, other: "Work") -> "Work":
        return Work(self.fixed + other.fixed, self.per_token + other.per_token, self.per_pair + other.per_pair)

    def at(self, tokens: int | None) -> int:
        """FLOP of a task of `tokens` tokens; None for an image, whose work is fixed."""
        n = tokens or 0
        return self.fixed + self.per_token * n + self.per_pair * n * n


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an architecture."""

    work: Work
    parameters: int  # numbers that training sets; a norm has its scale and shift, but no running statistics

    def __add__(self, other: "Part") -> "Part":
        return Part(self.work + other.work, self.parameters + other.parameters)


@dataclass(frozen=True, slots=True)
class Block:
    """A block that can end a stage; the first block of an architecture includes its stem or embedding."""

    body: Part
    output: Form  # of the activation that the block hands on
    head: Part  # the exit head behind the block, if a stage ends here


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one stage of a cut: work and bytes of a task, memory for the parameters.

    `work.at(n)` is the FLOP of a task of n tokens; `flop` is its value at the number of tokens that `stages` got. No
    length is checked here: `PublishedCosts.check_tokens` does so.
    """

    stage: int  # 1-based
    flop: int  # per task, exit head included; a multiply-add counts as two
    work: Work  # the same FLOP, as a function of the number of tokens
    input_dtype: str  # at stage 1 what devices send; then the format of the activations
    input_shape: tuple[int, ...]
    output_dtype: ActivationFormat  # the format of the activations
    output_shape: tuple[int, ...] | None  # of the activation for the next stage; None at the last
    parameters_bytes: int  # in float32, exit head included

    @property
    def input_bytes(self) -> int:
        """Bytes of the input of one task, without message headers."""
        return math.prod(self.input_shape) * np.dtype(self.input_dtype).itemsize

    @property
    def output_bytes(self) -> int:
        """Bytes of the activation of one task, without message headers; 0 at the last stage."""
        return 0 if self.output_shape is None else math.prod(self.output_shape) * np.dtype(self.output_dtype).itemsize


@dataclass(frozen=True, slots=True)
class PublishedCosts:
    """The costs of an architecture by its published dimensions; it has no weights and answers nothing.

    An exit head stands behind every block where a stage ends. The architecture itself has the last one only, so that
    `stages((blocks,))` has one element, with the work and parameters of the architecture as published.
    """

    name: str  # in a topology's `cost:`
    title: str  # in tables and pages
    source: str  # the papers, with their years
    tokens: int | None  # of a task, unless stated; None for images
    longest: int | None  # most tokens that the architecture takes; None for images
    input_dtype: str  # of what devices send: "uint8" pixels or "uint16" token ids
    input_form: Form
    parts: tuple[Block, ...]  # first to last
    # The exit heads of a language model may use its table of tokens. Stage 1 has this table, and keeps no second copy
    # of these parameters; every other stage needs its own copy.
    tied_parameters: int = 0

    @property
    def blocks(self) -> int:
        """Number of blocks that can end a stage."""
        return len(self.parts)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what a device sends: (1, 3, 224, 224) pixels, or (n,) token ids at the default length."""
        return _shape(self.input_form, self.tokens)

    def stages(
        self, cut: Sequence[int], tokens: int | None = None, activation: ActivationFormat = "float32"
    ) -> tuple[StageCost, ...]:
        """The costs of the stages of `cut`, first to last.

        Args:
            cut: the block after which each stage ends, from 1, rising; the last one is `blocks`.
            tokens: number of tokens of a task, 1..`longest`; None for the default, and for images.
            activation: number format of the activations between stages.

        Raises:
            InputError: the architecture cannot be cut so, does not take such tasks, or the format is unknown.
        """
        ends = self.check_cut(cut)
        n = self.check_tokens(tokens)
        if activation not in ACTIVATION_FORMATS:
            hint = f"use {', '.join(ACTIVATION_FORMATS)}"
            raise InputError(f"{self.name}: no activation format {activation!r}", hint=hint)
        found = []
        shape, dtype = _shape(self.input_form, n), self.input_dtype
        for stage, (begin, end) in enumerate(pairwise((0, *ends)), start=1):
            part = self._part(begin, end)
            onward = _shape(self.parts[end - 1].output, n)
            found.append(
                StageCost(
                    stage=stage,
                    flop=part.work.at(n),
                    work=part.work,
                    input_dtype=dtype,
                    input_shape=shape,
                    output_dtype=activation,
                    output_shape=None if end == self.blocks else onward,
                    parameters_bytes=part.parameters * PARAMETER_BYTES,
                )
            )
            shape, dtype = onward, activation
        return tuple(found)

    def default_cut(self, stages: int) -> tuple[int, ...]:
        """The cut into `stages` stages whose FLOP are as equal as possible at the default number of tokens.

        Their squares have the least sum; of equal cuts the first in order counts. Exit heads are included.

        Raises:
            InputError: the architecture cannot be cut into this many stages.
        """
        if isinstance(stages, bool) or not isinstance(stages, int) or not 1 <= stages <= self.blocks:
            hint = f"{self.title} has {self.blocks} blocks: 1 to {self.blocks} stages"
            raise InputError(f"{self.name}: cannot be cut into {stages} stages", hint=hint)

        @cache
        def squared(begin: int, end: int) -> int:
            return self._part(begin, end).work.at(self.tokens) ** 2

        # The best cut of the first `end` blocks, for one stage more at a time: (sum of squares, cut).
        best: dict[int, tuple[int, tuple[int, ...]]] = {
            end: (squared(0, end), (end,)) for end in range(1, self.blocks + 1)
        }
        for stage in range(2, stages + 1):
            best = {
                end: min(
                    (best[begin][0] + squared(begin, end), (*best[begin][1], end)) for begin in range(stage - 1, end)
                )
                for end in range(stage, self.blocks + 1)
            }
        return best[self.blocks][1]

    def check_cut(self, cut: Sequence[int]) -> tuple[int, ...]:
        """The cut as a tuple of whole numbers that rise from 1 or more to `blocks`.

        Raises:
            InputError: it is another sequence.
        """
        ends = tuple(cut)
        hint = f"a cut of {self.name} is strictly rising, from 1 or more to {self.blocks}, its number of blocks"
        if not ends:
            raise InputError(f"{self.name}: the cut names no block", hint=hint)
        if any(isinstance(block, bool) or not isinstance(block, int) for block in ends):
            raise InputError(f"{self.name}: cut {list(ends)} must hold whole numbers", hint=hint)
        for block in ends:
            if not 1 <= block <= self.blocks:
                raise InputError(f"{self.name}: cut {list(ends)}: there is no block {block}", hint=hint)
        if any(later <= earlier for earlier, later in pairwise(ends)):
            raise InputError(f"{self.name}: cut {list(ends)} does not rise", hint=hint)
        if ends[-1] != self.blocks:
            raise InputError(f"{self.name}: cut {list(ends)} leaves blocks after {ends[-1]} unused", hint=hint)
        return ends

    def check_tokens(self, tokens: int | None) -> int | None:
        """The number of tokens of a task: `tokens`, or the default if it is None; None for images.

        Raises:
            InputError: it is no whole number in 1..`longest`, or the architecture takes images.
        """
        if tokens is None:
            return self.tokens
        if self.longest is None:
            raise InputError(f"{self.name}: takes images, which have no tokens", hint="state no number of tokens")
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= self.longest:
            hint = f"{self.title} takes 1 to {self.longest} tokens"
            raise InputError(f"{self.name}: a task cannot have {tokens} tokens", hint=hint)
        return tokens

    def _part(self, begin: int, end: int) -> Part:
        """The blocks after `begin` up to `end`, with the exit head behind them."""
        part = self.parts[end - 1].head
        for block in self.parts[begin:end]:
            part += block.body
        return Part(part.work, part.parameters - self.tied_parameters) if begin == 0 else part


def _shape(form: Form, tokens: int | None) -> tuple[int, ...]:
    """The form at a number of tokens, which only forms with None need."""
    return tuple((tokens or 0) if size is None else size for size in form)
