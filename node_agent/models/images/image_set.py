"""A labelled set of images in memory, and the limits that hold for every importer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.suggest import advice

MOST_PIXEL_BYTES = 2 * 2**30  # of all images of a set
MOST_IMAGES = 2_000_000
MOST_SIDE_PIXELS = 4096
MOST_CLASSES = 30_000
OWN_NAMES = "give each class a name of its own"


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images of one size with the class of each.

    Raises:
        InputError: the arrays do not fit each other, or a label is outside the classes.
    """

    images: npt.NDArray[np.uint8]  # [N, C, H, W]: C is 1 (grey) or 3 (red, green, blue)
    labels: npt.NDArray[np.int64]  # [N], indices into `classes`
    classes: tuple[str, ...]  # their names

    def __post_init__(self) -> None:
        """Check that the three parts fit each other."""
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[1] not in {1, 3} or not images.size:
            form = f"{images.dtype} {list(images.shape)}"
            raise InputError(f"images are {form}, not uint8 [N, C, H, W]", hint="C is 1 (grey) or 3 (colour)")
        if labels.shape != images.shape[:1] or labels.dtype != np.int64:
            form = f"{labels.dtype} {list(labels.shape)}"
            raise InputError(f"labels are {form}, not int64 [{len(images)}]", hint="give one label for each image")
        if problem := fault_of_names(self.classes):
            raise InputError(f"classes: {problem}", hint=OWN_NAMES)
        if problem := outside(labels, len(self.classes)):
            raise InputError(problem, hint="name every class, in the order of the labels")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


def refusal(path: Path, what: str, hint: str = "") -> InputError:
    """Return the error for a file; names with unprintable characters are quoted, so that it stays one line."""
    return InputError(f"{shown(path)}: {what}", hint=hint)


def shown(path: Path) -> str:
    """Return a path as messages show it."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def check_count(path: Path, count: int, what: str = "images") -> None:
    """Raise InputError unless 1 to MOST_IMAGES images (or labels: `what`) are stated."""
    if not 1 <= count <= MOST_IMAGES:
        raise refusal(path, f"it states {count} {what}; 1 to {MOST_IMAGES} can be read", "divide the set")


def check_size(path: Path, count: int, channels: int, height: int, width: int) -> None:
    """Raise InputError if there is no image, or if the images exceed a limit of this module."""
    check_count(path, count)
    if min(height, width) < 1:
        raise refusal(path, f"it states images of {height}x{width} pixels", "an image has at least one pixel")
    if max(height, width) > MOST_SIDE_PIXELS:
        what = f"it states images of {height}x{width} pixels; {MOST_SIDE_PIXELS} a side can be read"
        raise refusal(path, what, "make the images smaller")
    total = count * channels * height * width
    if total > MOST_PIXEL_BYTES:
        what = f"it states {total / 2**30:.1f} GiB of pixels; {MOST_PIXEL_BYTES // 2**30} GiB can be read"
        raise refusal(path, what, "divide the set, or make the images smaller")


def check_split(split: str, known: Sequence[str]) -> None:
    """Raise InputError if `split` is not one of `known`."""
    if split not in known:
        raise InputError(f"unknown split {split!r}", hint=advice(split, known))


def outside(labels: npt.NDArray[np.integer], classes: int) -> str:
    """Return a line about the first label outside 0 to `classes` - 1; the empty string if there is none."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if not len(wrong):
        return ""
    return f"image {wrong[0]} (counted from 0) has label {labels[wrong[0]]}, but there are {classes} classes"


def fault_of_names(classes: Sequence[str]) -> str:
    """Return a line about the first fault in the names of classes; the empty string if there is none."""
    if not 1 <= len(classes) <= MOST_CLASSES:
        return f"{len(classes)} names; there must be 1 to {MOST_CLASSES}"
    seen = set()
    for name in classes:
        if not (isinstance(name, str) and name and name.isprintable()):
            return f"{name!a} is no printable name"
        if name in seen:
            return f"two classes are named {name!r}"
        seen.add(name)
    return ""


def named_classes(path: Path, classes: Sequence[str] | None, largest: int) -> tuple[str, ...]:
    """Return the classes' names: those given, else the numbers 0 to `largest`, the largest label of the set.

    Raises:
        InputError: there are too many classes, or two have one name.
    """
    if classes is not None:
        if problem := fault_of_names(classes):
            raise InputError(f"classes: {problem}", hint=OWN_NAMES)
        return tuple(classes)
    if largest >= MOST_CLASSES:
        raise refusal(path, f"it holds label {largest}; labels below {MOST_CLASSES} can be read", "number the classes")
    return tuple(str(number) for number in range(max(largest, 0) + 1))


def check_labels(path: Path, labels: npt.NDArray[np.integer], classes: int) -> None:
    """Raise InputError that names the file and the first label outside 0 to `classes` - 1."""
    if problem := outside(labels, classes):
        raise refusal(path, problem, "name every class, in the order of the labels")
