"""The closing lines of setup.sh: the installed versions, and the delay backend that this kernel has."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version

from testbed.network.delays.netem_delay import NetemDelay


def lines() -> list[str]:
    """A line for each thing, name first."""
    second_kernel = "installed" if shutil.which("linux.uml") else "not installed (only tests need it)"
    found = {
        "python": f"{platform.python_version()} ({sys.prefix})",
        "torch": _torch(),
        "mininet": _mininet(),
        "netem": _netem(),
        "second kernel": second_kernel,
    }
    return [f"{name:<14} {detail}" for name, detail in found.items()]


def _torch() -> str:
    try:
        import torch  # noqa: PLC0415
    except (ImportError, OSError) as error:
        return f"cannot be imported: {error}"
    cuda = torch.version.cuda
    return f"{torch.__version__}, " + (f"with CUDA {cuda}, which is never used" if cuda else "CPU build")


def _mininet() -> str:
    try:
        number = version("mininet")
    except PackageNotFoundError:
        return "not installed"
    return number if shutil.which("mnexec") else f"{number}, but its program mnexec is missing"


def _netem() -> str:
    if os.geteuid() != 0:
        return "not tried without root; `dtoee-testbed doctor` tries it"
    return "in this kernel" if NetemDelay.trial().works else "not in this kernel: delays run in user space"


if __name__ == "__main__":
    print("installed:", *lines(), sep="\n    ")
