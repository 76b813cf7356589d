"""A table of answers, checked: what a model answered elsewhere, and what its segments cost."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE, Classes, Scores
from node_agent.models.answer_table.arrays import OTHER_CRITERIA, Values, short
from node_agent.models.answer_table.csv_table import read_csv
from node_agent.models.answer_table.inputs import Lengths, inputs_by_bytes, inputs_by_form
from node_agent.models.answer_table.npz import read_npz
from node_agent.models.answer_table.parquet import read_parquet
from node_agent.models.answer_table.places import Places
from node_agent.models.data_types import ExitAnswers
from node_agent.wire import InputForm

MOST_PLAN_ROWS = 10_000
MOST_FLOP = 1e18  # of a segment on one sample
_MOST_CLASS = 2**31 - 1

Arrays = dict[str, Values]


@dataclass(frozen=True, eq=False)
class PlanRows:
    """The rows that nodes plan with, M of at most MOST_PLAN_ROWS."""

    answers: ExitAnswers  # [M, E]; predictions are not known if the table does not state them
    correct: npt.NDArray[np.bool_]  # [M, E], True where the exit is right

    def __len__(self) -> int:
        """Number of rows M."""
        return len(self.correct)

    @property
    def confidence(self) -> Scores:
        """Confidences of the exits, [M, E], 0..1."""
        return self.answers.measured[CONFIDENCE.name]


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """The content of a table: N samples that devices offer, E exits; segment e ends with exit e, both from 1."""

    path: Path  # of the file
    answers: ExitAnswers  # [N, E]; predictions in the smallest type that holds all classes
    labels: npt.NDArray[np.int64]  # [N], class
    flop: npt.NDArray[np.number[Any]]  # [E], or [N, E] if it differs between samples; exit head included
    forms: tuple[InputForm, ...]  # input of each segment
    lengths: Lengths | None  # [N, E], first dimension of each input; None if none varies
    parameters_bytes: tuple[int, ...]  # of each segment; 0 if the table does not state it
    plan: PlanRows
    plans_with_its_tasks: bool  # True: the table has no rows held out for plans
    classes: tuple[str, ...]  # names; empty if the table does not state them
    card: dict[str, Any]  # name, licence, origin: whatever the table states of itself
    fingerprint: str  # SHA-256 of the file, hex

    @property
    def confidence(self) -> Scores:
        """Confidences of the exits, [N, E], 0..1."""
        return self.answers.measured[CONFIDENCE.name]

    @property
    def prediction(self) -> Classes:
        """Predictions of the exits, [N, E]."""
        return self.answers.prediction

    @property
    def exit_count(self) -> int:
        """Number of exits E."""
        return int(self.confidence.shape[1])

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.labels)


def read_table(path: Path) -> AnswerTable:
    """Read and check a table: .npz, .csv or .parquet.

    Raises:
        InputError: the file cannot be read, is damaged or too large, or a value in it is wrong; names row and column.
        EnvironmentLacking: the file is Parquet, and pyarrow is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: no table", hint=f"tables are files with the ending {', '.join(_READERS)}")
    with _opened(path) as stream:
        try:
            arrays, places = reader(stream, str(path))
            stream.seek(0)
            fingerprint = file_digest(stream, "sha256").hexdigest()
            return _checked(path, arrays, places, fingerprint)
        except MemoryError as error:
            hint = "draw a sample of its rows, or use a machine with more memory"
            raise InputError(f"{path}: too large for the memory of this machine", hint=hint) from error


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open an ordinary file; opening a named pipe does not wait for its other end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: {reason}", hint="give the path of a table") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: no ordinary file", hint="give the path of a table")
    with open(descriptor, "rb") as stream:
        yield stream


def _npz(stream: BinaryIO, file: str) -> tuple[Arrays, Places]:
    return read_npz(stream, file), Places(file)


