"""A folder per class with PNG and JPEG files, optionally below train/, val/ and test/.

Pillow decodes the files, by its decoders for these two formats only, and within its limit on the pixels of a file.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.images.image_set import (
    MOST_CLASSES,
    MOST_IMAGES,
    ImageSet,
    check_size,
    check_split,
    fault_of_names,
    refusal,
    shown,
)

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS = ("train", "val", "test")
SUFFIXES = {".png", ".jpg", ".jpeg"}
# Left out silently, these would be missed.
OTHER_PICTURES = {".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif", ".heic"}

_GREY, _COLOUR = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA"}
_LAYOUT = "the folder has a folder for each class, or train/ and test/ with these"

Channels = Literal[1, 3]


def read_folder(
    folder: str | Path, split: str | None = None, size: tuple[int, int] | None = None, channels: Channels | None = None
) -> ImageSet:
    """Return the images below a folder, [N, C, H, W], sorted by class and name; a class is the name of a folder.

    Pixels are those of the file: a camera's note on orientation is ignored. Hidden files and files with other endings
    are skipped. Links are followed unless they lead out of the folder.

    Args:
        folder: holds a folder per class, or train/, val/ and test/ with these.
        split: one of these three; None if the folder is not split. Classes are those of all splits.
        size: height and width in pixels. Each image is stretched to it, without keeping its proportions, by Pillow's
            bilinear filter, which averages when it shrinks. None: all images must have one size.
        channels: 1 converts to grey, 3 to colour. None: all images must be grey, or all in colour.

    Raises:
        InputError: the layout is another one, a link leads out of the folder, or a file is broken or too large. Also
            if images differ in size or colour, have transparent pixels, or more than 8 bits a channel.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise refusal(folder, "there is no such folder", _LAYOUT)
    if size is not None:
        check_size(folder, 1, 3, *size)
    root = Path(os.path.realpath(folder))
    found_folders = _folders(folder, root)
    there = [name for name in SPLITS if name in found_folders]
    chosen = _chosen(folder, split, there)
    classes = {part: _folders(part, root) for part in ([folder / name for name in there] or [folder])}
    names = tuple(sorted(set().union(*classes.values())))
    if problem := fault_of_names(names):
        raise refusal(folder, problem, _LAYOUT)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if name in classes[chosen]:
            found = _pictures(chosen / name, root, MOST_IMAGES - len(files))
            files += found
            labels += [label] * len(found)
    return ImageSet(_decode(files, size, channels), np.array(labels, dtype=np.int64), names)


def _chosen(folder: Path, split: str | None, there: list[str]) -> Path:
    """Return the folder that holds the wanted folders of classes."""
    if split is None:
        if there:
            raise refusal(folder, f"it holds {' and '.join(f'{name}/' for name in there)}", "choose a split")
        return folder
    check_split(split, SPLITS)
    if split not in there:
        raise refusal(
            folder, f"there is no folder {split}/", "without splits in the folder, divide the images yourself"
        )
    return folder / split


class _Entry(NamedTuple):
    """A name in a folder, and its kind: both False for links to nothing, pipes and devices."""

    name: str
    is_folder: bool
    is_file: bool


def _entries(folder: Path, root: Path) -> Iterator[_Entry]:
    """Yield what a folder holds, hidden entries apart. Raises InputError for a link that leaves `root`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_symlink():
                    yield _Entry(entry.name, entry.is_dir(), entry.is_file())
                elif Path(os.path.realpath(entry.path)).is_relative_to(root):
                    yield _Entry(entry.name, os.path.isdir(entry.path), os.path.isfile(entry.path))
                else:
                    raise refusal(Path(entry.path), "a link that leads out of the folder", "copy its target instead")
    except OSError as error:
        raise refusal(folder, str(error.strerror), "the folder must be readable") from error


def _folders(folder: Path, root: Path) -> list[str]:
    """Return the names of the folders in a folder."""
    names = []
    for entry in _entries(folder, root):
        if entry.is_folder:
            names.append(entry.name)
            if len(names) > MOST_CLASSES:
                raise refusal(folder, f"it holds more than {MOST_CLASSES} folders", _LAYOUT)
    if not names:
        raise refusal(folder, "it holds no folders", _LAYOUT)
    return names


def _pictures(folder: Path, root: Path, most: int) -> list[Path]:
    """Return the pictures of a class, sorted by name."""
    names = []
    for entry in _entries(folder, root):
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.is_folder or suffix in OTHER_PICTURES:
            what = "a folder in the folder of a class" if entry.is_folder else "neither PNG nor JPEG"
            raise refusal(folder / entry.name, what, "PNG and JPEG files directly in the folder of a class are read")
        if suffix not in SUFFIXES:
            continue
        if not entry.is_file:
            raise refusal(folder / entry.name, "it is no regular file", "remove it, or give its target")
        names.append(entry.name)
        if len(names) > most:
            raise refusal(folder, f"there are more than {MOST_IMAGES} images in all", "divide the set")
    if not names:
        raise refusal(folder, "it holds no PNG or JPEG file", _LAYOUT)
    return [folder / name for name in sorted(names)]


def _decode(files: list[Path], size: tuple[int, int] | None, channels: Channels | None) -> npt.NDArray[np.uint8]:
    from PIL.Image import DecompressionBombWarning  # noqa: PLC0415 - loads slowly

    with warnings.catch_warnings():
        warnings.simplefilter("error", DecompressionBombWarning)
        first = _pixels(files[0], size, channels)
        check_size(files[0].parent, len(files), *first.shape)
        images = np.empty((len(files), *first.shape), dtype=np.uint8)
        for row, path in enumerate(files):
            pixels = _pixels(path, size, channels) if row else first
            if pixels.shape != first.shape:
                raise _differs(path, pixels.shape, files[0], first.shape)
            images[row] = pixels
    return images


def _differs(path: Path, shape: tuple[int, ...], first: Path, wanted: tuple[int, ...]) -> InputError:
    if shape[0] != wanted[0]:
        kinds = {1: "grey", 3: "in colour"}
        hint = "channels=1 or channels=3 converts all images"
        return refusal(path, f"it is {kinds[shape[0]]}, but {shown(first)} is {kinds[wanted[0]]}", hint)
    sizes = [f"{height}x{width}" for _, height, width in (shape, wanted)]
    return refusal(path, f"it has {sizes[0]} pixels, but {shown(first)} {sizes[1]}", "size=(H, W) resizes all images")


def _pixels(path: Path, size: tuple[int, int] | None, channels: Channels | None) -> npt.NDArray[np.uint8]:
    """Return the pixels of a file, [C, H, W]."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - as above

    try:
        with path.open("rb") as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            if size is None:
                check_size(path, 1, 3, image.height, image.width)
            pixels = np.asarray(_plain(path, image, channels, size))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many kinds for broken files
        reason = "no PNG or JPEG picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise refusal(path, " ".join(reason.split()) or "broken", "replace or remove this file") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _plain(path: Path, image: "Image", channels: Channels | None, size: tuple[int, int] | None) -> "Image":
    """Return an image in mode L or RGB, stretched to `size`."""
    from PIL.Image import Resampling  # noqa: PLC0415 - as above

    if image.mode not in _GREY | _COLOUR:
        raise refusal(path, f"pixels of kind {image.mode}", "save it with 8 bits a channel, grey or RGB")
    mode = {None: "L" if image.mode in _GREY else "RGB", 1: "L", 3: "RGB"}[channels]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise refusal(path, "it has transparent pixels", "put it on a background first")
    image = image.convert(mode)
    return image if size is None else image.resize((size[1], size[0]), Resampling.BILINEAR)
