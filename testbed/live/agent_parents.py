"""The two warmed-up parents of all agents, one for devices and one for servers. They fork agents into namespaces.

Run as `python -m testbed.live.agent_parents FD FD`. Each FD is an end of a socket to the launcher: the first for the
parent of devices, the second for the parent of servers. A parent must have a single thread when it forks, so torch is
limited to one, and ZeroMQ's threads start in the child.

Agents may be forked before they are needed. They bind their addresses and wait at a gate: a pipe from which each of
them reads one byte when it opens. An agent that reads the end of the pipe instead has lost its parent.

Decision 063: agents are forked from two warmed-up parents (docs/decisions/063-two-agent-parents.md).
Decision 064: the gate of the agents is a pipe with a byte for each (docs/decisions/064-gate-of-the-agents.md).
"""

import contextlib
import gc
import os
import resource
import selectors
import signal
import socket
import sys
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection
from typing import assert_never

import msgspec
from msgspec import Struct

from node_agent.errors import TestbedError, log_entry
from node_agent.models.data_types import ActivationFormat, SubModelProfile
from node_agent.models.source import ModelSource
from node_agent.process.agent import Agent, AgentConfig
from node_agent.process.children import end_child, fork
from node_agent.process.linux import die_with_parent, join_namespace
from node_agent.wire import InputForm, Tensor


class LoadModel(Struct, frozen=True, tag="load"):
    """Request: load this model with this cut."""

    model: ModelSource
    cut: tuple[int, ...]
    activation: ActivationFormat
    measure_cpu: bool  # whether `Warm.cpu_s` is needed


class Spawn(Struct, frozen=True, tag="spawn"):
    """Request: fork an agent into the network namespace at this path; with `wait`, it waits at the gate."""

    config: AgentConfig
    namespace_path: str
    wait: bool = False


class OpenGate(Struct, frozen=True, tag="open"):
    """Request: let all waiting agents begin."""


class Warm(Struct, frozen=True, tag="warm"):
    """Answer: servers can be forked. Costs and inputs of the sub-models; stage h at index h - 1."""

    profiles: tuple[SubModelProfile, ...]
    input_forms: tuple[InputForm, ...]
    cpu_s: tuple[float, ...]  # processor time of a lone task [s]; empty unless `LoadModel.measure_cpu`


class Failed(Struct, frozen=True, tag="failed"):
    """Answer: the model cannot be loaded."""

    message: str
    hint: str
    exit_code: int


class Running(Struct, frozen=True, tag="running"):
    """Notice: `pid` is the servers' parent."""

    pid: int


class Spawned(Struct, frozen=True, tag="spawned"):
    """Answer: the node's agent runs as process `pid`."""

    node: str
    pid: int


class Exited(Struct, frozen=True, tag="exited"):
    """Notice: an agent's process has ended with this exit status; -N means by signal N."""

    node: str
    pid: int
    status: int


Request = LoadModel | Spawn | OpenGate
Answer = Warm | Failed | Running | Spawned | Exited

