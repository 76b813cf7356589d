"""A table as a model: exits are numbers 1..E, sub-models look answers up, and tensors have the stated sizes."""

import struct
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.exit_criteria import Scores
from node_agent.models.answer_table.answers import AnswerTable, read_table
from node_agent.models.answer_table.inputs import NUMBER_BYTES, sent_as
from node_agent.models.data_types import ActivationFormat, ExitScores, SubModelProfile, check_cut
from node_agent.models.interface import Answer, Inputs, Model, SampleCosts, SubModel
from node_agent.wire import InputForm, Tensor, TensorForm

_NUMBER = struct.Struct("<Q")  # at the head of each tensor: number of the sample, from 1; 0 means none


def _work(table: AnswerTable, segments: range) -> npt.NDArray[np.float64]:
    """Return the work of a stage on each sample [FLOP], [N]; it must differ between samples."""
    work: npt.NDArray[np.float64] = table.flop[:, segments[0] : segments[-1] + 1].sum(axis=1, dtype=np.float64)
    return work


class _Tensors:
    """Makes the tensors that one stage takes: the number of a sample, then zeros, in the form that the table states."""

    def __init__(self, form: InputForm, lengths: npt.NDArray[np.int32] | None) -> None:
        """`lengths` are the first dimensions of the samples' tensors, [N]; None if they do not vary."""
        self._form = form
        self._lengths = lengths
        self._usual_bytes = form.usual.byte_count

    def of(self, number: int) -> Tensor:
        """Return the tensor of the sample with this number, from 1; 0 returns a tensor of usual size without one."""
        if self._lengths is None or number == 0:
            form, size = self._form.usual, self._usual_bytes
        else:
            form = self._form.sized(int(self._lengths[number - 1]))
            size = form.byte_count
        # Fresh zeros cost no memory until something writes to them.
        data = bytearray(size)
        _NUMBER.pack_into(data, 0, number)
        return Tensor(form, data)


class TableInputs(Inputs):
    """The samples of a table, as tensors of the stated size."""

    def __init__(self, tensors: _Tensors, samples: int) -> None:
        self._tensors = tensors
        self._samples = samples

    def tensor(self, sample: int) -> Tensor:
        """Return the tensor that a device sends for a sample (from 0).

        Raises:
            ValueError: there is no such sample.
        """
        if not 0 <= sample < self._samples:
            raise ValueError(f"sample {sample} of {self._samples}")
        return self._tensors.of(sample + 1)


class TableSubModel(SubModel):
    """Looks up the answers of one stage, and the costs of its work. It keeps no state."""

    def __init__(
        self, table: AnswerTable, confidence: Scores, segments: range, input_form: InputForm, usual_flop: float,
        onward: _Tensors | None,
    ) -> None:  # fmt: skip
        """Serve one stage of a table.

        Args:
            table: the answers, shared by all sub-models and by forked processes.
            confidence: numbers of the exit criterion, [N].
            segments: columns of the segments that the stage consists of; its exit is that of the last one.
            input_form: the tensors that it takes.
            usual_flop: work on a tensor without a sample [FLOP].
            onward: the tensors of the next stage; None at the last stage.
        """
        self.input_form = input_form
        self._confidence = confidence
        self._prediction = table.prediction[:, segments[-1]]
        self._flop = table.flop[:, segments[0] : segments[-1] + 1] if table.flop.ndim == 2 else None
        self._usual_flop = usual_flop
        self._onward = onward

    def infer(self, tensor: Tensor) -> Answer:
        """Return the recorded answer to the sample whose number the tensor carries; without one, that to sample 0.

        Raises:
            ValueError: the tensor has another form, or carries a number that no sample has.
        """
        number = self._number(tensor)
        sample = max(number - 1, 0)
        activation = None if self._onward is None else self._onward.of(number)
        return Answer(int(self._prediction[sample]), float(self._confidence[sample]), activation)

    def flop(self, tensor: Tensor) -> float:
        """Return the recorded work on the tensor's sample [FLOP]; without one, the mean.

        Raises:
            ValueError: the tensor has another form, or carries a number that no sample has.
        """
        number = self._number(tensor)
        if self._flop is None or number == 0:
            return self._usual_flop
        return float(self._flop[number - 1].sum())

    def _number(self, tensor: Tensor) -> int:
        """Return the number of the sample that a tensor carries, from 1; 0 if it carries none."""
        if not self.input_form.fits(tensor.form):
            raise ValueError(f"a tensor {tensor.form}, where this sub-model takes {self.input_form}")
        number: int = _NUMBER.unpack_from(tensor.data)[0]
        if number > len(self._confidence):
            raise ValueError(f"sample {number} of {len(self._confidence)}")
        return number


