"""Starts agents in their namespaces, through two warmed-up parents, and reports agents that end."""

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
# Unanswered requests per parent. Their answers must fit into the parent's socket (212,992 bytes; one takes up 768), or
# parent and launcher would wait for each other: one to write answers, the other to write requests.
MOST_UNANSWERED = 128
SPAWN_TIMEOUT_S = 30.0
DEATH_TIMEOUT_S = 10.0


class LaunchError(TestbedError):
    """The agents' parent, or an agent, did not start or did not end."""


class Launcher:
    """Controls the agents' parents. Call `begin` early: they warm up while the network is being built."""

    def __init__(self, ledger: Ledger, log_path: Path) -> None:
        """Agents' standard error goes to `log_path`; they write only when something goes wrong."""
        self._ledger = ledger
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._devices: Connection | None = None
        self._servers: Connection | None = None
        self._warm: Warm | None = None
        self._awaited: dict[str, Connection] = {}  # requested agents that do not run yet: node, parent
        self._pids: dict[str, int] = {}
        self._parents: dict[str, int] | None = None  # None until `processes` has looked for them
        self._exited: list[Exited] = []

    def begin(self, model: ModelChoice, *, measure_cpu: bool) -> None:
        """Start the parents and let them load the model; with `measure_cpu`, also measure its processor time."""
        self._devices, devices = Pipe()
        self._servers, servers = Pipe()
        numbers = [devices.fileno(), servers.fileno()]
        # A parent must have a single thread when it forks, and the agents share the processors anyway.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # torch creates a cache folder: here, and not under /tmp, where nothing would remove it.
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
            self._ask(parent, LoadModel(model.source, model.cut, model.activation, measure_cpu))

    def wait_warm(self) -> Warm:
        """Wait until the sub-models are loaded; return their costs.

        Raises:
            TestbedError: the model cannot be loaded; the error carries the reason's exit code.
            LaunchError: the parents do not answer, or have ended.
        """
        while self._warm is None:
            self._hear(WARM_UP_TIMEOUT_S)
        return self._warm

    def spawn(self, configs: Iterable[tuple[AgentConfig, str]], *, wait: bool = False) -> None:
        """Request an agent for each (configuration, path of its network namespace); return before the last one runs.

        Devices can be forked before the model is loaded. Up to MOST_UNANSWERED servers can be requested before that;
        with more, this call waits for the model.

        Args:
            configs: the agents.
            wait: agents begin only when `open_gate` is called.

        Raises:
            LaunchError: the parents do not answer, or have ended.
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
        """Wait until all requested agents run; `progress` is called with the number of running agents."""
        while self._awaited:
            self._hear(WARM_UP_TIMEOUT_S)
            progress(len(self._pids))

    def open_gate(self) -> None:
        """Let the waiting agents begin."""
        for parent in (self._servers, self._devices):
            self._ask(parent, OpenGate())

    def kill(self, node: str) -> None:
        """Kill an agent, as a power cut would. When this returns, it is gone and its ports are free.

        Raises:
            LaunchError: the agent does not end in time.
        """
        while node in self._awaited:
            self._hear(SPAWN_TIMEOUT_S)
        pid = self._pids.pop(node, None)
        if pid is None:
            return
        try:
            agent = ProcessHandle(pid)
        except ProcessLookupError:
            return  # it has just ended by itself
        with agent:
            agent.kill()
            if not agent.wait_ended(DEATH_TIMEOUT_S):
                raise LaunchError(f"the agent of {node} was killed and does not end", hint=self.where())

    def processes(self) -> dict[str, int]:
        """Return the process ids of the running agents, by node, and of their parents."""
        if self._parents is None and self._process is not None:  # once: psutil looks at every process here
            self._parents = {"the agents' parent": self._process.pid}
            with suppress(psutil.Error):
                agents = set(self._pids.values())
                children = psutil.Process(self._process.pid).children()
                others = [child.pid for child in children if child.pid not in agents]
                self._parents |= {f"the agents' parent {number}": pid for number, pid in enumerate(others, start=2)}
        return {**self._pids, **(self._parents or {})}

    def running(self) -> list[str]:
        """Return the nodes whose agents are known to run."""
        return list(self._pids)

    def ended(self) -> list[Exited]:
        """Return the agents that have ended since the last call, except those that `kill` ended."""
        self._take_what_is_told()
        exited, self._exited = self._exited, []
        ours = [notice for notice in exited if self._pids.get(notice.node) == notice.pid]
        for notice in ours:
            del self._pids[notice.node]
        return ours

    def why(self) -> str:
        """Return the last line of the agents' log; empty if the log is empty."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def where(self) -> str:
        """Return a hint for people: the last line of the log, and where the rest is."""
        why = self.why()
        return f"{why} (more in {self.log_path})" if why else f"what was recorded is in {self.log_path.parent}"

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` [real s] for all agents to end; True if all have ended."""
        deadline_s = time.monotonic() + timeout_s
        while self._pids and time.monotonic() < deadline_s:
            if not self._speaking(max(0.0, deadline_s - time.monotonic())):
                break
            self.ended()
        return not self._pids

    def stop(self) -> None:
        """End the parents, and with them every remaining agent."""
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
        """Return the parents that have sent something, now or within `timeout_s` [real s]."""
        parents = [each for each in (self._devices, self._servers) if each is not None]
        speaking = wait(parents, timeout_s)
        return [each for each in parents if each in speaking]

    def _take_what_is_told(self) -> None:
        while self._speaking(0.0):
            self._hear(0.0)

    def _hear(self, timeout_s: float) -> None:
        """Take one answer or notice from a parent; wait up to `timeout_s` [real s] for it."""
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
