"""Starts agents inside their namespaces, by way of one warmed-up parent, and notices when they end."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import msgspec

from node_agent.agent import AgentConfig
from node_agent.errors import TestbedError
from testbed.ledger import Ledger
from testbed.nursery import Answer, Exited, Failed, LoadModel, Request, Spawn, Spawned, Warm, answer_decoder
from testbed.scenario import ModelChoice

WARM_UP_TIMEOUT_S = 120.0
SPAWN_TIMEOUT_S = 30.0


class LaunchError(TestbedError):
    """The agents' parent, or an agent, did not start."""


class Launcher:
    """The agents' parent as the experiment sees it. Begin early: it warms up while the network is being built."""

    def __init__(self, ledger: Ledger, log_path: Path) -> None:
        """What agents write to their standard error goes to `log_path`: nothing, unless something went wrong."""
        self._ledger = ledger
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._pids: dict[str, int] = {}
        self._exited: list[Exited] = []

    def begin(self, model: ModelChoice, *, measure_cpu: bool) -> None:
        """Start the parent and have it load the model, and measure its processor time if that is needed."""
        self._connection, child = Pipe()
        # One thread each: the parent must not have more when it forks, and the agents share two cores anyway.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # torch makes a folder for its caches, else under /tmp, where nobody would ever remove it.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self._ledger.directory / "torch")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "testbed.nursery", str(child.fileno())],
                pass_fds=[child.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=Path(__file__).resolve().parent.parent,
                start_new_session=True,
            )
        self._ledger.add_process(self._process.pid)
        child.close()
        self._ask(LoadModel(model.name, model.cut, model.activation, measure_cpu))

    def wait_warm(self) -> Warm:
        """What the sub-models cost, once they are loaded.

        Raises:
            TestbedError: the model cannot be loaded, with the exit code of the reason.
        """
        answer = self._answer(WARM_UP_TIMEOUT_S)
        if isinstance(answer, Failed):
            error = TestbedError(answer.message, hint=answer.hint)
            error.exit_code = answer.exit_code
            raise error
        if not isinstance(answer, Warm):
            raise LaunchError(f"the agents' parent answered {answer!r} where the model was asked for")
        return answer

    def spawn(self, configs: list[tuple[AgentConfig, str]]) -> None:
        """Fork one agent for each (configuration, path of its network namespace)."""
        for config, namespace_path in configs:
            self._ask(Spawn(config, namespace_path))
        awaited = {config.node.name for config, _ in configs}
        while awaited:
            answer = self._answer(SPAWN_TIMEOUT_S)
            if isinstance(answer, Exited):
                self._exited.append(answer)
            elif isinstance(answer, Spawned):
                self._pids[answer.node] = answer.pid
                self._ledger.add_process(answer.pid)
                awaited.discard(answer.node)

    def kill(self, node: str) -> None:
        """End one agent at once, as a power cut would."""
        pid = self._pids.pop(node, None)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def ended(self) -> list[Exited]:
        """Agents that have ended since the last call, other than by `kill`."""
        while self._connection is not None and self._connection.poll():
            answer = self._answer(0)
            if isinstance(answer, Exited):
                self._exited.append(answer)
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
            if self._connection is None or not self._connection.poll(max(0.0, deadline_s - time.monotonic())):
                break
            self.ended()
        return not self._pids

    def stop(self) -> None:
        """End the parent and with it every agent that is left."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
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

    def _ask(self, request: Request) -> None:
        if self._connection is None:
            raise LaunchError("the agents' parent has not been started")
        self._connection.send_bytes(msgspec.msgpack.encode(request))

    def _answer(self, timeout_s: float) -> Answer:
        try:
            if self._connection is None or not self._connection.poll(timeout_s):
                raise LaunchError(f"the agents' parent did not answer within {timeout_s:.0f} s", hint=self.where())
            return answer_decoder.decode(self._connection.recv_bytes())
        except (EOFError, ConnectionError) as error:
            raise LaunchError("the agents' parent has ended unexpectedly", hint=self.where()) from error
