"""MedMNIST's npz files: six arrays, images and labels for each of three splits.

The layout is that of J. Yang et al., "MedMNIST v2", Scientific Data 10:41, 2023.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node_agent.models.images.bounded import AGAIN, expect_end, opened, rows_of
from node_agent.models.images.image_set import (
    ImageSet,
    check_count,
    check_labels,
    check_size,
    check_split,
    named_classes,
    refusal,
)
from node_agent.models.npz_archive import Header, NpzArchive

SPLITS = ("train", "val", "test")

_NPY = "the file must hold plain arrays, written by numpy.savez"
_DIMENSIONS = "images are [N, H, W] or [N, H, W, 3]"


def read_medmnist(path: str | Path, split: str, classes: Sequence[str] | None = None) -> ImageSet:
    """Return one split of a MedMNIST file, images [N, 1, H, W] or [N, 3, H, W].

    Args:
        path: the npz file.
        split: `train`, `val` or `test`.
        classes: names in the order of the labels; without them, numbers up to the largest label of all splits.

    Raises:
        InputError: the file is damaged or too large, its images have three dimensions, or an image has several labels.
    """
    path = Path(path)
    check_split(split, SPLITS)
    with _archive(path) as archive:
        pixels = _array(path, archive, f"{split}_images")
        count, channels, height, width = _form(path, split, pixels)
        check_size(path, count, channels, height, width)
        labels = _labels(path, archive, split)
        if len(labels) != count:
            raise refusal(path, f"{split}_images holds {count} images, {split}_labels {len(labels)} labels", AGAIN)
        largest = int(labels.max())
        if classes is None:
            others = [other for other in SPLITS if f"{other}_labels" in archive.members and other != split]
            largest = max(largest, *(int(_labels(path, archive, other).max()) for other in others), 0)
        names = named_classes(path, classes, largest)
        check_labels(path, labels, len(names))
        images = np.empty((count, channels, height, width), dtype=np.uint8)
        for first, rows in _items(path, archive, f"{split}_images", pixels):
            images[first : first + len(rows)] = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    return ImageSet(images, labels, names)


@contextmanager
def _archive(path: Path) -> Iterator[NpzArchive]:
    with opened(path) as stream, _faults(path):
        yield NpzArchive(stream)


@contextmanager
def _faults(path: Path, name: str = "") -> Iterator[None]:
    """Turn the faults of the archive, or of one of its arrays, into an InputError that names the file."""
    try:
        yield
    except ValueError as error:
        raise refusal(path, f"{name}: {error}" if name else str(error), AGAIN) from error


def _array(path: Path, archive: NpzArchive, name: str) -> Header:
    """Return the form of an array. Raises InputError if it is missing, has no items, or does not fit the archive."""
    if name not in archive.members:
        hint = f"it must hold {', '.join(f'{split}_images and {split}_labels' for split in SPLITS)}"
        raise refusal(path, f"there is no array {name}", hint)
    with _faults(path, name):
        header = archive.check(name)
    if header.in_columns or 0 in header.shape:
        raise refusal(path, f"{name}: shape {list(header.shape)}{', in columns' if header.in_columns else ''}", _NPY)
    return header


def _form(path: Path, split: str, pixels: Header) -> tuple[int, int, int, int]:
    """Return number, channels, height and width of the images."""
    name, shape = f"{split}_images", pixels.shape
    if pixels.dtype != np.uint8:
        raise refusal(path, f"{name}: {pixels.dtype}, not uint8", "images have one byte for each pixel and channel")
    if len(shape) == 3:
        return (shape[0], 1, shape[1], shape[2])
    if len(shape) == 4 and shape[3] == 3:
        return (shape[0], 3, shape[1], shape[2])
    what = "three-dimensional images" if len(shape) in {4, 5} else "no images"
    raise refusal(path, f"{name}: {what}, shape {list(shape)}", f"{_DIMENSIONS}: take a set of flat images")


def _labels(path: Path, archive: NpzArchive, split: str) -> npt.NDArray[np.int64]:
    """Return the labels [N] of a split."""
    name = f"{split}_labels"
    array = _array(path, archive, name)
    if len(array.shape) == 2 and array.shape[1] > 1:
        what = f"{name}: {array.shape[1]} labels for each image"
        raise refusal(path, what, "a set for one class an image is needed, such as PathMNIST or BloodMNIST")
    if array.dtype.kind not in "iu" or len(array.shape) not in {1, 2}:
        raise refusal(path, f"{name}: {array.dtype} {list(array.shape)}", "labels are whole numbers [N, 1]")
    check_count(path, array.shape[0], f"labels in {name}")
    labels = np.empty(array.shape[0], dtype=np.int64)
    for first, rows in _items(path, archive, name, array):
        labels[first : first + len(rows)] = rows.view(array.dtype)[:, 0]
    return labels


def _items(path: Path, archive: NpzArchive, name: str, array: Header) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield the array's bytes in chunks [k, bytes of an item of its first dimension], each with its first index."""
    with _faults(path, name), archive.items(name) as stream:
        yield from rows_of(stream, path, array.shape[0], math.prod(array.shape[1:]) * array.dtype.itemsize)
        expect_end(stream, path, array.shape[0])
