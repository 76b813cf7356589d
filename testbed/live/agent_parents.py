"""The warmed-up parents of all agents, one of devices and one of servers, which fork each into its namespace.

Run as `python -m testbed.live.agent_parents FD FD`, each one end of a socket over which the launcher speaks: to the
parent of devices over the first, to that of servers over the second. A forked agent shares the parent's memory and
answers in tens of milliseconds, where a fresh interpreter needs a second and 150 MiB. A parent must have a single
thread when it forks: torch is limited to one, and ZeroMQ's threads start in the child.

Decision: two parents, the servers' forked from the devices', because devices need no torch: they can be forked while it
loads, and forking one takes 1 ms instead of 6, for there is less memory to hand on. Agents may be forked before their
time: they bind their addresses and wait at a gate, which is a pipe in which each of them finds one byte when it opens.
One that finds its end instead has lost its parent; rejected: closing the pipe to open the gate, which a parent that is
killed does, too; and binding behind the gate, where 160 agents that all connected at once turned each other away.
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
from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec import Struct

from node_agent.errors import TestbedError, log_entry
from node_agent.models.bundle import load_bundle
from node_agent.models.tables import ActivationFormat, SubModelProfile
from node_agent.process.agent import Agent, AgentConfig
from node_agent.process.children import end_child, fork
from node_agent.process.linux import die_with_parent, join_namespace
from node_agent.wire import Tensor, TensorForm

if TYPE_CHECKING:
    from node_agent.models.network import SubModel  # needs torch, which the devices' parent does without


class LoadModel(Struct, frozen=True, tag="load"):
    """Request: load this model, cut so."""

    model: str
    cut: tuple[int, ...]
    activation: ActivationFormat
    measure_cpu: bool  # whether `Warm.cpu_s` is needed


class Spawn(Struct, frozen=True, tag="spawn"):
    """Request: fork an agent into the network namespace at this path; with `wait`, it begins when the gate opens."""

    config: AgentConfig
    namespace_path: str
    wait: bool = False


class OpenGate(Struct, frozen=True, tag="open"):
    """Request: let all agents that wait begin."""


class Warm(Struct, frozen=True, tag="warm"):
    """Answer: the model is ready for servers; costs and inputs of the sub-models, that of stage h at index h - 1."""

    profiles: tuple[SubModelProfile, ...]
    input_forms: tuple[TensorForm, ...]
    cpu_s: tuple[float, ...]  # processor time of a lone task; empty unless asked for


class Failed(Struct, frozen=True, tag="failed"):
    """Answer: the model cannot be loaded."""

    message: str
    hint: str
    exit_code: int


class Running(Struct, frozen=True, tag="running"):
    """Notice: the servers' parent is this process."""

    pid: int


class Spawned(Struct, frozen=True, tag="spawned"):
    """Answer: the agent runs as this process."""

    node: str
    pid: int


class Exited(Struct, frozen=True, tag="exited"):
    """Notice: an agent's process has ended, with this status (negative: by that signal)."""

    node: str
    pid: int
    status: int


Request = LoadModel | Spawn | OpenGate
Answer = Warm | Failed | Running | Spawned | Exited

