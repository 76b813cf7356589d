"""The project's errors: one root, so that every failure that a user can cause ends in one clear line."""

import math
import traceback
from pathlib import Path

_FRAMES = -100  # the last frames of a traceback: enough of an endless recursion


class TestbedError(Exception):
    """A failure with a message for a person: what went wrong, and where.

    `hint` says how to mend it, and may be empty. The command line exits with `exit_code`: 1 run failed, 2 usage,
    3 invalid input, 4 environment, 5 fidelity.
    """

    __test__ = False  # the name starts with "Test"; pytest must not collect it
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(TestbedError):
    """Raised for a topology, trace, policy or model file that cannot be used as it is."""

    exit_code = 3


class EnvironmentLacking(TestbedError):
    """Raised where this machine lacks something that a command needs: root, a program, a kernel feature."""

    exit_code = 4


class InvalidState(TestbedError):
    """Raised by a `validate()` that finds a contradiction in the program's own state: a fault of the program."""

    def __init__(self, part: str, what: str) -> None:
        """`part` names the part of the program; `what` says what is wrong with it, with the values."""
        super().__init__(f"{part}: {what}", hint="this is a fault of the program: please report it")


def refuse_negative(part: str, **values: float) -> None:
    """Raise InvalidState unless all these values of `part` are finite and at least 0."""
    for name, value in values.items():
        if not 0 <= value < math.inf:  # NaN fails this, too
            raise InvalidState(part, f"{name} is {value}, which is negative or no number")


def in_words(error: BaseException) -> str:
    """Return an error as one line: a `TestbedError` by its message, any other with its type before it."""
    text = " ".join(str(error).split())
    if isinstance(error, TestbedError):
        return text
    return f"{type(error).__name__}: {text}"


def log_entry(node: str, error: BaseException) -> str:
    """Return a failed node's entry in agents.log: the traceback with the node's story, and the reason as last line."""
    trace, hint = "".join(traceback.format_exception(error)), getattr(error, "hint", "")
    return f"--- {node}\n{trace}node {node}: {in_words(error)}{hint and '; '}{hint}\n"


def line_passed(file: Path, error: BaseException) -> int | None:
    """Return the last line of a user's file that an exception passed; None if it did not pass the file."""
    frames = traceback.extract_tb(error.__traceback__, limit=_FRAMES)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return lines[-1] if lines else None