request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
answer_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class AgentParent(ABC):
    """A parent process: answers requests and reports children that have ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._children: dict[int, str] = {}
        self._gate: tuple[int, int] | None = os.pipe()
        self._waiting = 0  # agents at the gate
        self._failed = False
        # A signal makes the wake-up socket readable, so `serve` can wait for signals and requests.
        self._wake, write = socket.socketpair()
        for end in (self._wake, write):
            end.setblocking(False)
        self._write = write
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)

    @abstractmethod
    def load(self, request: LoadModel) -> Warm | None:
        """Get ready to make agents; return the answer for the launcher, if it gets one."""

    @abstractmethod
    def make(self, config: AgentConfig) -> Agent:
        """Make the agent; called in the child."""

    def tell(self, answer: Answer) -> None:
        """Send an answer or a notice to the launcher. If the launcher has gone, `serve` notices it."""
        with contextlib.suppress(ConnectionError):
            self._connection.send_bytes(msgspec.msgpack.encode(answer))

    def serve(self) -> None:
        """Serve requests until the launcher closes its end."""
        selector = selectors.DefaultSelector()
        selector.register(self._connection.fileno(), selectors.EVENT_READ)
        selector.register(self._wake, selectors.EVENT_READ)
        while True:
            selector.select()
            try:
                while self._wake.recv(4096):
                    pass
            except BlockingIOError:
                pass
            self._reap()
            try:
                while self._connection.poll():
                    self._meet(request_decoder.decode(self._connection.recv_bytes()))
            except (EOFError, ConnectionError):  # ConnectionError if the launcher left answers unread
                signal.set_wakeup_fd(-1)  # the socket closes now, and children end later
                return

    def _reap(self) -> None:
        """Report agents that have ended. Leave other children unreaped, for the code that started them."""
        for pid, node in tuple(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._children[pid]
                self.tell(Exited(node, pid, os.waitstatus_to_exitcode(status)))

    def _meet(self, request: Request) -> None:
        match request:
            case LoadModel():
                try:
                    answer = self.load(request)
                except TestbedError as error:
                    self._failed = True
                    self.tell(Failed(str(error), error.hint, error.exit_code))
                    return
                gc.enable()
                gc.collect()
                gc.freeze()
                if answer is not None:
                    self.tell(answer)
            case Spawn():
                if not self._failed:  # else the launcher gives up as soon as it reads `Failed`
                    self.tell(Spawned(request.config.node.name, self._fork(request)))
            case OpenGate():
                if self._gate is not None:
                    os.write(self._gate[1], bytes(self._waiting))
                    for end in self._gate:
                        os.close(end)
                    self._gate = None
            case _:
                assert_never(request)

    def _fork(self, request: Spawn) -> int:
        threads = os.listdir("/proc/self/task")
        if len(threads) != 1:
            raise TestbedError(f"the agents' parent has {len(threads)} threads; forking now could block its children")
        pid = fork(lambda: self._become_agent(request))
        self._children[pid] = request.config.node.name
        self._waiting += request.wait
        return pid

    def _become_agent(self, request: Spawn) -> int:
        """Run the agent, in the child; return the child's exit status."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            self._wake.close()
            self._write.close()
            join_namespace(request.namespace_path)
            if self._gate is not None:
                os.close(self._gate[1])  # else no agent would ever read the end of the pipe
            agent = self.make(request.config)
            if self._gate is not None:
                if request.wait and not os.read(self._gate[0], 1):
                    return 0  # the parent has ended
                os.close(self._gate[0])
            agent.run()
        except BaseException as error:
            # Write at once, since other agents may fail next. The experiment reports the last line of the log.
            sys.stderr.write(log_entry(request.config.node.name, error))
            sys.stderr.flush()
            return 1
        return 0


class DeviceParent(AgentParent):
    """The parent of devices. Devices hold the evaluation samples that they offer."""

    def load(self, request: LoadModel) -> None:
        """Read the samples; all devices share them."""
        self._inputs = request.model.open().inputs(request.cut, request.activation)

    def make(self, config: AgentConfig) -> Agent:
        """Make a device's agent."""
        from node_agent.process.assemble import make_device  # noqa: PLC0415 - not for importers of the message types

        return make_device(config, self._inputs)


class ServerParent(AgentParent):
    """The parent of servers. A server holds the sub-model of its stage."""

    def load(self, request: LoadModel) -> Warm:
        """Load the sub-models, with torch if they need it; measure their processor time if the request says so."""
        from node_agent.process.executor import cpu_s_of_lone_task, inference  # noqa: PLC0415

        model, choice = request.model.open(), (request.cut, request.activation)
        self._sub_models = model.sub_models(*choice)
        if "torch" in sys.modules:
            import torch  # noqa: PLC0415 - only if the model is a network

            torch.set_num_threads(1)
        self._table = model.exit_table(request.cut)
        cpu_s = []
        for sub_model in self._sub_models:
            form = sub_model.input_form.usual
            infer = inference(sub_model)
            infer(Tensor(form, bytes(form.byte_count)))  # the first call allocates memory that all children share
            if request.measure_cpu:
                cpu_s.append(cpu_s_of_lone_task(infer, form))
        return Warm(model.profiles(*choice), model.input_forms(*choice), tuple(cpu_s))

    def make(self, config: AgentConfig) -> Agent:
        """Make a server's agent."""
        from node_agent.process.assemble import make_server  # noqa: PLC0415 - as for devices

        return make_server(config, self._sub_models[config.node.stage - 1], self._table)


def main() -> None:
    """Entry point of the child interpreter."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the experiment decides when to end
    devices, servers = (Connection(int(number)) for number in sys.argv[1:3])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a server holds connections to every device
    gc.disable()  # until the model is loaded: collections would scan torch's modules again and again
    import node_agent.process.assemble  # noqa: F401, PLC0415 - here, so that all children share it

    def serve_servers() -> int:
        devices.close()
        parent = ServerParent(servers)
        parent.tell(Running(os.getpid()))
        parent.serve()
        return 0

    servers_pid = fork(serve_servers)
    servers.close()
    DeviceParent(devices).serve()
    end_child(servers_pid)  # it may still be loading; its agents end with it


if __name__ == "__main__":
    main()
