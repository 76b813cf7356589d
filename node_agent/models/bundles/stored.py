"""The arrays of a bundle, read and checked: samples, exit table and answers. Every fault is a ValueError.

Shapes are compared before memory is taken for an array.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from node_agent.exit_criteria import CONFIDENCE, MEASURED
from node_agent.models.data_types import ExitAnswers, Input, Samples
from node_agent.models.npz_archive import NpzArchive

MOST_ROWS = 10**8  # beyond any list of samples
MOST_BYTES = 2**30  # of one array
CRITERIA_FILE = "criteria.npz"
OTHER_CRITERIA = tuple(name for name in MEASURED if name != CONFIDENCE.name)
_KINDS = "biuf"  # numpy's letters for numbers


def read_samples(path: Path, form: Input, classes: int) -> Samples:
    """Return the evaluation samples of a model whose inputs have this form."""
    with _archive(path) as archive:
        labels = _read(archive, "labels", (-1,), "iu").astype(np.int64)
        count = len(labels)
        if not ((labels >= 0) & (labels < classes)).all():
            raise ValueError("labels: classes that the model has not")
        severity = None
        if "severity" in archive.members:
            severity = _read(archive, "severity", (count,), "f").astype(np.float32)
            if not np.isfinite(severity).all():
                raise ValueError("severity: NaN or infinite")
        lengths, shape = None, (count, *form.shape)
        if form.varies:
            lengths = _read(archive, "lengths", (count,), "iu").astype(np.int64)
            if not ((lengths >= 1) & (lengths <= form.shape[0])).all():
                raise ValueError(f"lengths: not all from 1 to {form.shape[0]}")
            shape = (int(lengths.sum()), *form.shape[1:])
        images = _read(archive, "images", shape)
        if images.dtype.name != form.dtype:
            raise ValueError(f"images of {images.dtype}, the model takes {form.dtype}")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise ValueError("images: NaN or infinite")
        return Samples(images, labels, severity, lengths)


def read_table(path: Path, exits: int, others: "Others") -> tuple[ExitAnswers, npt.NDArray[np.bool_]]:
    """Return the answers of a model's exits to the samples of the exit table, and which are right, [N, exits].

    `others` are the numbers of further criteria.
    """
    with _archive(path) as archive:
        correct = _read(archive, "correct", (-1, exits), "b")
        confidence = _confidences(archive, "conf", correct.shape)
    prediction = others.table.get("prediction", np.full(correct.shape, -1))
    measured = {name: array for name, array in others.table.items() if name != "prediction"}
    for array in others.table.values():
        if array.shape != correct.shape:
            raise ValueError(f"{len(correct)} rows, but {CRITERIA_FILE} has {len(array)}")
    return ExitAnswers(prediction, {CONFIDENCE.name: confidence, **measured}), correct


def read_scores(path: Path, shape: tuple[int, int], classes: int, others: "Others") -> ExitAnswers:
    """Return the answers of the exits to the samples, of a shape (samples, exits)."""
    with _archive(path) as archive:
        confidence = _confidences(archive, "conf", shape)
        prediction = _classes(archive, "prediction", shape, classes)
    for array in others.scores.values():
        if array.shape != shape:
            raise ValueError(f"{shape[0]} samples, but {CRITERIA_FILE} has {len(array)}")
    return ExitAnswers(prediction, {CONFIDENCE.name: confidence, **others.scores})


@dataclass(frozen=True, slots=True)
class Others:
    """The numbers of the exit criteria other than confidence, by name; those that a bundle holds."""

    table: Mapping[str, npt.NDArray[Any]]  # of the exit table, [M, exits]; `prediction` is among them
    scores: Mapping[str, npt.NDArray[Any]]  # of the evaluation samples, [N, exits]


def read_others(path: Path, exits: int, classes: int) -> Others:
    """Return the numbers in `CRITERIA_FILE`; none if there is no such file, as in bundles of earlier versions."""
    found = Others({}, {})
    if not path.exists():
        return found
    with _archive(path) as archive:
        table: dict[str, npt.NDArray[Any]] = {"prediction": _classes(archive, "table_prediction", (-1, exits), classes)}
        scores: dict[str, npt.NDArray[Any]] = {}
        for name in OTHER_CRITERIA:
            if f"table_{name}" in archive.members:
                table[name] = _confidences(archive, f"table_{name}", (-1, exits))
                scores[name] = _confidences(archive, f"scores_{name}", (-1, exits))
    return Others(table, scores)


def arrays_of_others(table: ExitAnswers, scores: ExitAnswers) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of `CRITERIA_FILE`, for answers to the exit table's samples and to the evaluation samples."""
    found: dict[str, npt.NDArray[Any]] = {"table_prediction": small_classes(table.prediction)}
    for name in OTHER_CRITERIA:
        found[f"table_{name}"] = table.measured[name].astype(np.float32)
        found[f"scores_{name}"] = scores.measured[name].astype(np.float32)
    return found


def small_classes(prediction: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return classes in one byte where they fit."""
    return prediction.astype(np.uint8 if prediction.max(initial=0) < 2**8 else np.int32)


def _confidences(archive: NpzArchive, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    confidence = _read(archive, name, shape, "f").astype(np.float64)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(f"{name}: confidences outside 0..1")
    return confidence


def _classes(archive: NpzArchive, name: str, shape: tuple[int, ...], classes: int) -> npt.NDArray[np.int64]:
    prediction = _read(archive, name, shape, "iu").astype(np.int64)
    if not ((prediction >= 0) & (prediction < classes)).all():
        raise ValueError(f"{name}: classes that the model has not")
    return prediction


@contextmanager
def _archive(path: Path) -> Iterator[NpzArchive]:
    with path.open("rb") as stream:
        yield NpzArchive(stream)


def _read(archive: NpzArchive, name: str, shape: tuple[int, ...], kinds: str = "") -> npt.NDArray[Any]:
    """Return an array of this shape and, unless empty, one of these kinds of type; -1 is any length above 0."""
    if name not in archive.members:
        raise ValueError(f"it has no array {name!r}")
    try:
        header = archive.header(name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    found = header.shape
    fits = len(found) == len(shape) and all(
        1 <= length <= MOST_ROWS if wanted == -1 else length == wanted
        for length, wanted in zip(found, shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("N" if length == -1 else str(length) for length in shape)
        raise ValueError(f"{name}: {' x '.join(map(str, found)) or 'one number'} where {wanted} is needed")
    if header.dtype.kind not in (kinds or _KINDS):
        raise ValueError(f"{name}: numbers of type {header.dtype}" if kinds else f"{name}: no numbers")
    if header.byte_count > MOST_BYTES:
        raise ValueError(f"{name}: {header.byte_count} bytes, above the limit of {MOST_BYTES}")
    try:
        return archive.read(name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