Reader = Callable[[BinaryIO, str], tuple[Arrays, Places]]
_READERS: dict[str, Reader] = {
    ".npz": _npz,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def _checked(path: Path, arrays: Arrays, places: Places, fingerprint: str) -> AnswerTable:
    """Return a table with these arrays, whose names, types and shapes are known to be sound; empties `arrays`."""
    classes, card = _classes(places, arrays.pop("classes", None)), _card(places, arrays.pop("card", None))
    confidence = _confidence(places, "confidence", arrays.pop("confidence"))
    prediction = _smallest(_class_numbers(places, "prediction", arrays.pop("prediction"), classes))
    labels = _class_numbers(places, "label", arrays.pop("label"), classes).astype(np.int64, copy=False)
    samples, exits = confidence.shape
    if "input_bytes" in arrays:
        forms, lengths = inputs_by_bytes(places, arrays.pop("input_bytes"))
    else:
        texts = [str(text) for text in arrays.pop("input").tolist()]
        forms, lengths = inputs_by_form(places, texts, arrays.pop("length", None), samples)
    answers = ExitAnswers(prediction, {CONFIDENCE.name: confidence, **_others(places, "", arrays)})
    own_plan = "plan_confidence" in arrays
    plan = _own_plan(places, arrays, classes) if own_plan else _plan(answers, np.equal(prediction, labels[:, None]))
    return AnswerTable(
        path=path,
        answers=answers,
        labels=labels,
        flop=_flop(places, arrays.pop("flop")),
        forms=forms,
        lengths=lengths,
        parameters_bytes=_parameters(places, arrays.pop("parameters_bytes", None), exits),
        plan=plan,
        plans_with_its_tasks=not own_plan,
        classes=classes,
        card=card,
        fingerprint=fingerprint,
    )


def _confidence(places: Places, name: str, values: Values) -> npt.NDArray[np.float32]:
    places.check_range(name, values, 0, 1, "a confidence is the probability that the exit gives to its own answer")
    return np.ascontiguousarray(values, np.float32)


def _class_numbers(places: Places, name: str, values: Values, classes: tuple[str, ...]) -> npt.NDArray[Any]:
    most = len(classes) - 1 if classes else _MOST_CLASS
    hint = f"classes count from 0; the table names {len(classes)} classes" if classes else "classes count from 0"
    places.check_range(name, values, 0, most, hint)
    return values


def _smallest(values: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
    """Return whole numbers from 0 in the smallest of three types that holds them, row by row."""
    most = values.max()
    kind = np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.int32
    found: npt.NDArray[np.integer[Any]] = np.ascontiguousarray(values, kind)
    return found


def _flop(places: Places, values: Values) -> npt.NDArray[np.number[Any]]:
    """Return the work, in an array [E] if it is the same for all samples."""
    places.check_range(
        "flop", values, 1, MOST_FLOP, "the work of a segment, its exit head included, is at least 1 FLOP"
    )
    numbers: npt.NDArray[np.number[Any]] = values  # type: ignore[assignment]  # its type was checked
    if numbers.ndim == 2 and (numbers == numbers[:1]).all():
        numbers = numbers[0].copy()  # not a view, which would keep the rest
    return np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("="))


def _parameters(places: Places, values: Values | None, exits: int) -> tuple[int, ...]:
    if values is None:
        return (0,) * exits
    places.check_range("parameters_bytes", values, 0, 2**53, "memory of a segment's parameters, in bytes")
    return tuple(int(count) for count in values.tolist())


def _others(places: Places, prefix: str, arrays: Arrays) -> dict[str, Scores]:
    """Return the numbers of further criteria that a table states; empties `arrays` of them."""
    found: dict[str, Scores] = {}
    for name in OTHER_CRITERIA:
        if (values := arrays.pop(f"{prefix}{name}", None)) is not None:
            hint = f"the {name} score of an answer is 0 to 1; docs/extending.md has its formula"
            places.check_range(f"{prefix}{name}", values, 0, 1, hint)
            found[name] = np.ascontiguousarray(values, np.float32)
    return found


def _own_plan(places: Places, arrays: Arrays, classes: tuple[str, ...]) -> PlanRows:
    """Return the rows that a table holds for plans."""
    confidence = _confidence(places, "plan_confidence", arrays.pop("plan_confidence"))
    prediction: Classes = np.full(confidence.shape, -1, np.int8)
    if "plan_prediction" in arrays:
        stated = _class_numbers(places, "plan_prediction", arrays.pop("plan_prediction"), classes)
        prediction = _smallest(stated)
    answers = ExitAnswers(prediction, {CONFIDENCE.name: confidence, **_others(places, "plan_", arrays)})
    return _plan(answers, arrays.pop("plan_correct"))


def _plan(answers: ExitAnswers, correct: Values) -> PlanRows:
    """Return at most MOST_PLAN_ROWS rows, evenly spaced.

    Decision 085: nodes plan with at most 10,000 rows of a table (docs/decisions/085-rows-that-nodes-plan-with.md).

    Args:
        answers: of each exit, [M, E].
        correct: True where the exit is right, [M, E].
    """
    count = len(correct)
    kept = min(count, MOST_PLAN_ROWS)
    rows = np.arange(kept) * count // kept
    measured = {name: numbers[rows].astype(np.float64) for name, numbers in answers.measured.items()}
    return PlanRows(ExitAnswers(answers.prediction[rows], measured), np.ascontiguousarray(correct[rows], np.bool_))


def _classes(places: Places, values: Values | None) -> tuple[str, ...]:
    names = () if values is None else tuple(str(name) for name in values.tolist())
    for number, name in enumerate(names):
        if not name.isprintable():
            raise places.fault("classes", f"name {number} is {short(name)}", "names of classes are printable text")
    return names


def _card(places: Places, values: Values | None) -> dict[str, Any]:
    if values is None:
        return {}
    hint = 'the card is a JSON object such as {"name": "vit-l", "licence": "MIT", "recorded": "where, with what"}'
    try:
        card = json.loads(str(values.item()))
    except (ValueError, RecursionError) as error:
        raise places.fault("card", f"no JSON: {error}", hint) from error
    if not isinstance(card, dict):
        raise places.fault("card", "no JSON object", hint)
    name = card.get("name", "")
    if not (isinstance(name, str) and name.isprintable() and len(name) <= 64):
        raise places.fault("card", f"name {short(name)}", "a name is printable text of at most 64 characters")
    return card
