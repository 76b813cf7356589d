"""Effects of activation formats and exit criteria on accuracy, bytes and processor time of a task."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from node_agent.dtoee.exit_table import ExitTable
from node_agent.exit_criteria import CONFIDENCE, CRITERIA, Scores
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.calibration import correctness_auroc
from node_agent.models.data_types import ACTIVATION_FORMATS, ActivationFormat, SubModelProfile
from node_agent.models.interface import Model
from node_agent.wire import Tensor

THRESHOLD = 0.8  # of all stages
_WARM_UP = 3  # inferences of each sub-model before its time is taken
_POINTS = 200  # thresholds tried, to find the one with a given work


@dataclass(frozen=True, slots=True)
class _Passed:
    """Samples that have passed all stages in one activation format; n samples, H stages."""

    table: ExitTable  # scores and right answers
    prediction: npt.NDArray[np.int64]  # [n, H]
    sizes: npt.NDArray[np.float64]  # [H], mean bytes of each stage's input
    cpu_s: npt.NDArray[np.float64]  # [H], mean processor time of each stage


def criteria_effects(model: Model, cut: Sequence[int], activation: ActivationFormat) -> list[dict[str, Any]]:
    """Return a row for each exit criterion whose scores the model has, on its exit table.

    Thresholds of two criteria are not comparable. So each criterion has the one threshold, for all stages, under which
    tasks take most nearly the mean work that they take under confidence with THRESHOLD.

    Keys: criterion, auroc (probability that a right answer scores higher than a wrong one, by exit), threshold,
    exit_share (by stage, 0..1), flop_per_task, bytes_per_task (over all links), accuracy (0..1).
    """
    profiles = model.profiles(cut, activation)
    tables = {}
    for name in CRITERIA:
        if model.has_criterion(name, cut):
            tables[name] = model.judged_by(name).exit_table(cut)
    wanted = _per_task(tables[CONFIDENCE.name], THRESHOLD, [profile.flop for profile in profiles])
    rows = []
    for name, table in tables.items():
        threshold = THRESHOLD if name == CONFIDENCE.name else _threshold_of_work(table, profiles, wanted)
        share, accuracy = table.outcome([threshold] * (len(cut) - 1))
        columns = zip(table.confidence.T, table.correct.T, strict=True)
        rows.append(
            {
                "criterion": name,
                "auroc": [correctness_auroc(scores, correct) for scores, correct in columns],
                "threshold": threshold,
                "exit_share": share.tolist(),
                "flop_per_task": _per_task(table, threshold, [profile.flop for profile in profiles]),
                "bytes_per_task": _per_task(table, threshold, [profile.input_bytes for profile in profiles]),
                "accuracy": accuracy,
            }
        )
    return rows


def _threshold_of_work(table: ExitTable, profiles: Sequence[SubModelProfile], wanted: float) -> float:
    """Return the threshold of all stages under which the mean work of a task [FLOP] is nearest to `wanted`."""
    early = table.confidence[:, :-1]
    if not early.size:
        return THRESHOLD
    tried = np.unique(np.quantile(early, np.linspace(0, 1, _POINTS)))
    flop = [profile.flop for profile in profiles]
    return float(min(tried, key=lambda threshold: abs(_per_task(table, float(threshold), flop) - wanted)))


def _per_task(table: ExitTable, threshold: float, of_stages: Sequence[float] | Scores) -> float:
    """Return the mean sum, per task, of a figure of each stage over the stages that the task reaches."""
    share, _ = table.outcome([threshold] * (table.stages - 1))
    reach = 1 - np.concatenate([[0.0], np.cumsum(share)[:-1]])
    return float(reach @ np.asarray(of_stages, np.float64))


def format_effects(model: Model, cut: Sequence[int], most: int) -> list[dict[str, Any]]:
    """Return a row for each activation format: evaluation samples pass the sub-models as tasks do.

    Samples are at most `most`, evenly spaced.

    Keys by exit: exit_accuracy (0..1), changed (share of answers that differ from those with float32), moved (mean
    change of the score against float32). Keys under THRESHOLD: exit_share (by stage), bytes_per_task (over all links),
    cpu_s_per_task (None unless the model is a network), accuracy (0..1). Further keys: activation, samples.
    """
    count = min(most, model.sample_count)
    samples = np.arange(count) * model.sample_count // count
    passed = {activation: _pass(model, cut, activation, samples) for activation in ACTIVATION_FORMATS}
    exact = passed["float32"]
    rows = []
    for activation, found in passed.items():
        share, accuracy = found.table.outcome([THRESHOLD] * (len(cut) - 1))
        rows.append(
            {
                "activation": activation,
                "samples": count,
                "exit_accuracy": found.table.correct.mean(axis=0).tolist(),
                "changed": (found.prediction != exact.prediction).mean(axis=0).tolist(),
                "moved": np.abs(found.table.confidence - exact.table.confidence).mean(axis=0).tolist(),
                "exit_share": share.tolist(),
                "bytes_per_task": _per_task(found.table, THRESHOLD, found.sizes),
                "cpu_s_per_task": _per_task(found.table, THRESHOLD, found.cpu_s) if isinstance(model, Bundle) else None,
                "accuracy": accuracy,
            }
        )
    return rows


def _pass(
    model: Model, cut: Sequence[int], activation: ActivationFormat, samples: npt.NDArray[np.int64]
) -> _Passed:  # fmt: skip
    """Return what the sub-models answer to samples, each of which passes all stages."""
    sub_models, inputs = model.sub_models(cut, activation), model.inputs(cut, activation)
    if "torch" in sys.modules:
        import torch  # noqa: PLC0415 - only if the model is a network

        torch.set_num_threads(1)
    for sub_model in sub_models:
        form = sub_model.input_form.usual
        for _ in range(_WARM_UP):
            sub_model.infer(Tensor(form, bytes(form.byte_count)))
    shape = (len(samples), len(cut))
    alone, prediction = np.zeros(shape), np.zeros(shape, np.int64)
    sizes, cpu_s = np.zeros(shape[1]), np.zeros(shape[1])
    for row, sample in enumerate(samples.tolist()):
        tensor = inputs.tensor(sample)
        for stage, sub_model in enumerate(sub_models):
            began_s = time.thread_time()
            answer = sub_model.infer(tensor)
            cpu_s[stage] += time.thread_time() - began_s
            sizes[stage] += tensor.form.byte_count
            alone[row, stage], prediction[row, stage] = answer.confidence, answer.prediction
            if answer.activation is not None:
                tensor = answer.activation
    scores = model.criterion.over_exits(np.minimum(alone, 1.0), prediction, shape[1])
    table = ExitTable(np.asarray(scores, np.float64), prediction == model.labels[samples][:, None])
    return _Passed(table, prediction, sizes / len(samples), cpu_s / len(samples))
