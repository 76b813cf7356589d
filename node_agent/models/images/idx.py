"""IDX files, as of MNIST and its relatives: four files in a folder, plain or compressed by gzip.

The format: two zero bytes, a byte for the type (8: bytes), a byte for the number of dimensions, each dimension as a
big-endian 32-bit number, then the items (Y. LeCun, C. Cortes, C. Burges, "The MNIST database", file formats).
"""

import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node_agent.errors import EnvironmentLacking
from node_agent.models.images.bounded import AGAIN, expect_end, rows_of, unpacked
from node_agent.models.images.image_set import (
    ImageSet,
    check_count,
    check_labels,
    check_size,
    check_split,
    named_classes,
    refusal,
)

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
INSTALL_HINT = "apt-get install dataset-fashion-mnist (as root)"

_PREFIXES = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTES = 8
_FOUR_FILES = "a folder holds train- and t10k- each with images-idx3-ubyte and labels-idx1-ubyte, plain or .gz"


def read_idx(folder: str | Path, split: str, classes: Sequence[str] | None = None) -> ImageSet:
    """Return one split of a set in IDX files, grey images [N, 1, H, W].

    Args:
        folder: has the usual four files, with their usual names.
        split: `train` or `test`.
        classes: names in the order of the labels; without them, numbers up to the largest label of both splits.

    Raises:
        EnvironmentLacking: the folder is that of Debian's Fashion-MNIST, which is not installed.
        InputError: a file is missing, damaged or too large, or labels and images do not fit each other.
    """
    folder = Path(folder)
    check_split(split, tuple(_PREFIXES))
    if folder == FASHION_MNIST and not os.path.isdir(folder):
        raise EnvironmentLacking(f"{folder} is missing: the images of Fashion-MNIST", hint=INSTALL_HINT)
    images_file, labels_file = _file(folder, split, "images", 3), _file(folder, split, "labels", 1)
    labels = _labels(labels_file)
    largest = int(labels.max())
    if classes is None:
        others = [_found(folder, other, "labels", 1) for other in _PREFIXES if other != split]
        largest = max(largest, *(int(_labels(path).max()) for path in others if path is not None), 0)
    names = named_classes(labels_file, classes, largest)
    check_labels(labels_file, labels, len(names))
    return ImageSet(_images(images_file, labels_file, len(labels)), labels, names)


def is_idx(folder: Path) -> bool:
    """Return True if a folder holds images in IDX files."""
    return any(_found(folder, split, "images", 3) is not None for split in _PREFIXES)


def _found(folder: Path, split: str, content: str, dimensions: int) -> Path | None:
    """Return the file of this name, the plain one first. Some archives write a dot for the second hyphen."""
    stems = (f"{_PREFIXES[split]}-{content}{mark}idx{dimensions}-ubyte" for mark in "-.")
    paths = (folder / f"{stem}{end}" for stem in stems for end in ("", ".gz"))
    return next((path for path in paths if os.path.exists(path)), None)


def _file(folder: Path, split: str, content: str, dimensions: int) -> Path:
    found = _found(folder, split, content, dimensions)
    if found is None:
        name = f"{_PREFIXES[split]}-{content}-idx{dimensions}-ubyte"
        raise refusal(folder, f"there is no file {name} or {name}.gz", _FOUR_FILES)
    return found


def _sizes(stream: io.BufferedIOBase, path: Path, dimensions: int) -> tuple[int, ...]:
    """Return the sizes of the dimensions from a file's header."""
    header = stream.read(4 + 4 * dimensions)
    wanted = struct.pack(">HBB", 0, _UNSIGNED_BYTES, dimensions)
    if header[:4] != wanted:
        what = f"it starts with {header[:4].hex() or 'nothing'}, not with {wanted.hex()}"
        raise refusal(path, what, f"an IDX file of {'images' if dimensions == 3 else 'labels'} is needed here")
    if len(header) < 4 + 4 * dimensions:
        raise refusal(path, "it ends within its header", AGAIN)
    return struct.unpack(f">{dimensions}I", header[4:])


def _labels(path: Path) -> npt.NDArray[np.int64]:
    with unpacked(path) as (stream, most):
        (count,) = _sizes(stream, path, 1)
        check_count(path, count, "labels")
        _check_room(path, count, most)
        labels = np.empty(count, dtype=np.int64)
        for first, rows in rows_of(stream, path, count, 1):
            labels[first : first + len(rows)] = rows[:, 0]
        expect_end(stream, path, count)
    return labels


def _images(path: Path, labels_file: Path, labels: int) -> npt.NDArray[np.uint8]:
    with unpacked(path) as (stream, most):
        count, height, width = _sizes(stream, path, 3)
        check_size(path, count, 1, height, width)
        if count != labels:
            raise refusal(path, f"it states {count} images, but {labels_file.name} {labels} labels", AGAIN)
        _check_room(path, count * height * width, most)
        images = np.empty((count, 1, height, width), dtype=np.uint8)
        flat = images.reshape(count, height * width)
        for first, rows in rows_of(stream, path, count, height * width):
            flat[first : first + len(rows)] = rows
        expect_end(stream, path, count)
    return images


def _check_room(path: Path, wanted: int, most: int) -> None:
    """Raise InputError if a file is too small for the bytes that its header states, before they are allocated."""
    if wanted > most:
        raise refusal(path, f"it is too small for the {wanted} bytes that its header states", AGAIN)
