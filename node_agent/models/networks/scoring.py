"""Answers of all exits to many samples, and their temperatures.

Decision 088: samples of different lengths are never padded (docs/decisions/088-batches-of-one-length.md).
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE, MEASURED, Classes, Scores
from node_agent.models.data_types import ExitAnswers, Samples
from node_agent.models.networks.early_exit import COMPUTED_AS, EarlyExitModel

BATCH = 250  # samples scored at a time
_MOST_LOGITS = 2**22  # of an exit, scored at a time
_ALONE, _MOST_APART = 10, 1e-3  # samples also scored alone, and the most that confidences may then differ
_TEMPERATURES = (0.25, 4.0, 400)  # least, most, and how many in between


def input_array(batch: npt.NDArray[np.generic]) -> torch.Tensor:
    """Return inputs (N, ...) as a tensor that block 1 takes: token numbers become int64, halves float32."""
    return torch.from_numpy(np.ascontiguousarray(batch)).to(COMPUTED_AS[batch.dtype.name])


def batches(samples: Samples, order: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of `order` in batches of samples that have one length, so that none needs padding."""
    if samples.lengths is None:
        groups = [order]
    else:
        lengths = samples.lengths[order]
        groups = [order[lengths == length] for length in np.unique(lengths)]
    for group in groups:
        for begin in range(0, len(group), size):
            yield group[begin : begin + size]


def _logits(network: EarlyExitModel, samples: Samples) -> Iterator[tuple[npt.NDArray[np.int64], list[torch.Tensor]]]:
    """Yield rows of samples, batch by batch, and the unscaled logits (rows, classes) of every exit to them."""
    classes = network.classes if isinstance(network.classes, int) else len(network.classes)
    size = max(1, min(BATCH, _MOST_LOGITS // classes))
    for rows in batches(samples, np.arange(len(samples)), size):
        with torch.inference_mode():
            logits = network(input_array(samples.batch(rows)))
        yield rows, logits


def exit_answers(network: EarlyExitModel, samples: Samples) -> ExitAnswers:
    """Return the prediction of every exit and the numbers of all criteria, each [N, exits].

    Logits are divided by the exit's temperature, and reduced batch by batch. They may be minus infinity for classes
    that an exit cannot answer.
    """
    shape = (len(samples), len(network.exits))
    prediction = np.zeros(shape, np.int64)
    measured = {name: np.zeros(shape) for name in MEASURED}
    for rows, logits in _logits(network, samples):
        for column, block in enumerate(network.exits):
            with torch.inference_mode():
                probabilities = (logits[column] / network.temperature(block)).softmax(dim=1)
                # By torch: servers do so, and numpy may take another one of equal probabilities.
                prediction[rows, column] = probabilities.max(dim=1).indices.numpy()
            for name, criterion in MEASURED.items():
                measured[name][rows, column] = criterion.at_exit(probabilities.numpy())
    return ExitAnswers(prediction, measured)


def exit_scores(network: EarlyExitModel, samples: Samples) -> tuple[Scores, Classes]:
    """Return temperature-scaled confidence and predicted class of every exit, each [N, exits]."""
    answers = exit_answers(network, samples)
    return answers.measured[CONFIDENCE.name], answers.prediction


def calibrate(network: EarlyExitModel, samples: Samples) -> tuple[float, ...]:
    """Set each exit's temperature to the one with the least cross entropy on these samples; return the temperatures.

    Temperature scaling changes no prediction; it turns confidence into the probability of a right answer. Losses are
    summed batch by batch, for 400 temperatures at once.
    """
    least, most, count = _TEMPERATURES
    grid = torch.exp(torch.linspace(math.log(least), math.log(most), count))
    losses = torch.zeros((len(network.exits), count), dtype=torch.float64)
    for rows, logits in _logits(network, samples):
        target = torch.from_numpy(samples.labels[rows])
        for column, scores in enumerate(logits):
            losses[column] += _loss_sums(scores, target, grid)
    for block, loss in zip(network.exits, losses, strict=True):
        network.set_temperature(block, float(grid[loss.argmin()]))
    return temperatures(network)


def _loss_sums(scores: torch.Tensor, target: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Return the sum of cross entropies of logits (N, classes) under each temperature, in float64.

    A sample of a class that the exit cannot answer counts as a wrong answer: -log(1 - p) of the largest probability p.
    """
    columns = torch.arange(scores.shape[1])
    possible = columns[scores.isfinite().any(dim=0)]
    place = torch.searchsorted(possible, target).clamp(max=len(possible) - 1)
    known = scores[torch.arange(len(scores)), target].isfinite()
    scores = scores[:, possible]
    answerable, place, wrong = scores[known], place[known], scores[~known]
    best = wrong.argmax(dim=1, keepdim=True)
    others = wrong.scatter(1, best, -torch.inf)
    sums = []
    for temperature in grid:
        loss = functional.cross_entropy(answerable / temperature, place, reduction="none").double().sum()
        unsure = (wrong / temperature).logsumexp(dim=1) - (others / temperature).logsumexp(dim=1)
        sums.append(float(loss + unsure.double().sum()))  # small tensors between large ones would fragment memory
    return torch.tensor(sums, dtype=torch.float64)


def temperatures(network: EarlyExitModel) -> tuple[float, ...]:
    """Return the temperature of every exit, in the order of the exits."""
    return tuple(float(network.temperature(block)) for block in network.exits)


def check_scores(network: EarlyExitModel, samples: Samples, name: str) -> None:
    """Check that the network answers with finite numbers, and gives a sample the answers that it gives among others.

    Servers infer samples one by one, in an order of their own. `name` is the model's, for messages.

    Raises:
        InputError: it does not.
    """
    rows = np.arange(min(len(samples), BATCH))
    together = exit_scores(network, samples.chosen(rows))[0]
    if not np.isfinite(together).all():
        exit_number = int(np.argmax(~np.isfinite(together).all(axis=0)))
        message = f"model {name}: the head after block {network.exits[exit_number]} gives NaN or infinite logits"
        raise InputError(message, hint="lower peak_learning_rate in the recipe, or look for a division or an overflow")
    picked = rows[: 2 * _ALONE : 2][::-1]
    alone = np.concatenate([exit_scores(network, samples.chosen(picked[i : i + 1]))[0] for i in range(len(picked))])
    apart = np.abs(alone - together[picked])
    if (apart > _MOST_APART).any():
        row, column = np.unravel_index(int(apart.argmax()), apart.shape)
        raise InputError(
            f"model {name}: the head after block {network.exits[column]} answers sample {picked[row]} with a "
            f"confidence of {together[picked[row], column]:.3f} among others, and of {alone[row, column]:.3f} alone",
            hint="a sample's answer must not depend on other samples or on chance: look for dropout or a normalisation "
            "that ignores eval(), and for state",
        )
