"""The one exception root of the project, so that every failure a user can cause ends in one clear line."""

import math
import traceback


class TestbedError(Exception):
    """A failure with a message for a person: what went wrong, where, and how to mend it.

    `exit_code` is what the command line ends with (1 run failed, 2 usage, 3 invalid input, 4 environment,
    5 fidelity); `hint` says how to mend it and may be empty.
    """

    __test__ = False  # the name starts with "Test"; pytest must not collect it
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(TestbedError):
    """A topology, trace or model file that cannot be used as it is."""

    exit_code = 3


class EnvironmentLacking(TestbedError):
    """This machine lacks something that the command needs: root, a program, a kernel feature."""

    exit_code = 4


class InvalidState(TestbedError):
    """What a part of the program knows contradicts itself: a fault of the program, found by some `validate()`."""

    def __init__(self, part: str, what: str) -> None:
        """`what` is wrong with `part`, with its values."""
        super().__init__(f"{part}: {what}", hint="this is a fault of the program: please report it")


def refuse_negative(part: str, **values: float) -> None:
    """Raise InvalidState unless all these values of `part` are finite and not negative."""
    for name, value in values.items():
        if not 0 <= value < math.inf:  # which NaN is not either
            raise InvalidState(part, f"{name} is {value}, which is negative or no number")


def in_words(error: BaseException) -> str:
    """What went wrong, in one line: a failure of ours by its message, any other with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, TestbedError):
        return text
    return f"{type(error).__name__}: {text}"


def log_entry(node: str, error: BaseException) -> str:
    """What a node that cannot go on leaves in agents.log: the traceback, its story, and in the last line the reason."""
    trace, hint = "".join(traceback.format_exception(error)), getattr(error, "hint", "")
    return f"--- {node}\n{trace}node {node}: {in_words(error)}{hint and '; '}{hint}\n"
