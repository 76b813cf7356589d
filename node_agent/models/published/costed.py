"""A model with the costs of a published architecture: one decides the exits, the other how much work and bytes are due.

The sub-models of the first one really run. Their tensors travel inside messages of the size that the architecture has:
a header of `HEADER_BYTES`, the tensor, zeros. An image may be larger than the architecture's input, for example than
token ids. So the header names the sample, and a server of stage 1 looks its image up.

Decision 089: a model with borrowed costs really runs, inside messages of the borrowed size
(docs/decisions/089-borrowed-costs-real-answers.md).
"""

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.models.data_types import ActivationFormat, ExitScores, SubModelProfile
from node_agent.models.interface import Answer, Inputs, Model, SubModel
from node_agent.models.published import PublishedCosts, StageCost
from node_agent.models.tensors import usual_form
from node_agent.wire import InputForm, Tensor, TensorForm

_HEADER = struct.Struct("<QQ")  # the sample's number + 1 (0: no sample), the first dimension of the tensor (0: none)
HEADER_BYTES = _HEADER.size


class CostedModel(Model):
    """A model whose stages have the work, inputs and parameters of a published architecture."""

    def __init__(
        self, inner: Model, architecture: PublishedCosts, ends: Sequence[int] | None = None, tokens: int | None = None
    ) -> None:
        """Give `inner` the costs of `architecture`.

        Args:
            inner: the model that decides the exits.
            architecture: the published costs.
            ends: the last block of the architecture in each stage; None for stages of about equal work.
            tokens: the length of a text; None for the architecture's own.
        """
        self.name, self.criterion = inner.name, inner.criterion
        self._inner = inner
        self._architecture = architecture
        self._ends = None if ends is None else tuple(ends)
        self._tokens = tokens

    def _stages(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[StageCost, ...]:
        ends = self._architecture.default_cut(len(cut)) if self._ends is None else self._ends
        if len(ends) != len(cut):
            raise InputError(
                f"the cost's cut {list(ends)} and the model's cut {list(cut)} differ in length",
                hint="give both cuts as many blocks, or leave the cost's out",
            )
        stages = self._architecture.stages(ends, self._tokens, activation)
        self._check_room(stages, self._inner.input_forms(cut, activation))
        return stages

    def _check_room(self, stages: Sequence[StageCost], carried: Sequence[InputForm]) -> None:
        """Raise InputError if a message of the architecture is too small for what it must carry."""
        needed = [HEADER_BYTES, *(form.largest.byte_count + HEADER_BYTES for form in carried[1:])]
        for stage, needed_bytes in zip(stages, needed, strict=True):
            if stage.input_bytes < needed_bytes:
                raise InputError(
                    f"cost {self._architecture.name}: the input of stage {stage.stage} has {stage.input_bytes} bytes, "
                    f"too few for the {needed_bytes} of model {self.name}",
                    hint="cut the architecture elsewhere, state more tokens, or take a smaller model",
                )

    def judged_by(self, name: str) -> "CostedModel":
        return CostedModel(self._inner.judged_by(name), self._architecture, self._ends, self._tokens)

    @property
    def exits(self) -> tuple[int, ...]:
        return self._inner.exits

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self._inner.labels

    def exit_table(self, cut: Sequence[int]) -> ExitTable:
        return self._inner.exit_table(cut)

    def scores(self, cut: Sequence[int]) -> ExitScores:
        return self._inner.scores(cut)

    def profiles(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModelProfile, ...]:
        return tuple(
            SubModelProfile(stage.stage, stage.flop, stage.input_bytes, stage.output_bytes, stage.parameters_bytes)
            for stage in self._stages(cut, activation)
        )

    def input_forms(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[InputForm, ...]:
        return tuple(
            InputForm(usual_form(stage.input_dtype, stage.input_shape)) for stage in self._stages(cut, activation)
        )

    def inputs(self, cut: Sequence[int], activation: ActivationFormat) -> Inputs:
        return NumberedInputs(self.input_forms(cut, activation)[0].usual)

    def sub_models(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModel, ...]:
        forms, profiles = self.input_forms(cut, activation), self.profiles(cut, activation)
        inner = self._inner.sub_models(cut, activation)
        samples = self._inner.inputs(cut, activation)
        onward = [form.usual for form in forms[1:]]
        return tuple(
            CostedSubModel(each, form, float(profile.flop), samples if stage == 0 else None, following)
            for stage, (each, form, profile, following) in enumerate(
                zip(inner, forms, profiles, [*onward, None], strict=True)
            )
        )

    def fingerprint(self) -> str:
        stated = (self._inner.fingerprint(), self._architecture.name, self._ends, self._tokens)
        return hashlib.sha256(repr(stated).encode()).hexdigest()

    def check(self) -> None:
        self._inner.check()

    def check_able(self) -> None:
        self._inner.check_able()

    def check_format(self, activation: ActivationFormat) -> None:
        self._inner.check_format(activation)

    @property
    def labels_are(self) -> str | None:
        return self._inner.labels_are

    @property
    def answers(self) -> str | None:
        return self._inner.answers

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._inner.warnings

    @property
    def costs(self) -> str:
        length = "" if self._tokens is None else f", {self._tokens} tokens"
        return f"{self._architecture.name}{length}"


class NumberedInputs(Inputs):
    """The samples of a model, to be looked up where they arrive: a number in bytes of the stated size."""

    def __init__(self, form: TensorForm) -> None:
        self._form = form

    def tensor(self, sample: int) -> Tensor:
        return Tensor(self._form, _packed(sample + 1, 0, b"", self._form))


class CostedSubModel(SubModel):
    """A real sub-model in the place of a stage of an architecture."""

    def __init__(
        self,
        inner: SubModel,
        input_form: InputForm,
        work_flop: float,
        samples: Inputs | None,
        following: TensorForm | None,
    ) -> None:
        """Wrap `inner`.

        Args:
            inner: the real sub-model.
            input_form: the tensors of the architecture's stage.
            work_flop: the work of that stage [FLOP].
            samples: the samples of the real model, for stage 1; None for later stages.
            following: form of the next stage's input; None at the last stage.
        """
        self.input_form = input_form
        self._inner = inner
        self._work_flop = work_flop
        self._samples = samples
        self._following = following

    def infer(self, tensor: Tensor) -> Answer:
        number, first = _HEADER.unpack_from(tensor.data)
        answer = self._inner.infer(self._inner_tensor(tensor, number, first))
        if answer.activation is None or self._following is None:
            return Answer(answer.prediction, answer.confidence, None)
        form, data = answer.activation.form, answer.activation.data
        packed = _packed(number, form.shape[0], data, self._following)
        following = replace(self._following, affine=form.affine)  # of int8; the architecture's tensor has the same type
        return Answer(answer.prediction, answer.confidence, Tensor(following, packed))

    def _inner_tensor(self, tensor: Tensor, number: int, first: int) -> Tensor:
        """Return the input of the real sub-model that a message carries; zeros for a message without a sample."""
        form = self._inner.input_form
        if number == 0:
            return Tensor(form.usual, bytes(form.usual.byte_count))
        if self._samples is not None:
            return self._samples.tensor(number - 1)
        carried = replace(form.sized(first), affine=tensor.form.affine)
        if not form.fits(carried):
            raise ValueError(f"a tensor of {first} where the sub-model takes {form.usual.shape}")
        return Tensor(carried, memoryview(tensor.data)[HEADER_BYTES : HEADER_BYTES + carried.byte_count])

    def flop(self, tensor: Tensor) -> float:  # noqa: ARG002 - the architecture's input has one size
        return self._work_flop


def _packed(number: int, first: int, data: bytes | bytearray | memoryview, form: TensorForm) -> bytes:
    """Return the bytes of a message's tensor: header, data, zeros."""
    return b"".join((_HEADER.pack(number, first), data, bytes(form.byte_count - HEADER_BYTES - len(data))))
