"""Recognises the format of a set of images by its files, and reads it."""

import os
from collections.abc import Sequence
from pathlib import Path

from node_agent.errors import InputError
from node_agent.models.images.cifar import is_cifar, read_cifar
from node_agent.models.images.folder import Channels, read_folder
from node_agent.models.images.idx import FASHION_MNIST, is_idx, read_idx
from node_agent.models.images.image_set import ImageSet, refusal
from node_agent.models.images.medmnist import read_medmnist


def read_images(
    path: str | Path,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    channels: Channels | None = None,
) -> ImageSet:
    """Return one split of a set in any of the formats of this package.

    Args:
        path: an npz file of MedMNIST, a folder of IDX files or of CIFAR, or a folder with a folder per class.
        split: `train` or `test`, for MedMNIST and folders also `val`; None only for folders without splits.
        classes: names in the order of the labels, for the formats that hold none (IDX, MedMNIST).
        size: height and width in pixels to which images are stretched; for a folder per class only.
        channels: 1 converts to grey, 3 to colour; for a folder per class only.

    Raises:
        EnvironmentLacking: the folder is that of Debian's Fashion-MNIST, which is not installed.
        InputError: as the format's own function does, or an argument does not belong to the format.
    """
    path = Path(path)
    if not os.path.exists(path) and path != FASHION_MNIST:
        raise refusal(path, "there is no such file or folder", "give a set of images")
    if os.path.isdir(path) and not is_idx(path) and not is_cifar(path):
        _refuse(path, "the names of the folders are the classes", classes=classes)
        return read_folder(path, split, size, channels)
    _refuse(path, "only images of a folder per class are converted", size=size, channels=channels)
    if split is None:
        raise InputError("which split?", hint="split is train or test")
    if os.path.isdir(path) and is_cifar(path):
        _refuse(path, "the set has a file with the names of the classes", classes=classes)
        return read_cifar(path, split)
    if os.path.isdir(path) or path == FASHION_MNIST:
        return read_idx(path, split, classes)
    if path.suffix == ".npz":
        return read_medmnist(path, split, classes)
    raise refusal(path, "no set of images", "give an npz file, or a folder of IDX files, of CIFAR, or per class")


def _refuse(path: Path, why: str, **arguments: object) -> None:
    """Raise InputError if one of the arguments is given."""
    for name, value in arguments.items():
        if value is not None:
            raise refusal(path, f"{name} cannot be given here", why)
