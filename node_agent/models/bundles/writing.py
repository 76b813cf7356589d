"""Bundles are written whole or not at all: an interruption leaves no card, and a folder without a card is no bundle."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE
from node_agent.models.bundles.bundle import EVALUATION, SCORES, TABLE, WEIGHTS
from node_agent.models.bundles.card import CARD
from node_agent.models.bundles.stored import CRITERIA_FILE, arrays_of_others, small_classes
from node_agent.models.data_types import ExitAnswers, Samples

if TYPE_CHECKING:
    import torch

LICENSES = "LICENSES.md"


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """The answers of all exits to the samples of an exit table."""

    answers: ExitAnswers
    correct: npt.NDArray[np.bool_]  # [N, exits], True where the answer is right

    def __len__(self) -> int:
        return len(self.correct)


@dataclass(frozen=True, slots=True)
class BundleContent:
    """The content of a bundle, as training makes it."""

    weights: "Mapping[str, torch.Tensor]"  # of the folded network, temperatures included
    table: MeasuredTable  # one column per exit of the model
    evaluation: Samples
    scores: ExitAnswers  # to the evaluation samples, one column per exit of the model
    card: Mapping[str, object]
    notices: Path | None = None  # licences of the samples' sources, which must travel with them
    stored_as: Literal["float32", "float16"] = "float32"  # type in which floating-point weights are stored


def write_bundle(folder: Path, content: BundleContent) -> None:
    """Write a bundle into `folder`; the folder may exist, its files are then replaced.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as name:
            new = Path(name)
            _write(new, content)
            (folder / CARD).unlink(missing_ok=True)  # its last file makes a folder a bundle
            for file in sorted(new.iterdir(), key=lambda file: file.name == CARD):
                file.replace(folder / file.name)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}", hint="the bundle was not written") from error


def _write(folder: Path, content: BundleContent) -> None:
    import torch  # noqa: PLC0415 - as above
    from safetensors.torch import save  # noqa: PLC0415 - needs torch, which readers must not load

    stored = torch.float16 if content.stored_as == "float16" else torch.float32
    weights = save(
        {
            name: tensor.to(stored if tensor.dtype == torch.float32 else tensor.dtype).contiguous().clone()
            for name, tensor in content.weights.items()
        }
    )
    (folder / WEIGHTS).write_bytes(weights)
    samples, table, scores = content.evaluation, content.table, content.scores
    optional = {"severity": samples.severity, "lengths": samples.lengths}
    stated: dict[str, Any] = {name: array for name, array in optional.items() if array is not None}
    np.savez_compressed(folder / EVALUATION, images=samples.images, labels=samples.labels, **stated)
    confidence = table.answers.measured[CONFIDENCE.name]
    np.savez_compressed(folder / TABLE, conf=confidence.astype(np.float64), correct=table.correct)
    # Confidences as the network computes them.
    conf = scores.measured[CONFIDENCE.name].astype(np.float32)
    np.savez_compressed(folder / SCORES, conf=conf, prediction=small_classes(scores.prediction))
    others: dict[str, Any] = arrays_of_others(table.answers, scores)
    np.savez_compressed(folder / CRITERIA_FILE, **others)
    if content.notices is not None:
        shutil.copyfile(content.notices, folder / LICENSES)
    card = json.dumps(content.card, indent=2, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(card, encoding="utf-8")


def add_answers(folder: Path, table: ExitAnswers, scores: ExitAnswers) -> None:
    """Add the numbers of all exit criteria to a bundle; its other files stay.

    Args:
        folder: of the bundle.
        table: answers to the samples of the exit table.
        scores: answers to the evaluation samples.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as new:
            others: dict[str, Any] = arrays_of_others(table, scores)
            np.savez_compressed(Path(new) / CRITERIA_FILE, **others)
            (Path(new) / CRITERIA_FILE).replace(folder / CRITERIA_FILE)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}", hint="the bundle was not changed") from error
