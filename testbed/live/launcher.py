"""Starts agents inside their namespaces, by way of two warmed-up parents, and notices when they end."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import assert_never

import msgspec
import psutil

from node_agent.errors import TestbedError
from node_agent.process.agent import AgentConfig
from node_agent.process.children import ProcessHandle
from testbed.host.interpreter import interpreter
from testbed.host.ledger import Ledger
from testbed.live.agent_parents import (
    Exited,
    Failed,
    LoadModel,
    OpenGate,
    Request,
    Running,
    Spawn,
    Spawned,
    Warm,
    answer_decoder,
)
from testbed.scenario import ModelChoice

WARM_UP_TIMEOUT_S = 120.0
# Requests that a parent may have before it: their answers must fit into its socket (212,992 bytes; one takes up 768),
# or it would wait for the launcher to read them, while the launcher waits for it to read requests.
MOST_UNANSWERED = 128
SPAWN_TIMEOUT_S = 30.0
DEATH_TIMEOUT_S = 10.0


class LaunchError(TestbedError):
    """The agents' parent, or an agent, did not start."""


class Launcher:
    """The agents' parents as the experiment sees them. Begin early: they warm up while the network is being built."""

    def __init__(self, ledger: Ledger, log_path: Path) -> None:
        """What agents write to their standard error goes to `log_path`: nothing, unless something went wrong."""
        self._ledger = ledger
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._devices: Connection | None = None
        self._servers: Connection | None = None
        self._warm: Warm | None = None
        self._awaited: dict[str, Connection] = {}  # agents that were asked for, and their parent
        self._pids: dict[str, int] = {}
        self._parents: dict[str, int] | None = None  # once somebody has asked for them
        self._exited: list[Exited] = []

    def begin(self, model: ModelChoice, *, measure_cpu: bool) -> None:
        """Start the parents and have them load the model, and measure its processor time if that is needed."""
        self._devices, devices = Pipe()
        self._servers, servers = Pipe()
        numbers = [devices.fileno(), servers.fileno()]
        # One thread each: the parent must not have more when it forks, and the agents share two cores anyway.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # torch makes a folder for its caches, else under /tmp, where nobody would ever remove it.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self._ledger.directory / "torch")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [interpreter(), "-m", "testbed.live.agent_parents", *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=Path(__file__).resolve().parent.parent,
                start_new_session=True,
            )
        self._ledger.add_process(self._process.pid)
        devices.close()
        servers.close()
        for parent in (self._devices, self._servers):
            self._ask(parent, LoadModel(model.name, model.cut, model.activation, measure_cpu))

    def wait_warm(self) -> Warm:
        """What the sub-models cost, once they are loaded.

        Raises:
            TestbedError: the model cannot be loaded, with the exit code of the reason.
        """
        while self._warm is None:
            self._hear(WARM_UP_TIMEOUT_S)
        return self._warm

    def spawn(self, configs: Iterable[tuple[AgentConfig, str]], *, wait: bool = False) -> None:
        """Have one agent forked for each (configuration, path of its network namespace), without waiting for the last.

        With `wait`, agents begin when the gate is opened. Devices can be had before the model is warm; so can it be
        asked for MOST_UNANSWERED servers, and only with more this waits for the model.
        """
        for config, namespace_path in configs:
            parent = self._devices if config.node.is_device else self._servers
            if parent is None:
                raise LaunchError("the agents' parents have not been started")
            self._take_what_is_told()
            while sum(each is parent for each in self._awaited.values()) >= MOST_UNANSWERED:
                self._hear(WARM_UP_TIMEOUT_S)
            self._awaited[config.node.name] = parent
            self._ask(parent, Spawn(config, namespace_path, wait))

    def wait_spawned(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Until all agents that were asked for run; `progress` is told how many do."""
        while self._awaited:
            self._hear(WARM_UP_TIMEOUT_S)
            progress(len(self._pids))

    def open_gate(self) -> None:
        """Let the agents that wait begin."""
        for parent in (self._servers, self._devices):
            self._ask(parent, OpenGate())

    def kill(self, node: str) -> None:
        """End one agent at once, as a power cut would; it is gone, and its ports are free, when this returns."""
        while node in self._awaited:
            self._hear(SPAWN_TIMEOUT_S)
        pid = self._pids.pop(node, None)
        if pid is None:
            return
        try:
            agent = ProcessHandle(pid)
        except ProcessLookupError:
            return  # it has ended by itself just now
        with agent:
            agent.kill()
            if not agent.wait_ended(DEATH_TIMEOUT_S):
                raise LaunchError(f"the agent of {node} was killed and does not end", hint=self.where())

    def processes(self) -> dict[str, int]:
        """The processes of the agents that run, by node, and of their parents."""
        if self._parents is None and self._process is not None:  # once: it looks at every process of the machine
            self._parents = {"the agents' parent": self._process.pid}
            with suppress(psutil.Error):
                agents = set(self._pids.values())
                children = psutil.Process(self._process.pid).children()
                others = [child.pid for child in children if child.pid not in agents]
                self._parents |= {f"the agents' parent {number}": pid for number, pid in enumerate(others, start=2)}
        return {**self._pids, **(self._parents or {})}

    def running(self) -> list[str]:
        """The nodes whose agents run, as far as is known."""
        return list(self._pids)

    def ended(self) -> list[Exited]:
        """Agents that have ended since the last call, other than by `kill`."""
        self._take_what_is_told()
        exited, self._exited = self._exited, []
        ours = [notice for notice in exited if self._pids.get(notice.node) == notice.pid]
        for notice in ours:
            del self._pids[notice.node]
        return ours

    def why(self) -> str:
        """The last line that agents left in their log; empty if they left none."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def where(self) -> str:
        """Where to read on, and how the log ends."""
        why = self.why()
        return f"{why} (more in {self.log_path})" if why else f"what was recorded is in {self.log_path.parent}"

    def wait_ended(self, timeout_s: float) -> bool:
        """Whether all agents have ended by themselves in time."""
        deadline_s = time.monotonic() + timeout_s
        while self._pids and time.monotonic() < deadline_s:
            if not self._speaking(max(0.0, deadline_s - time.monotonic())):
                break
            self.ended()
        return not self._pids

    def stop(self) -> None:
        """End the parents and with them every agent that is left."""
        for parent in (self._devices, self._servers):
            if parent is not None:
                parent.close()
        self._devices = self._servers = None
        if self._process is not None:
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self.log_path.exists() and not self.log_path.stat().st_size:
            self.log_path.unlink()
        self._pids.clear()

    def _ask(self, parent: Connection | None, request: Request) -> None:
        if parent is None:
            raise LaunchError("the agents' parents have not been started")
        try:
            parent.send_bytes(msgspec.msgpack.encode(request))
        except OSError as error:
            raise self._gone() from error

    def _speaking(self, timeout_s: float) -> list[Connection]:
        """The parents that have something to tell, now or within the time."""
        parents = [each for each in (self._devices, self._servers) if each is not None]
        speaking = wait(parents, timeout_s)
        return [each for each in parents if each in speaking]

    def _take_what_is_told(self) -> None:
        while self._speaking(0.0):
            self._hear(0.0)

    def _hear(self, timeout_s: float) -> None:
        """Take what one of the parents tells."""
        speaking = self._speaking(timeout_s)
        if not speaking:
            raise LaunchError(f"the agents' parent did not answer within {timeout_s:.0f} s", hint=self.where())
        try:
            answer = answer_decoder.decode(speaking[0].recv_bytes())
        except (EOFError, OSError) as error:
            raise self._gone() from error
        match answer:
            case Warm():
                self._warm = answer
            case Failed(message, hint, exit_code):
                failure = TestbedError(message, hint=hint)
                failure.exit_code = exit_code
                raise failure
            case Running(pid):
                self._ledger.add_process(pid)
            case Spawned(node, pid):
                self._pids[node] = pid
                self._ledger.add_process(pid)
                self._awaited.pop(node, None)
            case Exited():
                self._exited.append(answer)
            case _:
                assert_never(answer)

    def _gone(self) -> LaunchError:
        return LaunchError("the agents' parent has ended", hint=self.where())
