"""The warmed-up parent of all agents: it loads torch and the model once, then forks each agent into its namespace.

Run as `python -m testbed.nursery FD`, with FD one end of a socket over which the launcher speaks. A forked agent shares
the parent's memory and answers in tens of milliseconds, where a fresh interpreter needs a second and 150 MiB.
The parent must have a single thread when it forks: torch is limited to one, and ZeroMQ's threads start in the child.
"""

import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from node_agent.agent import AgentConfig
from node_agent.errors import TestbedError
from node_agent.lifeline import die_with_parent
from node_agent.models.tables import ActivationFormat, SubModelProfile
from node_agent.wire import TensorForm

if TYPE_CHECKING:
    from node_agent.models.bundle import Bundle
    from node_agent.models.network import SubModel

_CLONE_NEWNET = 0x40000000


class LoadModel(Struct, frozen=True, tag="load"):
    """Request: load this model, cut so."""

    model: str
    cut: tuple[int, ...]
    activation: ActivationFormat
    measure_cpu: bool  # whether `Warm.cpu_s` is needed


class Spawn(Struct, frozen=True, tag="spawn"):
    """Request: fork an agent into the network namespace at this path."""

    config: AgentConfig
    namespace_path: str


class Warm(Struct, frozen=True, tag="warm"):
    """Answer: the model is ready; what each stage costs and takes."""

    profiles: tuple[SubModelProfile, ...]
    input_forms: tuple[TensorForm, ...]
    cpu_s: tuple[float, ...]  # processor time of a lone task, per stage, if asked for


class Failed(Struct, frozen=True, tag="failed"):
    """Answer: the model cannot be loaded."""

    message: str
    hint: str
    exit_code: int


class Spawned(Struct, frozen=True, tag="spawned"):
    """Answer: the agent runs as this process."""

    node: str
    pid: int


class Exited(Struct, frozen=True, tag="exited"):
    """Notice: an agent's process has ended, with this status (negative: by that signal)."""

    node: str
    pid: int
    status: int


Request = LoadModel | Spawn
Answer = Warm | Failed | Spawned | Exited

request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
answer_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class Nursery:
    """The parent process: answers requests and tells of children that have ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._children: dict[int, str] = {}
        self._bundle: Bundle | None = None
        self._sub_models: tuple[SubModel, ...] = ()
        self._cut: tuple[int, ...] = ()
        # A signal makes the wake-up socket readable, so that the loop below can wait for both.
        self._wake, write = socket.socketpair()
        for end in (self._wake, write):
            end.setblocking(False)
        self._write = write
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)

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
            while self._connection.poll():
                try:
                    request = request_decoder.decode(self._connection.recv_bytes())
                except EOFError:
                    return
                self._meet(request)

    def _tell(self, answer: Answer) -> None:
        self._connection.send_bytes(msgspec.msgpack.encode(answer))

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            node = self._children.pop(pid, None)
            if node is not None:
                self._tell(Exited(node, pid, os.waitstatus_to_exitcode(status)))

    def _meet(self, request: Request) -> None:
        match request:
            case LoadModel():
                try:
                    self._tell(self._load(request))
                except TestbedError as error:
                    self._tell(Failed(str(error), error.hint, error.exit_code))
            case Spawn(config, namespace_path):
                self._tell(Spawned(config.node.name, self._fork(config, namespace_path)))

    def _load(self, request: LoadModel) -> Warm:
        import torch  # noqa: PLC0415 - not for importers of the message types

        from node_agent.compute import cpu_s_of_lone_task, inference  # noqa: PLC0415
        from node_agent.models.bundle import load_bundle  # noqa: PLC0415
        from node_agent.models.cost import profile  # noqa: PLC0415

        torch.set_num_threads(1)
        self._bundle = load_bundle(request.model)
        self._cut = request.cut
        self._sub_models = self._bundle.sub_models(request.cut)
        profiles = profile(self._sub_models, request.activation)
        forms = []
        for sub_model in self._sub_models:
            dtype = "uint8" if sub_model.stage == 1 else request.activation
            forms.append(msgspec.convert((dtype, sub_model.input_shape), TensorForm))
        cpu_s: tuple[float, ...] = ()
        if request.measure_cpu:
            infers = [inference(sub_model, request.activation) for sub_model in self._sub_models]
            cpu_s = tuple(cpu_s_of_lone_task(infer, form) for infer, form in zip(infers, forms, strict=True))
        self._bundle.evaluation  # noqa: B018 - read once here, shared by all devices
        gc.collect()
        gc.freeze()
        return Warm(profiles, tuple(forms), cpu_s)

    def _fork(self, config: AgentConfig, namespace_path: str) -> int:
        threads = os.listdir("/proc/self/task")
        if len(threads) != 1:
            raise TestbedError(f"the agents' parent has {len(threads)} threads; forking now could block its children")
        pid = os.fork()
        if pid == 0:
            self._become_agent(config, namespace_path)
        self._children[pid] = config.node.name
        return pid

    def _become_agent(self, config: AgentConfig, namespace_path: str) -> None:
        """In the child: never returns."""
        status = 1
        try:
            die_with_parent()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            self._wake.close()
            self._write.close()
            join_namespace(namespace_path)
            self._run_agent(config)
            status = 0
        except BaseException:
            print(f"--- {config.node.name}", file=sys.stderr)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _run_agent(self, config: AgentConfig) -> None:
        from node_agent.assemble import make_device, make_server  # noqa: PLC0415 - loads ZeroMQ

        if self._bundle is None:
            raise TestbedError("an agent was asked for before its model")
        if config.node.is_device:
            agent = make_device(config, self._bundle.evaluation)
        else:
            agent = make_server(config, self._sub_models[config.node.stage - 1], self._bundle.exit_table(self._cut))
        agent.run()


def join_namespace(path: str) -> None:
    """Move this process into the network namespace at `path`; OSError if that is not allowed or it is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {path}")
    finally:
        os.close(fd)


def main() -> None:
    """Entry point of the child interpreter."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the experiment decides when to end
    Nursery(Connection(int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
