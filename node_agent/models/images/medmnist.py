"""MedMNIST's npz files: six arrays, images and labels for each of three splits.

The layout is that of J. Yang et al., "MedMNIST v2", Scientific Data 10:41, 2023. An npz file is a zip archive, and its
members can claim any size, so each header is checked before memory is allocated for it.
"""

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from node_agent.models.images.bounded import AGAIN, CHUNK_BYTES, MOST_DEFLATE_RATIO, expect_end, opened, rows_of
from node_agent.models.images.image_set import (
    ImageSet,
    check_count,
    check_labels,
    check_size,
    check_split,
    named_classes,
    refusal,
)

SPLITS = ("train", "val", "test")
MOST_HEADER_BYTES = 1000  # of an array; numpy writes 128

_NPY = "the file must hold plain arrays, written by numpy.savez"
_DIMENSIONS = "images are [N, H, W] or [N, H, W, 3]"


class _Array(NamedTuple):
    """A member of the archive: the form of its array, and the number of bytes before its first item."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int


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
            others = [other for other in SPLITS if f"{other}_labels.npy" in archive.namelist() and other != split]
            largest = max(largest, *(int(_labels(path, archive, other).max()) for other in others), 0)
        names = named_classes(path, classes, largest)
        check_labels(path, labels, len(names))
        images = np.empty((count, channels, height, width), dtype=np.uint8)
        for first, rows in _items(path, archive, pixels):
            images[first : first + len(rows)] = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    return ImageSet(images, labels, names)


class _ShortReads(io.FileIO):
    """A file that reads a chunk at most: zipfile reads the table of contents at once, however long it claims to be."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(CHUNK_BYTES if size is None or size < 0 else min(size, CHUNK_BYTES))


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with opened(path), _ShortReads(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (ValueError, struct.error) as error:  # of names and sizes in the table of contents
            raise refusal(path, "no npz file: its table of contents is damaged", AGAIN) from error
        with archive:
            yield archive


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> _Array:
    """Return the form of an array from its header. Raises InputError if the member is too small for it."""
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError as error:
        hint = f"it must hold {', '.join(f'{split}_images and {split}_labels' for split in SPLITS)}"
        raise refusal(path, f"there is no array {name}", hint) from error
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # lzma can claim gigabytes of memory
        raise refusal(path, f"{name}: compressed in a way that numpy does not use", _NPY)
    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(MOST_HEADER_BYTES))
    try:
        shape, in_columns, dtype = _header(head)
    except Exception as error:  # numpy's parser raises errors of many kinds for odd headers
        raise refusal(path, f"{name}: {' '.join(str(error).split()) or 'no header of an array'}", _NPY) from error
    if dtype.hasobject:
        raise refusal(path, f"{name}: it holds Python objects (pickles), which are not read", _NPY)
    if in_columns or any(type(size) is not int or size < 1 for size in shape):
        raise refusal(path, f"{name}: shape {list(shape)}{', in columns' if in_columns else ''}", _NPY)
    needed = head.tell() + math.prod(shape) * dtype.itemsize
    there = member.compress_size * (MOST_DEFLATE_RATIO if member.compress_type == zipfile.ZIP_DEFLATED else 1)
    if needed != member.file_size or needed > there or member.compress_size > path.stat().st_size:
        raise refusal(path, f"{name}: shape {list(shape)} does not fit the size of this member", AGAIN)
    return _Array(member, shape, dtype, head.tell())


def _header(head: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order (True: column by column) and dtype; leave `head` at the first item."""
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(head, max_header_size=MOST_HEADER_BYTES)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(head, max_header_size=MOST_HEADER_BYTES)
    raise ValueError(f"version {version[0]}.{version[1]} of the format of arrays")


def _form(path: Path, split: str, pixels: _Array) -> tuple[int, int, int, int]:
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


def _labels(path: Path, archive: zipfile.ZipFile, split: str) -> npt.NDArray[np.int64]:
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
    for first, rows in _items(path, archive, array):
        labels[first : first + len(rows)] = rows.view(array.dtype)[:, 0]
    return labels


def _items(path: Path, archive: zipfile.ZipFile, array: _Array) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield the array's bytes in chunks [k, bytes of an item of its first dimension], each with its first index."""
    with archive.open(array.member) as member:
        stream = cast(io.BufferedIOBase, member)
        stream.read(array.offset)
        yield from rows_of(stream, path, array.shape[0], math.prod(array.shape[1:]) * array.dtype.itemsize)
        expect_end(stream, path, array.shape[0])
