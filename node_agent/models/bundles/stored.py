"""The arrays of a bundle, read and checked: samples, exit table and answers. Every fault is a ValueError.

Shapes are compared before memory is taken for an array.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from node_agent.exit_criteria import CONFIDENCE, MEASURED
from node_agent.models.data_types import ExitAnswers, Input, Samples
from node_agent.models.npz_archive import NpzArchive

MOST_ROWS = 10**8  # beyond any list of samples
MOST_BYTES = 2**30  # of one array
ARRAY_OF = {CONFIDENCE.name: "conf"}  # name of an array, where it is not that of the criterion
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


def read_table(path: Path, exits: int, classes: int) -> tuple[ExitAnswers, npt.NDArray[np.bool_]]:
    """Return the answers of a model's exits to the samples of the exit table, and which are right, [N, exits]."""
    with _archive(path) as archive:
        correct = _read(archive, "correct", (-1, exits), "b")
        return _answers(archive, correct.shape, classes), correct


def read_scores(path: Path, shape: tuple[int, int], classes: int) -> ExitAnswers:
    """Return the answers of the exits to the samples, of a shape (samples, exits)."""
    with _archive(path) as archive:
        if "prediction" not in archive.members:
            raise ValueError("it has no array 'prediction'")
        return _answers(archive, shape, classes)


def measured_arrays(answers: ExitAnswers, precision: type[np.float32 | np.float64]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of answers as a file holds them: classes in one byte where they fit."""
    found: dict[str, npt.NDArray[Any]] = {
        ARRAY_OF.get(name, name): numbers.astype(precision) for name, numbers in answers.measured.items()
    }
    if (answers.prediction >= 0).all():
        few = answers.prediction.max(initial=0) < 2**8
        found["prediction"] = answers.prediction.astype(np.uint8 if few else np.int32)
    return found


def _answers(archive: NpzArchive, shape: tuple[int, ...], classes: int) -> ExitAnswers:
    """Return the answers in a file; only the confidences must be there."""
    measured = {}
    for name in MEASURED:
        array = ARRAY_OF.get(name, name)
        if name == CONFIDENCE.name or array in archive.members:
            measured[name] = _read(archive, array, shape, "f").astype(np.float64)
            _check_confidences(array, measured[name])
    prediction = np.full(shape, -1, np.int64)
    if "prediction" in archive.members:
        prediction = _read(archive, "prediction", shape, "iu").astype(np.int64)
        if not ((prediction >= 0) & (prediction < classes)).all():
            raise ValueError("prediction: classes that the model has not")
    return ExitAnswers(prediction, measured)


@contextmanager
def _archive(path: Path) -> Iterator[NpzArchive]:
    with path.open("rb") as stream:
        yield NpzArchive(stream)


def _check_confidences(name: str, confidence: npt.NDArray[np.float64]) -> None:
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(f"{name}: confidences outside 0..1")


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
