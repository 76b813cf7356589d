"""The programs and Python packages that runs use."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError, version

from node_agent.errors import EnvironmentLacking
from node_agent.models.packages import LANGUAGE, LANGUAGE_HINT, WORDNET_NOUNS, WORDNET_PACKAGE, installed_version
from testbed.doctor.finding import Finding, needed, useful
from testbed.host.interpreter import interpreter

OLDEST_PYTHON = (3, 11)
TORCH_TIMEOUT_S = 120
VERSION_TIMEOUT_S = 5
VERSION_NUMBER = re.compile(r"\d+(?:\.\d+)+")

# Program: the option that prints its version, its Debian package, its use in a run.
PROGRAMS = {
    "mnexec": ("-v", "mininet", "starts programs inside the nodes' namespaces"),
    "ip": ("-V", "iproute2", "makes interfaces and addresses"),
    "tc": ("-V", "iproute2", "sets the links' rates"),
    "bridge": ("-V", "iproute2", "sets up switches"),
    "bash": ("--version", "bash", "is the shell that keeps each node's namespace"),
    "unshare": ("--version", "util-linux", "makes the throw-away namespaces in which the kernel is tried"),
}
# Import name: package. Mininet and torch have findings of their own.
PACKAGES = {
    "click": "click", "matplotlib": "matplotlib", "msgspec": "msgspec", "numpy": "numpy", "psutil": "psutil",
    "pydantic": "pydantic", "yaml": "PyYAML", "rich": "rich", "safetensors": "safetensors", "scipy": "scipy",
    "zmq": "pyzmq",
}  # fmt: skip
SET_UP = "./setup.sh, or pip install --editable ."


def python() -> Finding:
    """The Python interpreter and its version."""
    trouble = "" if sys.version_info >= OLDEST_PYTHON else f"{platform.python_version()} is too old"
    return needed(
        "python",
        trouble,
        f"{platform.python_version()} ({sys.executable})",
        remedy="install Python 3.11 or later and create the environment again (./setup.sh)",
        means="nothing runs",
    )


def programs() -> list[Finding]:
    """Each program on PATH, with its version."""
    found = []
    for program, (option, package, use) in PROGRAMS.items():
        path = shutil.which(program)
        good = "" if path is None else f"{path} {_version_of(path, option)}".rstrip()
        trouble = "" if path else "not found on PATH"
        found.append(
            needed(program, trouble, good, remedy=f"apt-get install {package}", means=f"it {use}: no run without")
        )
    return found


def _version_of(path: str, option: str) -> str:
    try:
        done = subprocess.run(
            [path, option], capture_output=True, text=True, check=False, timeout=VERSION_TIMEOUT_S, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    number = VERSION_NUMBER.search(done.stdout + done.stderr)
    return number.group() if number else ""


def mininet() -> Finding:
    """Mininet's Python module, by importing it."""
    name = "mininet (Python)"
    try:
        import mininet.net  # noqa: F401, PLC0415
    except ImportError as error:
        return Finding(name, "missing", str(error), "pip install mininet setuptools", "no network can be built")
    try:
        return Finding(name, "ok", version("mininet"))
    except PackageNotFoundError:
        return Finding(name, "ok", "installed outside pip")


def packages() -> Finding:
    """All other Python packages, by looking for them."""
    missing = [package for name, package in PACKAGES.items() if importlib.util.find_spec(name) is None]
    return needed(
        "Python packages",
        f"not installed: {', '.join(missing)}" if missing else "",
        f"{len(PACKAGES)} of {len(PACKAGES)}",
        remedy=SET_UP,
        means="runs, comparisons or plots fail",
    )


def language_models() -> Finding:
    """The packages and texts of the language models, by looking for them."""
    missing = [f"{name} {wanted}" for name, wanted in LANGUAGE.items() if installed_version(name) != wanted]
    missing += [] if WORDNET_NOUNS.exists() else [WORDNET_PACKAGE]
    return useful(
        "language models",
        f"not installed: {', '.join(missing)}" if missing else "",
        f"{len(LANGUAGE) + 1} of {len(LANGUAGE) + 1} packages",
        remedy=LANGUAGE_HINT,
        means="smollm does not run, and the language models cannot be trained",
    )


class TorchTrial:
    """Imports torch in a process of its own, during the rest of the examination: it takes the longest."""

    def __init__(self) -> None:
        self._finding = Finding("torch", "missing", "the trial did not end", SET_UP, "no sub-model can run")
        self._thread = threading.Thread(target=self._try, daemon=True)
        self._thread.start()

    def finding(self) -> Finding:
        """Wait for the import to end, and return its finding."""
        self._thread.join()
        return self._finding

    def _try(self) -> None:
        good = trouble = ""
        try:
            command = [interpreter(), "-c", "import torch; print(torch.__version__)"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TORCH_TIMEOUT_S)
            good = done.stdout.strip()
            if done.returncode != 0:
                trouble = (done.stderr.strip().splitlines() or ["import failed"])[-1]
        except subprocess.TimeoutExpired:
            trouble = f"import takes more than {TORCH_TIMEOUT_S} s"
        except EnvironmentLacking as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"{sys.executable} cannot be run: {error.strerror}"
        self._finding = needed("torch", trouble, good, remedy="pip install torch", means="no sub-model can run")