class TableModel(Model):
    """A model whose answers were recorded elsewhere; its file is read when it is first needed."""

    def __init__(self, path: Path) -> None:
        """`path` is a file that `read_table` reads."""
        self.name = path.stem
        self.path = path

    @cached_property
    def table(self) -> AnswerTable:
        """The content of the file."""
        return read_table(self.path)

    @property
    def exits(self) -> tuple[int, ...]:
        return tuple(range(1, self.table.exit_count + 1))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.table.labels

    @property
    def plans_with_its_tasks(self) -> bool:
        """True if nodes plan with the rows that tasks offer, because the table has no others."""
        return self.table.plans_with_its_tasks

    def exit_table(self, cut: Sequence[int]) -> ExitTable:
        """Return the table that nodes plan with: the plan rows of the file, or the tasks' rows if it has none."""
        columns = self._exit_columns(cut)
        plan = self.table.plan
        scores = plan.answers.judged_by(self.criterion, columns, self._unmeasured("plan_"))
        return ExitTable(np.asarray(scores.confidence, np.float64), plan.correct[:, columns])

    def scores(self, cut: Sequence[int]) -> ExitScores:
        return self.table.answers.judged_by(self.criterion, self._exit_columns(cut), self._unmeasured(""))

    def _unmeasured(self, prefix: str) -> InputError:
        """Return the error of a table that lacks an array which the exit criterion needs."""
        prefix = "" if self.plans_with_its_tasks else prefix
        array = f"{prefix}{self.criterion.name if self.criterion.of_one_exit else 'prediction'}"
        message = f"{self.path}: has no array {array}, which the criterion {self.criterion.name} needs"
        return InputError(message, hint="add it, or use criterion: confidence; docs/models.md has the format")

    def profiles(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModelProfile, ...]:
        stages, flop = self._segments(cut), self._usual_flop(cut)
        sizes = [*self._mean_bytes(cut, activation), 0]
        return tuple(
            SubModelProfile(
                stage=number,
                flop=flop[number - 1],
                input_bytes=sizes[number - 1],
                output_bytes=sizes[number],
                parameters_bytes=sum(self.table.parameters_bytes[column] for column in segments),
                variability=self._variability(segments),
            )
            for number, segments in enumerate(stages, start=1)
        )

    def input_forms(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[InputForm, ...]:
        """Return the tensors that the sub-models of `cut` take.

        With float16 or int8, activations that the table states in a longer format travel so; others are as stated.
        """
        forms = [self.table.forms[segments[0]] for segments in self._segments(cut)]
        forms[1:] = [sent_as(form, activation) for form in forms[1:]]
        for stage, form in enumerate(forms[1:], start=2):
            if (least := self._least(form, stage, cut).byte_count) < NUMBER_BYTES:
                raise InputError(
                    f"{self.path}: the input of stage {stage} has {least} bytes in {activation}, but a tensor carries "
                    f"the number of its sample in {NUMBER_BYTES}",
                    hint="use activation: float32",
                )
        return tuple(forms)

    def _least(self, form: InputForm, stage: int, cut: Sequence[int]) -> TensorForm:
        """Return the smallest tensor that a stage takes."""
        if form.most is None or self.table.lengths is None:
            return form.usual
        return form.sized(int(self.table.lengths[:, self._segments(cut)[stage - 1][0]].min()))

    def sample_costs(self, cut: Sequence[int], activation: ActivationFormat) -> SampleCosts | None:
        table, stages, forms = self.table, self._segments(cut), self.input_forms(cut, activation)
        if table.flop.ndim == 1 and all(form.most is None for form in forms):
            return None
        shape = (len(table), len(stages))
        flop: npt.NDArray[np.float64] = np.broadcast_to(np.array(self._usual_flop(cut), np.float64), shape)
        if table.flop.ndim == 2:
            flop = np.stack([_work(table, segments) for segments in stages], axis=1)
        length: npt.NDArray[np.int64] = np.broadcast_to(np.array([form.usual.shape[0] for form in forms]), shape)
        if table.lengths is not None:
            length = table.lengths[:, [part[0] for part in stages]].astype(np.int64)
            for column, form in enumerate(forms):
                if form.most is None:
                    length[:, column] = form.usual.shape[0]
        return SampleCosts(flop, length)

    def inputs(self, cut: Sequence[int], activation: ActivationFormat) -> TableInputs:
        return TableInputs(self._tensors(cut, activation)[0], len(self.table))

    def sub_models(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[TableSubModel, ...]:
        """Return sub-models that look answers up; all of them share the arrays of the table."""
        forms, flop = self.input_forms(cut, activation), self._usual_flop(cut)
        onward = [*self._tensors(cut, activation)[1:], None]
        scores = self.scores(cut)
        alone = scores.confidence if scores.alone is None else scores.alone
        return tuple(
            TableSubModel(self.table, alone[:, index], segments, forms[index], float(flop[index]), onward[index])
            for index, segments in enumerate(self._segments(cut))
        )

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the file."""
        return self.table.fingerprint

    def check(self) -> None:
        """Read the file. Raises InputError for the first fault."""
        self.table  # noqa: B018 - reading it is the check

    @property
    def answers(self) -> str:
        return "recorded elsewhere"

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self.plans_with_its_tasks:
            return ()
        return (f"table {self.name} has no rows to plan with: nodes plan with the very samples that devices offer",)

    def _segments(self, cut: Sequence[int]) -> tuple[range, ...]:
        """Return the columns of each stage's segments."""
        return tuple(range(begin, end) for begin, end in pairwise((0, *check_cut(cut, self.exits))))

    def _exit_columns(self, cut: Sequence[int]) -> list[int]:
        return [segments[-1] for segments in self._segments(cut)]

    def _usual_flop(self, cut: Sequence[int]) -> tuple[int, ...]:
        """Return the work of each stage [FLOP], the mean over the samples."""
        means = self._mean_flop
        return tuple(round(sum(means[column] for column in segments)) for segments in self._segments(cut))

    @cached_property
    def _mean_flop(self) -> list[float]:
        """Work of each segment [FLOP], the mean over the samples."""
        flop = self.table.flop
        means: list[float] = (flop if flop.ndim == 1 else flop.mean(axis=0, dtype=np.float64)).tolist()
        return means

    def _variability(self, segments: range) -> float:
        """Return the squared coefficient of variation of a stage's work."""
        if self.table.flop.ndim == 1:
            return 0.0
        work = _work(self.table, segments)
        return float(work.var() / work.mean() ** 2)

    def _mean_bytes(self, cut: Sequence[int], activation: ActivationFormat) -> list[int]:
        """Return the size of each stage's input [B], the mean over the samples, rounded."""
        sizes = []
        for segments, form in zip(self._segments(cut), self.input_forms(cut, activation), strict=True):
            if form.most is None or self.table.lengths is None:
                sizes.append(form.usual.byte_count)
            else:
                mean = float(self.table.lengths[:, segments[0]].mean(dtype=np.float64))
                sizes.append(round(form.sized(1).byte_count * mean))
        return sizes

    def _tensors(self, cut: Sequence[int], activation: ActivationFormat) -> list[_Tensors]:
        """Return the makers of the tensors that each stage takes."""
        found = []
        for segments, form in zip(self._segments(cut), self.input_forms(cut, activation), strict=True):
            lengths = self.table.lengths if form.most is not None else None
            found.append(_Tensors(form, None if lengths is None else lengths[:, segments[0]]))
        return found
