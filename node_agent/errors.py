"""The one exception root of the project, so that every failure a user can cause ends in one clear line."""


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


def in_words(error: BaseException) -> str:
    """What went wrong, in one line: a failure of ours by its message, any other with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, TestbedError):
        return text
    return f"{type(error).__name__}: {text}"
