"""Measure the exits of a bundle again: the numbers of all exit criteria, on the samples of its training run."""

import msgspec
import numpy as np

from node_agent.errors import InputError
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.writing import add_answers
from node_agent.models.data_types import Samples
from node_agent.models.networks.early_exit import Progress, Recipe
from node_agent.models.networks.made import running
from node_agent.models.networks.scoring import exit_answers
from node_agent.models.training.labelled import split_samples

_MOST_UNLIKE = 0.01  # share of answers that may differ from the stored ones: other processors round otherwise


def measure_again(bundle: Bundle, progress: Progress | None = None) -> None:
    """Write the numbers of all exit criteria into a bundle's files; confidences and predictions that are there stay.

    Takes the time of a pass over the samples of the exit table and the evaluation samples, and that of preparing them.

    Args:
        bundle: the model.
        progress: called where preparing the samples takes long.

    Raises:
        EnvironmentLacking: a source of samples is missing.
        InputError: the bundle cannot be used, or its exit table was made of other samples.
    """
    network, table = bundle.network(), bundle.exit_table(bundle.exits)
    samples = _table_samples(bundle, progress)
    if len(samples) != len(table):
        raise _other_samples(bundle, f"{len(samples)} and not {len(table)}")
    answers = exit_answers(network, samples)
    unlike = float((np.equal(answers.prediction, samples.labels[:, None]) != table.correct).mean())
    if unlike > _MOST_UNLIKE:
        raise _other_samples(bundle, f"{unlike:.1%} of the answers differ")
    add_answers(bundle.folder, answers, exit_answers(network, bundle.evaluation))


def _table_samples(bundle: Bundle, progress: Progress | None) -> Samples:
    """Return the samples of a bundle's exit table, as its training run split them."""
    kind = bundle.network_class()
    kind.check_sources()
    try:
        recipe = msgspec.convert(bundle.card.get("training"), Recipe)
    except msgspec.ValidationError as error:
        message = f"{bundle.folder}: its card does not state its training: {error}"
        raise InputError(message, hint=bundle.remedy) from error
    with running(bundle.code, "prepare"):
        data = kind.prepare(recipe, progress) or split_samples(kind, recipe, bundle.code)
    return data.exit_table


def _other_samples(bundle: Bundle, why: str) -> InputError:
    message = f"{bundle.folder}: its exit table was made of other samples than there are now: {why}"
    return InputError(message, hint=bundle.remedy)
