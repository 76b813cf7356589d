"""The labelled samples that a model's class returns, checked, and split for training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.data_types import Input, Samples
from node_agent.models.networks.early_exit import EarlyExitModel, Recipe, Split, TrainingData
from node_agent.models.networks.made import class_names, running
from node_agent.models.networks.user_code import UserClass

LEAST_SAMPLES = 20  # of the training split
_SHOWN = 8  # most names in a message

_LABELS = "labels are the numbers of classes from 0, one for each image, as in np.array([0, 2, 1])"


def labelled(kind: type[EarlyExitModel], split: Split, code: UserClass | None = None) -> Samples:
    """Return the samples of a split as arrays of the form that the class states.

    Raises:
        InputError: they do not have that form, or the class's code raises.
    """
    what = f"samples({split!r})"
    with running(code, what):
        found = kind.samples(split)
    name = f"model {code or kind.__name__}: {what}"
    images, labels = (
        found if isinstance(found, tuple) and len(found) == 2
        else (getattr(found, "images", None), getattr(found, "labels", None))
    )  # fmt: skip
    if images is None or labels is None:
        raise InputError(f"{name}: no images and labels", hint="return (images, labels), or what read_idx returns")
    if fault := _fault_of_names(kind, getattr(found, "classes", None)):
        raise InputError(f"{name}: {fault}", hint="state the names of the samples in their order: labels count them")
    try:
        return _as_samples(images, labels, kind.input, len(class_names(kind)))
    except InputError as error:
        raise InputError(f"{name}: {error}", hint=error.hint) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{name}: {error}", hint=f"the class states {_words(kind.input)}") from error


def split_samples(kind: type[EarlyExitModel], recipe: Recipe, code: UserClass | None = None) -> TrainingData:
    """Return the samples of a training run: those that `samples` returns, split by the recipe's seed.

    The test split serves as evaluation; of the training split one tenth, at most `recipe.held_out`, goes to each of
    validation, calibration and the exit table.

    Raises:
        InputError: as `labelled`, or there are too few samples.
    """
    train, test = labelled(kind, "train", code), labelled(kind, "test", code)
    if len(train) < LEAST_SAMPLES or not len(test):
        message = f"model {code or kind.__name__}: {len(train)} samples for training, {len(test)} for tests"
        raise InputError(message, hint=f"at least {LEAST_SAMPLES} for training and one for tests")
    chance = np.random.default_rng(recipe.seed)
    order, each = chance.permutation(len(train)), min(recipe.held_out, len(train) // 10)
    validation, calibration, table, rest = (np.sort(part) for part in np.split(order, [each, 2 * each, 3 * each]))
    offered = np.sort(chance.permutation(len(test))[: recipe.evaluation])
    learned = train.chosen(rest)
    return TrainingData(
        train=lambda _epoch: learned,
        train_count=len(learned),
        validation=train.chosen(validation),
        calibration=train.chosen(calibration),
        exit_table=train.chosen(table),
        evaluation=test.chosen(offered),
        notes={},
    )


def _fault_of_names(kind: type[EarlyExitModel], given: object) -> str:
    """Return the difference between the samples' names of classes and the class's, in words; empty if there is none.

    Samples without names, and those whose importer only numbered the classes, pass.
    """
    if not isinstance(given, (tuple, list)) or not all(isinstance(name, str) for name in given):
        return ""
    if list(given) == [str(number) for number in range(len(given))]:
        return ""
    stated = class_names(kind)
    if list(given) == stated or (isinstance(kind.classes, int) and len(given) == kind.classes):
        return ""
    if isinstance(kind.classes, int):
        return f"the classes of the samples are {_listed(given, 0)}, but `classes` is {kind.classes}"
    place = next((number for number, both in enumerate(zip(given, stated, strict=False)) if both[0] != both[1]), 0)
    begin = place if max(len(given), len(stated)) > _SHOWN else 0  # long rows are shown from their first difference
    return f"the classes of the samples are {_listed(given, begin)}, but `classes` is {_listed(stated, begin)}"


def _listed(names: Sequence[str], begin: int) -> str:
    """Return names as a message shows them: eight at most, from a place in the row."""
    before, after = "..., " if begin else "", ", ..." if len(names) > begin + _SHOWN else ""
    shown = ", ".join(ascii(name) for name in names[begin : begin + _SHOWN])
    return f"{len(names)} names ({before}{shown}{after})"


def _words(form: Input) -> str:
    sizes = f"{form.dtype} {list(form.shape)}"
    return f"{sizes}, the first dimension at most" if form.varies else sizes


def _as_samples(images: Any, labels: Any, form: Input, classes: int) -> Samples:  # noqa: ANN401
    known = _as_labels(labels, len(images), classes)
    lengths = None
    if form.varies:
        rows = [np.asarray(image) for image in images]
        for index, row in enumerate(rows):
            if row.shape[1:] != form.shape[1:] or row.ndim != len(form.shape) or not 1 <= len(row) <= form.shape[0]:
                raise ValueError(f"sample {index} has the shape {list(row.shape)}")
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        array = np.concatenate(rows) if rows else np.zeros((0, *form.shape[1:]), form.dtype)
    else:
        array = _stacked(images)
        if array.shape[1:] != form.shape:
            raise ValueError(f"samples have the shape {list(array.shape[1:])}")
    return Samples(_converted(array, form.dtype), known, None, lengths)


def _as_labels(labels: Any, images: int, classes: int) -> npt.NDArray[np.int64]:  # noqa: ANN401
    """Return labels as an array. Raises InputError, with a hint on labels, if they are none of these images."""
    try:
        known = np.asarray(labels)
    except (ValueError, TypeError) as error:
        raise InputError(f"labels: {error}", hint=_LABELS) from error
    if known.ndim != 1 or known.dtype.kind not in "iu":
        rows = known.ndim == 2 and known.shape[1] == classes
        hint = f"of one-hot rows, return labels.argmax(axis=1): {_LABELS}" if rows else _LABELS
        raise InputError(f"labels are {known.dtype} {list(known.shape)}, not whole numbers in a row", hint=hint)
    if images != len(known):
        hint = "return one label for each image, in the same order"
        raise InputError(f"{images} images, but {len(known)} labels", hint=hint)
    if len(known) and not (known.min() >= 0 and known.max() < classes):
        said = f"labels from {known.min()} to {known.max()}, but classes from 0 to {classes - 1}"
        raise InputError(said, hint="a label is the place of its class in `classes`, counted from 0")
    return known.astype(np.int64)


def _stacked(images: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
    shapes = {np.shape(image) for image in images[:1000]} if isinstance(images, (list, tuple)) else set()
    if len(shapes) > 1:
        raise ValueError(
            f"samples have different shapes, such as {' and '.join(str(list(s)) for s in sorted(shapes)[:2])}"
        )
    return np.asarray(images)


def _converted(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """The array with another type, if no value changes by more than rounding."""
    if array.dtype.name == dtype:
        return np.ascontiguousarray(array)
    target = np.dtype(dtype)
    if array.dtype.kind in "iub" and target.kind == "u":
        limits = np.iinfo(target)
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise ValueError(f"numbers from {array.min()} to {array.max()} do not fit {dtype}")
    elif not (array.dtype.kind == "f" and target.kind == "f"):
        raise ValueError(f"samples are {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("samples hold NaN or infinity")
    return np.ascontiguousarray(array.astype(dtype))
