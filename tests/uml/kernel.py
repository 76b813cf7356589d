"""Run commands in a second kernel: user-mode Linux, which has netem and both versions of control groups.

Debian's package user-mode-linux is a kernel (6.1) that is an ordinary program. Booted here, it sees this machine's
files, read-only below a layer in memory, so that no change made inside remains; only one directory is shared. It boots
in a few seconds. It has one processor, ticks at 100 Hz, and starts programs several times as slowly as this machine: do
not test speed there.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULES = Path("/usr/lib/uml/modules")
MEMORY_BYTES = 2 << 30
BOOT_AND_HALT_S = 60.0  # allowed beyond the command's own time, on a busy machine
BARE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
SHOWN_LINES = 30


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a command inside; `returncode` is None if the kernel ended before the command (see `console`)."""

    returncode: int | None
    output: str  # stdout and stderr
    console: str  # the kernel's own messages

    def __str__(self) -> str:
        """The ends of output and console, for a message of failure."""
        lines = [f"exit status {self.returncode} under user-mode Linux"]
        for title, text in (("output", self.output), ("console", self.console)):
            lines += [f"--- end of the {title}", *text.splitlines()[-SHOWN_LINES:]]
        return "\n".join(lines)


def lacking() -> str:
    """The reason why the kernel cannot be booted on this machine; empty if it can."""
    needed = {"linux.uml": "user-mode-linux", "modprobe": "kmod", "cc": "gcc libc6-dev", "unshare": "util-linux"}
    packages = [package for program, package in needed.items() if shutil.which(program) is None]
    if packages:
        return f"user-mode Linux cannot be booted here: apt-get install {' '.join(packages)}"
    if not any(MODULES.glob("*/kernel")):
        return f"user-mode Linux has no modules in {MODULES}"
    return "" if os.geteuid() == 0 else "user-mode Linux must be booted by root, else commands inside are not root"


class Kernel:
    """A kernel that boots, runs one command in the project's directory, and halts, while the caller continues.

    `shared` is an existing directory of this machine, visible inside under the same name; writes inside remain only
    there. After `timeout_s` the command is killed (exit status 124). The environment inside is a bare one plus
    `environment`. `punctual` gives the kernel real-time priority here, if that is allowed, for commands that measure
    time. Leaving the context ends the kernel and everything in it; so does the end of the thread that entered it.
    """

    def __init__(
        self,
        command: Sequence[str],
        shared: Path,
        *,
        timeout_s: float,
        cgroup: Literal["v1", "v2"] = "v2",
        environment: Mapping[str, str] | None = None,
        punctual: bool = False,
    ) -> None:
        """Prepare only; entering the context boots the kernel."""
        self.shared = shared.resolve()
        self._command = command
        self._timeout_s = timeout_s
        self._cgroup = cgroup
        self._environment = {**BARE, **(environment or {})}
        self._punctual = punctual
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Boot the kernel, which runs the command."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self._environment.items()]
        lines += [f"cd {shlex.quote(str(ROOT))} || exit", f"exec {shlex.join(self._command)}", ""]
        (self.shared / "command").write_text("\n".join(lines))
        outside = {**os.environ, "TMPDIR": str(_place_for_memory()), "LD_PRELOAD": str(_shim(self.shared))}
        with (self.shared / "console").open("wb") as console:
            self._process = subprocess.Popen(
                self._boot(), stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=outside,
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the kernel if it still runs."""
        self._end()

    def wait(self) -> Completed:
        """Wait until the kernel has halted, and return the command's result; may be called again."""
        assert self._process is not None, "enter the context first"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._timeout_s + BOOT_AND_HALT_S)
        self._end()
        status, output = self.shared / "status", self.shared / "output"
        said = status.read_text() if status.exists() else ""  # empty if the kernel ended before writing it
        return Completed(
            int(said) if said.strip() else None,
            output.read_text(errors="replace") if output.exists() else "",
            (self.shared / "console").read_text(errors="replace"),
        )

    def run(self) -> Completed:
        """Boot, run the command, halt."""
        with self:
            return self.wait()

    def _boot(self) -> list[str]:
        return [
            # If the caller is killed, so is unshare, and with it the kernel. The kernel is the first process of a
            # process namespace, so that its helper processes end with it; they would outlive it otherwise.
            *_prefix(self._punctual), "setpriv", "--pdeathsig", "KILL",
            "unshare", "--pid", "--fork", "--kill-child", "linux.uml",
            f"mem={MEMORY_BYTES >> 20}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
            f"uml_dir={self.shared}", "con=null", "con0=null,fd:1", "con1=null", "ssl=null",
            f"init={HERE / 'init.sh'}", "--", str(self.shared), self._cgroup, str(self._timeout_s),
        ]  # fmt: skip

    def _end(self) -> None:
        """Kill the kernel and its helpers: see _boot."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _prefix(punctual: bool) -> list[str]:
    """The words that start a program at real-time priority, none if that is not wanted or not allowed.

    With ordinary priority, netem inside is several times as late while other programs run on this machine.
    """
    prefix = ["chrt", "--fifo", "1"]
    allowed = punctual and subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return prefix if allowed else []


def _shim(directory: Path) -> Path:
    """The path of the compiled xsave_shim.c (see there)."""
    shim = directory / "xsave_shim.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, HERE / "xsave_shim.c"], check=True)
    return shim


def _place_for_memory() -> Path:
    """The folder for the file with the kernel's memory (deleted once it is open): a tmpfs with enough room, if any."""
    shm = Path("/dev/shm")
    if shm.is_dir():
        found = os.statvfs(shm)
        if found.f_bavail * found.f_frsize > MEMORY_BYTES and not found.f_flag & os.ST_NOEXEC:
            return shm
    return Path(tempfile.gettempdir())
