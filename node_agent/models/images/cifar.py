"""The binary version of CIFAR-10 and CIFAR-100: records of one label (or two) and 3,072 bytes of pixels.

The pixels are 32 rows of red, then of green, then of blue (A. Krizhevsky, "Learning multiple layers of features from
tiny images", 2009, and the page of the set). The Python version is a set of pickles, which could run code: refused.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.images.bounded import AGAIN, opened, reading, rows_of
from node_agent.models.images.image_set import (
    ImageSet,
    check_labels,
    check_size,
    check_split,
    fault_of_names,
    refusal,
)

SIDE_PIXELS = 32
PIXEL_BYTES = 3 * SIDE_PIXELS**2
MOST_BYTES_OF_NAMES = 2**16  # in the file of the classes' names


@dataclass(frozen=True, slots=True)
class _Form:
    """The files of a set, and the place of the labels in its records."""

    files: Mapping[str, tuple[str, ...]]  # by split
    names: str  # the file with one class in a line
    label_bytes: int  # before the pixels of a record
    label_at: int  # the byte with the label


_TEN = _Form(
    {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
    "batches.meta.txt", 1, 0,
)  # fmt: skip
_HUNDRED_FILES = {"train": ("train.bin",), "test": ("test.bin",)}
_HUNDRED = {
    "fine": _Form(_HUNDRED_FILES, "fine_label_names.txt", 2, 1),
    "coarse": _Form(_HUNDRED_FILES, "coarse_label_names.txt", 2, 0),
}
_PICKLES = ("data_batch_1", "test_batch", "batches.meta", "train", "test")
_BINARY = "take the binary version: cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"


def read_cifar(folder: str | Path, split: str, labels: Literal["fine", "coarse"] = "fine") -> ImageSet:
    """Return one split of CIFAR-10 or CIFAR-100, colour images [N, 3, 32, 32].

    Args:
        folder: the unpacked archive, cifar-10-batches-bin or cifar-100-binary.
        split: `train` or `test`.
        labels: which of the two labels of CIFAR-100; CIFAR-10 has one.

    Raises:
        InputError: a file is missing, damaged or too large, a label is outside the classes, or the files are pickles.
    """
    folder = Path(folder)
    check_split(split, tuple(_HUNDRED_FILES))
    form = _form(folder, labels)
    names = _names(folder / form.names)
    files = [folder / name for name in form.files[split]]
    counts = [_count(path, form.label_bytes + PIXEL_BYTES) for path in files]
    check_size(folder, sum(counts), 3, SIDE_PIXELS, SIDE_PIXELS)
    images = np.empty((sum(counts), 3, SIDE_PIXELS, SIDE_PIXELS), dtype=np.uint8)
    classes = np.empty(sum(counts), dtype=np.int64)
    begin = 0
    for path, count in zip(files, counts, strict=True):
        part = slice(begin, begin + count)
        _read(path, form, images[part].reshape(count, PIXEL_BYTES), classes[part])
        check_labels(path, classes[part], len(names))
        begin += count
    return ImageSet(images, classes, names)


def is_cifar(folder: Path) -> bool:
    """Return True if a folder holds CIFAR, as binary files or as pickles."""
    return _holds(folder, _TEN) or _holds(folder, _HUNDRED["fine"]) or _holds_pickles(folder)


def _holds(folder: Path, form: _Form) -> bool:
    return any(os.path.isfile(folder / name) for names in form.files.values() for name in names)


def _holds_pickles(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in _PICKLES)


def _form(folder: Path, labels: str) -> _Form:
    if labels not in _HUNDRED:
        raise InputError(f"unknown labels {labels!r}", hint="CIFAR-100 has fine and coarse labels")
    for form in (_TEN, _HUNDRED[labels]):
        if _holds(folder, form):
            return form
    if _holds_pickles(folder):
        what = "it holds the Python version of CIFAR, pickles that could run code; they are not read"
        raise refusal(folder, what, _BINARY)
    raise refusal(folder, "there is neither test_batch.bin (CIFAR-10) nor test.bin (CIFAR-100)", _BINARY)


def _names(path: Path) -> tuple[str, ...]:
    hint = "the archive of the set holds it: one class in a line"
    with opened(path, hint) as file:
        text = file.read(MOST_BYTES_OF_NAMES + 1)
    if len(text) > MOST_BYTES_OF_NAMES:
        raise refusal(path, f"it is longer than {MOST_BYTES_OF_NAMES} bytes", hint)
    lines = text.decode("utf-8", errors="surrogateescape").splitlines()  # such names are unprintable: refused
    names = tuple(line.strip() for line in lines if line.strip())
    if problem := fault_of_names(names):
        raise refusal(path, problem, hint)
    return names


def _count(path: Path, record_bytes: int) -> int:
    """Return the number of records in a file."""
    with reading(path, _BINARY):
        size = path.stat().st_size
    if not size or size % record_bytes:
        raise refusal(path, f"its {size} bytes are no whole number of records of {record_bytes} bytes", AGAIN)
    return size // record_bytes


def _read(path: Path, form: _Form, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    """Read a file's records into images [N, 3072] and labels [N]."""
    with opened(path) as stream:
        for first, rows in rows_of(stream, path, len(labels), form.label_bytes + PIXEL_BYTES):
            images[first : first + len(rows)] = rows[:, form.label_bytes :]
            labels[first : first + len(rows)] = rows[:, form.label_at]
