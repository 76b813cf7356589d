"""Answers of all exits to many samples, their temperatures and the exit table.

Decision 088: samples of different lengths are never padded (docs/decisions/088-batches-of-one-length.md).
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.models.data_types import Samples
from node_agent.models.networks.early_exit import COMPUTED_AS, EarlyExitModel

BATCH = 250  # samples scored at a time
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


def all_logits(network: EarlyExitModel, samples: Samples) -> list[torch.Tensor]:
    """Return the unscaled logits (N, classes) of every exit."""
    order, parts = [], []
    with torch.inference_mode():
        for rows in batches(samples, np.arange(len(samples)), BATCH):
            order.append(rows)
            parts.append(network(input_array(samples.batch(rows))))
    back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
    return [torch.cat(exit_parts)[back] for exit_parts in zip(*parts, strict=True)]


def exit_scores(network: EarlyExitModel, samples: Samples) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return temperature-scaled confidence and predicted class of every exit, each [N, exits]."""
    logits = all_logits(network, samples)
    with torch.inference_mode():
        scaled = [scores / network.temperature(block) for block, scores in zip(network.exits, logits, strict=True)]
        confidence, prediction = torch.stack(scaled, dim=1).softmax(dim=2).max(dim=2)
    return confidence.double().numpy(), prediction.numpy()


def calibrate(network: EarlyExitModel, samples: Samples) -> tuple[float, ...]:
    """Set each exit's temperature to the one with the least cross entropy on these samples; return the temperatures.

    Temperature scaling changes no prediction; it turns confidence into the probability of a right answer.
    """
    logits, target = all_logits(network, samples), torch.from_numpy(samples.labels)
    least, most, count = _TEMPERATURES
    grid = torch.exp(torch.linspace(math.log(least), math.log(most), count))
    for block, scores in zip(network.exits, logits, strict=True):
        losses = torch.stack([functional.cross_entropy(scores / temperature, target) for temperature in grid])
        network.set_temperature(block, float(grid[losses.argmin()]))
    return temperatures(network)


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


def measure_exits(network: EarlyExitModel, samples: Samples) -> ExitTable:
    """Return the exit table of these samples: one row per sample, one column per exit."""
    confidence, prediction = exit_scores(network, samples)
    return ExitTable(confidence, prediction == samples.labels[:, None])
