"""The versions of this project and of the libraries that affect results."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from testbed import __version__

PROJECT = "dtoee-testbed"
_LIBRARIES = ("torch", "numpy", "pyzmq", "mininet", "msgspec")


def versions() -> dict[str, str]:
    """Return the versions of this project, Python and the libraries that affect results, by name."""
    found = {"python": platform.python_version(), PROJECT: __version__}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """Return the git commit of this project's code; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
