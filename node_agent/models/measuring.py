"""Figures of a model for people: costs and exits of a cut, and the line of a list."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.card import outside_of
from node_agent.models.calibration import correctness_auroc, expected_calibration_error
from node_agent.models.data_types import ActivationFormat
from node_agent.models.interface import Model

THRESHOLDS = (0.5, 0.8, 0.95)


def usual_cut(model: Model) -> tuple[int, ...]:
    """Return the cut that is shown if none is stated: (2, 3, 5) for glyphs, as in its topologies, else all exits."""
    return (
        (2, 3, 5) if isinstance(model, Bundle) and model.name == "glyphs" and model.family == "glyphs" else model.exits
    )


def report(model: Model, cut: Sequence[int], activation: ActivationFormat) -> dict[str, Any]:
    """Return costs, times, accuracy and calibration of the stages of a cut, and the effect of thresholds.

    Work [FLOP] and sizes [byte] are counted on real forward passes where the model is a network, and `cpu_s` is
    measured on this machine; else they are those that the model states, and `cpu_s` is None. Shares, accuracies,
    `ece` and `auroc` are 0..1, on the exit table, under the model's exit criterion; `ece` is None unless that is the
    confidence, since other scores are no probabilities.

    Raises:
        InputError: the model or the cut cannot be used.
    """
    model.check_able()
    model.check_format(activation)
    profiles, seconds = _costs(model, cut, activation)
    table = model.exit_table(cut)
    stages = []
    for index, (cost, (begin, end)) in enumerate(zip(profiles, pairwise((0, *cut)), strict=True)):
        confidence, correct = table.confidence[:, index], table.correct[:, index].astype(bool)
        stages.append(
            {
                "stage": cost["stage"],
                "blocks": f"{begin + 1}-{end}" if end > begin + 1 else str(end),
                **cost,
                "cpu_s": seconds[index],
                "accuracy": float(correct.mean()),
                "ece": expected_calibration_error(confidence, correct) if model.other_criterion is None else None,
                "auroc": correctness_auroc(confidence, correct),
            }
        )
    thresholds = []
    for threshold in THRESHOLDS:
        share, accuracy = table.outcome([threshold] * (len(cut) - 1))
        thresholds.append({"threshold": threshold, "exit_share": share.tolist(), "accuracy": accuracy})
    return {
        "schema": 1,
        "model": model.name,
        "cut": list(cut),
        "activation": activation,
        "labels": model.labels_are,
        "outside": outside_of(model.card) if isinstance(model, Bundle) else None,
        "stages": stages,
        "thresholds": thresholds,
        "exit_table_rows": len(table),
    }


def _costs(
    model: Model, cut: Sequence[int], activation: ActivationFormat
) -> tuple[list[Mapping[str, Any]], list[float | None]]:
    stated = model.profiles(cut, activation)
    if not isinstance(model, Bundle):
        return [asdict(cost) for cost in stated], [None] * len(cut)
    sub_models = model.sub_models(cut, activation)

    from node_agent.models.networks.cost import cpu_s_per_inference, profile  # noqa: PLC0415 - loads torch

    counted = stated if model.input.varies else profile(sub_models)  # a mean over lengths is no single pass
    return [asdict(cost) for cost in counted], [cpu_s_per_inference(sub_model) for sub_model in sub_models]
