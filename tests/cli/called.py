"""Commands as a user gives them, in this process."""

import pytest

from cli.main import main


def exit_code_of(*arguments: str) -> int:
    """Run the command here; returns its exit code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code