request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
answer_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class AgentParent(ABC):
    """A parent process: answers requests and tells of children that have ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._children: dict[int, str] = {}
        self._gate: tuple[int, int] | None = os.pipe()
        self._waiting = 0  # agents at the gate
        self._failed = False
        # A signal makes the wake-up socket readable, so that the loop below can wait for both.
        self._wake, write = socket.socketpair()
        for end in (self._wake, write):
            end.setblocking(False)
        self._write = write
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)

    @abstractmethod
    def load(self, request: LoadModel) -> Warm | None:
        """Get ready to make agents; what the launcher is told of it."""

    @abstractmethod
    def make(self, config: AgentConfig) -> Agent:
        """In a child: the agent."""

    def tell(self, answer: Answer) -> None:
        """Answer the launcher; one that has gone is noticed by `serve`."""
        with contextlib.suppress(ConnectionError):
            self._connection.send_bytes(msgspec.msgpack.encode(answer))

    def serve(self) -> None:
        """Until the launcher closes its end."""
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
            except (EOFError, ConnectionError):  # the latter, if the launcher has left answers unread
                signal.set_wakeup_fd(-1)  # the socket goes now, and children end later
                return

    def _reap(self) -> None:
        """Tell of agents that have ended. Other children keep their process ids until who made them asks."""
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
                if not self._failed:  # else the launcher, which asks ahead, is about to give up
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
        """In the child: run the agent; returns the status with which the child ends."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            self._wake.close()
            self._write.close()
            join_namespace(request.namespace_path)
            if self._gate is not None:
                os.close(self._gate[1])  # or no agent would find the end of the pipe
            agent = self.make(request.config)
            if self._gate is not None:
                if request.wait and not os.read(self._gate[0], 1):
                    return 0  # the parent has ended
                os.close(self._gate[0])
            agent.run()
        except BaseException as error:
            # At once, for others may fail with it. The last line of the log is what the experiment says of it.
            sys.stderr.write(log_entry(request.config.node.name, error))
            sys.stderr.flush()
            return 1
        return 0


class DeviceParent(AgentParent):
    """The parent of devices, which hold the samples that they offer."""

    def load(self, request: LoadModel) -> None:
        """Read the samples, once for all."""
        self._samples = load_bundle(request.model).evaluation

    def make(self, config: AgentConfig) -> Agent:
        """A device."""
        from node_agent.process.assemble import make_device  # noqa: PLC0415 - not for importers of the message types

        return make_device(config, self._samples)


class ServerParent(AgentParent):
    """The parent of servers, which hold the sub-model of their stage."""

    def load(self, request: LoadModel) -> Warm:
        """Load torch and the sub-models, and measure their processor time if that is asked for."""
        import torch  # noqa: PLC0415 - not for importers of the message types, nor for devices

        from node_agent.process.executor import cpu_s_of_lone_task, inference  # noqa: PLC0415

        torch.set_num_threads(1)
        bundle = load_bundle(request.model)
        self._sub_models: tuple[SubModel, ...] = bundle.sub_models(request.cut)
        self._table = bundle.exit_table(request.cut)
        forms, cpu_s = [], []
        for sub_model in self._sub_models:
            dtype = "uint8" if sub_model.stage == 1 else request.activation
            form = msgspec.convert((dtype, sub_model.input_shape), TensorForm)
            infer = inference(sub_model, request.activation)
            infer(Tensor(form, bytes(form.byte_count)))  # the first one makes what all later ones share
            forms.append(form)
            if request.measure_cpu:
                cpu_s.append(cpu_s_of_lone_task(infer, form))
        return Warm(bundle.profiles(request.cut, request.activation), tuple(forms), tuple(cpu_s))

    def make(self, config: AgentConfig) -> Agent:
        """A server."""
        from node_agent.process.assemble import make_server  # noqa: PLC0415 - as for devices

        return make_server(config, self._sub_models[config.node.stage - 1], self._table)


def main() -> None:
    """Entry point of the child interpreter."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the experiment decides when to end
    devices, servers = (Connection(int(number)) for number in sys.argv[1:3])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a server holds connections to every device
    gc.disable()  # until all is loaded: it would look through torch's modules again and again
    import node_agent.process.assemble  # noqa: F401, PLC0415 - once for all

    def serve_servers() -> int:
        devices.close()
        parent = ServerParent(servers)
        parent.tell(Running(os.getpid()))
        parent.serve()
        return 0

    servers_pid = fork(serve_servers)
    servers.close()
    DeviceParent(devices).serve()
    end_child(servers_pid)  # which may be loading for a while yet; its agents end with it


if __name__ == "__main__":
    main()
