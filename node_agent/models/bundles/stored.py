"""The arrays of a bundle, read and checked: samples, exit table and answers. Every fault is a ValueError.

Shapes are compared before memory is taken for an array.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.data_types import ExitScores, Input, Samples
from node_agent.models.npz_archive import NpzArchive

MOST_ROWS = 10**8  # beyond any list of samples
MOST_BYTES = 2**30  # of one array
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


def read_table(path: Path, exits: int) -> ExitTable:
    """Return the exit table of a model with this number of exits."""
    with _archive(path) as archive:
        correct = _read(archive, "correct", (-1, exits), "b")
        confidence = _read(archive, "conf", correct.shape, "f").astype(np.float64)
        _check_confidences(confidence)
        return ExitTable(confidence, correct)


def read_scores(path: Path, shape: tuple[int, int], classes: int) -> ExitScores:
    """Return the answers of the exits to the samples, of a shape (samples, exits)."""
    with _archive(path) as archive:
        confidence = _read(archive, "conf", shape, "f").astype(np.float64)
        prediction = _read(archive, "prediction", shape, "iu").astype(np.int64)
        _check_confidences(confidence)
        if not ((prediction >= 0) & (prediction < classes)).all():
            raise ValueError("prediction: classes that the model has not")
        return ExitScores(confidence, prediction)


@contextmanager
def _archive(path: Path) -> Iterator[NpzArchive]:
    with path.open("rb") as stream:
        yield NpzArchive(stream)


def _check_confidences(confidence: npt.NDArray[np.float64]) -> None:
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("conf: confidences outside 0..1")


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
