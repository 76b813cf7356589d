"""The interface of models: all that a testbed needs to know about one, whatever the source of its answers.

Three kinds of model exist. A bundle runs the sub-models of a real network. A table holds the answers of a model that
ran elsewhere. A published architecture lends its costs to one of the others.

Nothing here loads torch, so devices and the check of a topology do without it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE, ExitCriterion, criterion_called
from node_agent.models.data_types import ActivationFormat, ExitScores, SubModelProfile
from node_agent.wire import InputForm, Tensor


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a sub-model to one tensor."""

    prediction: int  # class that this sub-model's exit predicts
    confidence: float  # number that the exit criterion makes of the calibrated probabilities, 0..1
    activation: Tensor | None  # input of the next sub-model; None after the last stage


@dataclass(frozen=True, slots=True)
class SampleCosts:
    """Costs that differ between samples. N samples, H stages; stage h stands in column h - 1."""

    flop: npt.NDArray[np.float64]  # [N, H], work of each stage on each sample
    length: npt.NDArray[np.int64]  # [N, H], first dimension of each stage's input


class SubModel(ABC):
    """The part of a model on one edge server. An instance may keep state between tasks."""

    input_form: InputForm

    @abstractmethod
    def infer(self, tensor: Tensor) -> Answer:
        """Return the answer to a tensor that fits `input_form`.

        Raises:
            ValueError: the tensor does not fit.
        """

    @abstractmethod
    def flop(self, tensor: Tensor) -> float:
        """Return the work [FLOP] of `infer` on this tensor; a tensor of zeros has the usual work."""


class Inputs(ABC):
    """The samples as devices offer them."""

    @abstractmethod
    def tensor(self, sample: int) -> Tensor:
        """Return the tensor that a device sends for a sample (from 0)."""


class Model(ABC):
    """An early-exit model that can be cut into sub-models.

    Attributes:
        name: a short name for people.
        criterion: makes the scores that servers compare with their thresholds.

    Raises:
        InputError: in every member, if a file that it reads is missing, damaged or does not fit the others, or if the
            cut is impossible.
    """

    name: str
    criterion: ExitCriterion = CONFIDENCE

    def judged_by(self, name: str) -> Self:
        """Return the same model with another exit criterion, by its name.

        Raises:
            InputError: there is no such criterion.
        """
        if self.criterion.name == name:
            return self
        found = copy(self)
        object.__setattr__(found, "criterion", criterion_called(name))
        return found

    def has_criterion(self, name: str, cut: Sequence[int]) -> bool:
        """True if the model has the scores of a criterion."""
        try:
            self.judged_by(name).exit_table(cut)
        except InputError:
            return False
        return True

    @property
    @abstractmethod
    def exits(self) -> tuple[int, ...]:
        """Numbers of the blocks that carry an exit, rising; the last one is the end of the model."""

    @property
    @abstractmethod
    def labels(self) -> npt.NDArray[np.int64]:
        """The true class of each sample that devices offer, [N]."""

    @property
    def sample_count(self) -> int:
        """Number of samples N that devices offer."""
        return len(self.labels)

    @abstractmethod
    def exit_table(self, cut: Sequence[int]) -> ExitTable:
        """Return the table that nodes plan with: a column per sub-model of `cut`, rows that no task offers.

        Its confidences are the scores of the model's criterion.
        """

    @abstractmethod
    def scores(self, cut: Sequence[int]) -> ExitScores:
        """Return the answers of the sub-models of `cut` to the N samples, [N, H], with the criterion's scores."""

    @abstractmethod
    def profiles(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModelProfile, ...]:
        """Return the costs of the sub-models of `cut`, means over the samples where these differ.

        Args:
            cut: the block after which each sub-model ends.
            activation: the format in which activations travel between stages.
        """

    @abstractmethod
    def input_forms(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[InputForm, ...]:
        """Return the tensors that the sub-models of `cut` take; stage h stands at index h - 1."""

    def sample_costs(self, cut: Sequence[int], activation: ActivationFormat) -> SampleCosts | None:  # noqa: ARG002
        """Return the costs of each sample; None if all samples cost the same."""
        return None

    @abstractmethod
    def inputs(self, cut: Sequence[int], activation: ActivationFormat) -> Inputs:
        """Return the samples as devices offer them; does not load torch."""

    @abstractmethod
    def sub_models(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModel, ...]:
        """Return the sub-models of `cut`, ready for inference; loads torch if the model is a real network."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of everything that affects a run."""

    @abstractmethod
    def check(self) -> None:
        """Read every file that a run needs. Raises InputError for the first fault; does not load torch."""

    def check_able(self) -> None:
        """Check that this machine has all that only `sub_models` needs; loads no torch.

        Raises:
            EnvironmentLacking: a package is missing.
            InputError: a file of an installed package is missing or damaged.
        """
        return

    def check_format(self, activation: ActivationFormat) -> None:  # noqa: B027 - most models compute well in each format
        """Raise InputError if answers that are computed through this format are not those that the model states."""

    @property
    def labels_are(self) -> str | None:
        """The source of the labels, in words for manifests; None: they are known to be true."""
        return None

    @property
    def answers(self) -> str | None:
        """The source of answers, in words for manifests; None if sub-models compute them during the run."""
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that a reader of figures with this model must know."""
        return ()

    @property
    def other_criterion(self) -> str | None:
        """The exit criterion, by its name for manifests; None: the confidence, the default."""
        return None if self.criterion.name == CONFIDENCE.name else self.criterion.name

    @property
    def costs(self) -> str | None:
        """The architecture whose published costs apply, in words for manifests; None: the model's own costs."""
        return None
