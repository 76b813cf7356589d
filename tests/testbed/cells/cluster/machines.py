"""A real Dask scheduler with real workers, as programs of their own; on request each in a network of its own."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[4]
DASK = str(Path(sys.executable).with_name("dask"))
START_TIMEOUT_S = 60.0
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def command(*arguments: object, prefix: Sequence[str] = ()) -> list[str]:
    """The words that start `dtoee-testbed` with these arguments."""
    return [*prefix, sys.executable, "-c", "from cli.main import main; main()", *map(str, arguments)]


def compare(*arguments: object, prefix: Sequence[str] = (), cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `compare` with --simulate to its end."""
    return subprocess.run(
        command("compare", *arguments, "--simulate", prefix=prefix),
        cwd=cwd, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def free_port() -> int:
    """A port of the loopback interface that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machines:
    """A scheduler and its workers; `keys` None lets them speak plain TCP."""

    def __init__(self, folder: Path, keys: Path | None, host: str = "127.0.0.1", prefix: Sequence[str] = ()) -> None:
        """Start the scheduler at `host`; `prefix` are the words that enter its network."""
        self._folder = folder
        self.keys = keys
        self.workers: list[psutil.Process] = []
        self.url = f"{self._protocol}://{host}:{free_port()}"
        port = self.url.rpartition(":")[2]
        options = ["--host", host, "--port", port, "--protocol", self._protocol, "--no-dashboard"]
        options += ["--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", [*options, *self._tls(self.keys, "scheduler")], prefix)
        self._wait_for("scheduler", "Scheduler at:", 1)

    @property
    def _protocol(self) -> str:
        return "tls" if self.keys else "tcp"

    def _tls(self, keys: Path | None, role: str) -> list[str]:
        if keys is None:
            return []
        return [
            "--tls-ca-file", str(keys / "ca.pem"),
            "--tls-cert", str(keys / f"{role}.pem"), "--tls-key", str(keys / f"{role}-key.pem"),
        ]  # fmt: skip

    def start_worker(
        self, *options: str, prefix: Sequence[str] = (), wait: bool = True, keys: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> psutil.Process:  # fmt: skip
        """Start a `dask worker` with one thread; `keys` are others than those of the scheduler."""
        name = f"worker-{len(self.workers) + 1}"
        (self._folder / name).mkdir()
        words = [self.url, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        words += ["--local-directory", str(self._folder / name), *self._tls(keys or self.keys, "worker"), *options]
        worker = self._start("worker", words, prefix, name, environment)
        self.workers.append(worker)
        if wait:
            self._wait_for(name, "Registered to:", 1)
        return worker

    def _start(
        self, kind: str, options: Sequence[str], prefix: Sequence[str], name: str = "",
        environment: dict[str, str] | None = None,
    ) -> psutil.Process:  # fmt: skip
        with (self._folder / f"{name or kind}.log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, DASK, kind, *options], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **THREADS, **(environment or {})}, start_new_session=True,
            )  # fmt: skip
        return psutil.Process(process.pid)

    def log(self, name: str) -> str:
        """The log of `scheduler` or `worker-NUMBER`."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def _wait_for(self, name: str, text: str, count: int) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self.log(name).count(text) < count:
            assert time.monotonic() < deadline_s, self.log(name)
            time.sleep(0.05)

    def kill(self, worker: psutil.Process) -> list[psutil.Process]:
        """Kill a worker and its nanny as if its machine were lost; return the processes that it had."""
        family = [worker, *worker.children(recursive=True)]
        for process in family:
            if any("dask" in word or "spawn_main" in word for word in process.cmdline()):
                process.kill()
        return family

    def close(self) -> None:
        """End all processes, and wait until they have ended."""
        family = [child for top in (*self.workers, self.scheduler) if top.is_running()
                  for child in (top, *top.children(recursive=True))]  # fmt: skip
        for top in (*self.workers, self.scheduler):
            if top.is_running():
                top.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=15)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)


@contextmanager
def machines(
    folder: Path, keys: Path | None, host: str = "127.0.0.1", prefix: Sequence[str] = ()
) -> Iterator[Machines]:
    """`Machines` for the time of the `with` block, with their files in `folder`."""
    folder.mkdir(exist_ok=True)
    found = Machines(folder, keys, host, prefix)
    try:
        yield found
    finally:
        found.close()


def inside(network: str) -> list[str]:
    """The words that start a program in a network namespace."""
    return ["ip", "netns", "exec", network]


@contextmanager
def networks(count: int) -> Iterator[list[str]]:
    """Namespaces that are joined by links: the first has the address 10.77.N.1 on its link to the N-th of the others.

    The N-th other namespace has the address 10.77.N.2, and a route to all addresses through the first.
    """
    names = [f"dtoee-test-{os.getpid()}-{number}" for number in range(count)]
    made: list[str] = []
    try:
        for name in names:
            _ip(f"netns add {name}")
            made.append(name)
            _ip(f"-n {name} link set lo up")
        for number, name in enumerate(names[1:], start=1):
            _ip(f"-n {names[0]} link add to-{number} type veth peer name eth0 netns {name}")
            _ip(f"-n {names[0]} address add 10.77.{number}.1/24 dev to-{number}")
            _ip(f"-n {names[0]} link set to-{number} up")
            _ip(f"-n {name} address add 10.77.{number}.2/24 dev eth0")
            _ip(f"-n {name} link set eth0 up")
            _ip(f"-n {name} route add default via 10.77.{number}.1")
        subprocess.run([*inside(names[0]), "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        yield names
    finally:
        for name in made:
            _ip(f"netns delete {name}")


def _ip(words: str) -> None:
    subprocess.run(["ip", *shlex.split(words)], check=True)
