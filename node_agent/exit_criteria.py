"""Exit criteria: the score of an exit's answer, 0 to 1, which a server compares with its confidence threshold.

A criterion works in two steps. Where the probabilities of an exit are, it makes one number of them (`at_exit`). Where
the answers of all exits of a task are, it makes the score of each exit of them (`over_exits`): from a server's own
answer and those that travelled with the task, and in whole tables.

Every subclass of `ExitCriterion` in this module is offered by its name, in topologies and on the command line.

Decision 096: a criterion makes a number at each exit, and the server makes the score of the numbers so far
(docs/decisions/096-scores-are-made-where-the-answers-are.md).
"""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.suggest import advice

Probabilities = npt.NDArray[np.floating[Any]]  # [N, C]: of each class, rows sum to 1; 0 for classes out of question
Scores = npt.NDArray[np.floating[Any]]  # 0..1
Classes = npt.NDArray[np.integer[Any]]


class ExitCriterion(ABC):
    """Says how sure an exit is of its answer: 0 (not at all) to 1 (wholly).

    N samples, C classes, H exits of a cut; exit h stands in column h - 1.

    Attributes:
        name: its name in topologies, on the command line and in the files of bundles.
        measured_as: name of the criterion whose `at_exit` it uses; its own name unless it shares another's.
        of_one_exit: True if an exit's score depends on nothing but its own probabilities.
    """

    name: ClassVar[str]
    measured_as: ClassVar[str]
    of_one_exit: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        if "measured_as" not in cls.__dict__:
            cls.measured_as = cls.name

    def at_exit(self, probabilities: Probabilities) -> Scores:
        """Return a number from 0 to 1, [N], for the calibrated probabilities of one exit, [N, C]; here the largest."""
        found: Scores = probabilities.max(axis=1)
        return found

    def over_exits(self, at_exit: Scores, prediction: Classes, exits: int) -> Scores:  # noqa: ARG002
        """Return the score of each exit, [N, h], of the first h exits of a cut.

        Column k - 1 depends on exits 1 to k only, so that it is the same for every h.

        Args:
            at_exit: numbers that `at_exit` gave for each exit, [N, h].
            prediction: the class that each exit predicts, [N, h].
            exits: number of exits of the cut, H.
        """
        return at_exit


class Confidence(ExitCriterion):
    """The largest probability: max p."""

    name = "confidence"


class Entropy(ExitCriterion):
    """One minus the entropy of the probabilities over its greatest value: 1 - H(p) / log C, H(p) = - sum p log p.

    BranchyNet exits by H(p) (Teerapittayanon et al., ICPR 2016).
    """

    name = "entropy"

    def at_exit(self, probabilities: Probabilities) -> Scores:
        least = np.finfo(probabilities.dtype).tiny  # 0 log 0 = 0
        logarithms = np.log(np.maximum(probabilities, least))
        # Products are summed in float64: thousands of small ones would lose digits in float32.
        entropy: npt.NDArray[np.float64] = -np.einsum("nc,nc->n", probabilities, logarithms, dtype=np.float64)
        found: Scores = np.clip(1 - entropy / np.log(probabilities.shape[1]), 0, 1)
        return found


class Margin(ExitCriterion):
    """The largest probability minus the second largest: p1 - p2."""

    name = "margin"

    def at_exit(self, probabilities: Probabilities) -> Scores:
        two = np.partition(probabilities, probabilities.shape[1] - 2, axis=1)[:, -2:]
        found: Scores = two[:, 1] - two[:, 0]
        return found


class Patience(ExitCriterion):
    """The number of consecutive exits, this one included, that predict the same class, over the number of exits H.

    PABEE leaves once this number exceeds a patience (Zhou et al., BERT Loses Patience, NeurIPS 2020).
    """

    name = "patience"
    measured_as = Confidence.name
    of_one_exit = False

    def over_exits(self, at_exit: Scores, prediction: Classes, exits: int) -> Scores:  # noqa: ARG002
        agreeing = np.ones(prediction.shape)
        for column in range(1, prediction.shape[1]):
            same = prediction[:, column] == prediction[:, column - 1]
            agreeing[:, column] += same * agreeing[:, column - 1]
        found: Scores = agreeing / exits
        return found


def score_of(
    criterion: ExitCriterion, passed: Sequence[tuple[float, int]], confidence: float, prediction: int, exits: int
) -> float:
    """Return the score of one answer, as `over_exits` gives it for whole tables.

    Args:
        criterion: the criterion.
        passed: number of `at_exit` and prediction of each exit that the task has passed, the first exit first.
        confidence: number of `at_exit` of the exit at hand.
        prediction: the class that it predicts.
        exits: number of exits of the cut, H.
    """
    if criterion.of_one_exit:
        return confidence
    numbers, classes = zip(*passed, (confidence, prediction), strict=True)
    return float(criterion.over_exits(np.array([numbers]), np.array([classes]), exits)[0, -1])


CONFIDENCE = Confidence()
CRITERIA: Mapping[str, ExitCriterion] = {kind.name: kind() for kind in ExitCriterion.__subclasses__()}
# Criteria with an `at_exit` of their own; bundles hold its numbers.
MEASURED: Mapping[str, ExitCriterion] = {
    name: criterion for name, criterion in CRITERIA.items() if criterion.measured_as == name
}


def criterion_called(name: str) -> ExitCriterion:
    """Return the criterion of this name.

    Raises:
        InputError: there is none.
    """
    if name not in CRITERIA:
        raise InputError(f"unknown exit criterion {name!r}", hint=advice(name, CRITERIA))
    return CRITERIA[name]
