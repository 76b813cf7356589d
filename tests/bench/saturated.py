"""A saturated server that nothing paces: tasks/s of a real agent against a bare PyTorch loop over its sub-model.

The agent is a process of its own with a sub-model. This process plays its neighbours over real ZeroMQ: the one before,
which always has tasks waiting there, the device that receives the answers, and the server behind, which takes over
tasks that continue. They share the processors with the agent. While the bare loop runs, this process therefore computes
for the same share of the time that playing them took.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import zmq

from node_agent.models.bundles.loading import load_bundle
from node_agent.models.data_types import ActivationFormat
from node_agent.models.tensors import as_array
from node_agent.process.agent import AgentConfig
from node_agent.process.transport import Transport
from node_agent.records import Ready, Start, Stop
from node_agent.wire import Ack, Message, Probe, ProbeAck, Result, Task, Tensor, decode, encode
from testbed.live.agent_configs import agent_configs, stated_costs
from testbed.live.telemetry import Telemetry
from testbed.topology import resolve_text
from tests.bench.city.parts import watched
from tests.bench.table import POSITIVE, Row, row
from tests.node_agent.process.addresses import fresh_address

UNPACED = """
name: unpaced
model: {{name: {model}, cut: {cut}, activation: {activation}}}
policy: {{name: computing-first, parameters: {{threshold: 0.8}}}}
slot: 5 s
duration: 60 s
devices: {{cam: {{rate: 1 /s}}}}
servers:
  near: {{stage: 1, capacity: 90000 GFLOP/s}}
  mid: {{stage: 2, capacity: 90000 GFLOP/s}}
  far: {{stage: 3, capacity: 90000 GFLOP/s}}
links:
  - {{from: cam, to: near, rate: 1 Gbit/s, delay: 1 ms}}
  - {{from: near, to: mid, rate: 1 Gbit/s, delay: 1 ms}}
  - {{from: mid, to: far, rate: 1 Gbit/s, delay: 1 ms}}
"""
NODES = ("cam", "near", "mid", "far")  # by stage
ROUNDS = 4
PATIENCE_S = 10.0  # for what is at the server to end
RATIO = (POSITIVE[0], 1.3)  # the agent's sub-model takes a fifth less than PyTorch's own loop, and messages come on top
SLICE_S = 0.002  # of the load beside the bare loop: about what comes in between two waits of the neighbours


@dataclass(frozen=True, slots=True)
class Subject:
    """A sub-model of a model in three stages, and how it is measured."""

    model: str
    cut: tuple[int, int, int]
    stage: int
    activation: ActivationFormat = "float16"
    waiting: int = 24  # tasks at the server, all the time
    samples: int = 24  # different inputs, which agent and bare loop take in turn
    round_s: float = 2.0

    def tensors(self) -> list[Tensor]:
        """The inputs of the stage: samples, or the activations of the stages before it."""
        bundle = load_bundle(self.model)
        inputs = bundle.inputs(self.cut, self.activation)
        tensors = [inputs.tensor(number) for number in range(self.samples)]
        for sub_model in bundle.sub_models(self.cut, self.activation)[: self.stage - 1]:
            answers = map(sub_model.infer, tensors)
            tensors = [answer.activation for answer in answers if answer.activation is not None]
        return tensors


class Neighbours:
    """The device, the node before the agent and the server behind it."""

    def __init__(self, configs: dict[str, AgentConfig], subject: Subject) -> None:
        """The agent serves the subject."""
        stage = subject.stage
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._server, self._before = NODES[stage], NODES[stage - 1]
        self._transports = {
            name: Transport(
                self._context,
                name,
                configs[name].address,
                {"data": {self._server: configs[self._server].address}} if name == self._before else {},
            )
            for name in {NODES[0], *NODES[stage - 1 : stage + 2]} - {self._server}
        }
        self._sockets = [transport.sockets["data"] for transport in self._transports.values()]
        self._tensors, self._waiting = subject.tensors(), subject.waiting
        self._sent = self.ended = 0
        self._offering = True

    def offer(self) -> None:
        """Offer a further task."""
        tensor = self._tensors[self._sent % len(self._tensors)]
        task = Task(self._sent, NODES[0], 1, 1, 0.0, (), tensor.form)
        self._transports[self._before].send(self._server, "data", encode(task, tensor))
        self._sent += 1

    def play(self, seconds: float) -> None:
        """Answer each message, and offer a task for each one that has ended or moved to the next stage."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            zmq.select(self._sockets, [], [], 0.05)
            for transport in self._transports.values():
                for peer, frames in transport.receive_all("data", 64):
                    self._answer(transport, peer, decode(frames)[0])

    def _answer(self, transport: Transport, peer: str, message: Message) -> None:
        match message:
            case Probe(sequence):
                transport.send(peer, "data", encode(ProbeAck(sequence, time.monotonic())))
            case Task(task_id, _, _, sequence):
                transport.send(peer, "data", encode(Ack(task_id, sequence, 0.0, 1)))
                self._go_on()
            case Result():
                self._go_on()

    def _go_on(self) -> None:
        self.ended += 1
        if self._offering:
            self.offer()

    def pause(self) -> None:
        """Offer nothing until the server has nothing left."""
        self._offering = False
        until_s = time.monotonic() + PATIENCE_S
        while self.ended < self._sent:
            if time.monotonic() > until_s:
                raise RuntimeError(f"{self._sent - self.ended} tasks have got lost")
            self.play(0.1)

    def resume(self) -> None:
        """As before the pause."""
        self._offering = True
        for _ in range(self._waiting):
            self.offer()
        self.play(0.2)

    def close(self) -> None:
        """Leave."""
        for transport in self._transports.values():
            transport.close()
        self._context.term()


def _serve(config: AgentConfig, subject: Subject) -> None:
    """The agent's process."""
    import torch

    from node_agent.process.assemble import make_server

    torch.set_num_threads(1)
    bundle, index = load_bundle(subject.model), subject.stage - 1
    sub_model = bundle.sub_models(subject.cut, subject.activation)[index]
    make_server(config, sub_model, bundle.exit_table(subject.cut)).run()


def _loop(pipe: Connection, subject: Subject) -> None:
    """The rival's process: asked for a number of seconds of the bare loop, it answers with tasks/s."""
    import torch

    from node_agent.models.networks.scoring import input_array

    torch.set_num_threads(1)
    network, cut, stage = load_bundle(subject.model).network(), subject.cut, subject.stage
    first, last = (0, *cut)[stage - 1] + 1, cut[stage - 1]
    body, head = torch.nn.Sequential(*map(network.part, range(first, last + 1))), network.head(last)
    arrays = [as_array(tensor) for tensor in subject.tensors()]
    inputs = [input_array(array[None] if network.input.varies else array) for array in arrays]
    while (seconds := pipe.recv()) is not None:
        done, began_s = 0, time.monotonic()
        with torch.inference_mode():
            while time.monotonic() < began_s + seconds:
                logits = head(body(inputs[done % len(inputs)]))
                torch.softmax(logits[0], dim=0).max(dim=0)
                done += 1
        pipe.send(done / (time.monotonic() - began_s))


def _compute(share: float, seconds: float) -> None:
    """Keep a processor busy for this share of the time."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began_s = time.thread_time()
        while time.thread_time() < began_s + share * SLICE_S:
            pass
        time.sleep((1 - share) * SLICE_S)


@contextmanager
def saturated_server(subject: Subject, times: Connection | None = None) -> Iterator[Neighbours]:
    """The agent at work, with as many tasks waiting as it shall have.

    Given `times`, it runs with clocks, and puts the times of its parts into this pipe when it ends.
    """
    text = UNPACED.format(model=subject.model, cut=list(subject.cut), activation=subject.activation)
    scenario, server = resolve_text(text), NODES[subject.stage]
    warm = stated_costs(load_bundle(subject.model), scenario.model)
    addresses = {name: fresh_address() for name in scenario.node_names}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, Telemetry(Path(folder)) as room:
        configs = agent_configs(
            scenario, [], warm, address=addresses.__getitem__, telemetry=room.endpoint, quota_procs_paths={}
        )
        neighbours = Neighbours(configs, subject)
        arguments = (configs[server], subject)
        agent = (
            spawn.Process(target=_serve, args=arguments)
            if times is None
            else spawn.Process(target=watched, args=(_serve, times, *arguments))
        )
        agent.start()
        try:
            while not any(isinstance(record, Ready) for record in room.listen(0.0)):
                neighbours.play(0.1)
            room.tell(server, Start(time.monotonic()))
            neighbours.resume()
            neighbours.play(1.0)  # warms up
            yield neighbours
        finally:
            room.tell(server, Stop())
            agent.join(5.0)
            neighbours.close()


def compared(subject: Subject, what: str, least: float) -> Iterator[Row]:
    """Agent and bare loop in turn, several times; `what` names the server, `least` is the goal of the ratio."""
    spawn = multiprocessing.get_context("spawn")
    pipe, loop_pipe = spawn.Pipe()
    loop = spawn.Process(target=_loop, args=(loop_pipe, subject))
    loop.start()
    loop_pipe.close()  # else a rival that has failed would be waited for
    bare, served, shares = [], [], []
    with saturated_server(subject) as neighbours:
        for _ in range(ROUNDS):
            before, began_s, began_cpu_s = neighbours.ended, time.monotonic(), time.process_time()
            neighbours.play(subject.round_s)
            took_s = time.monotonic() - began_s
            served.append((neighbours.ended - before) / took_s)
            shares.append(min(1.0, (time.process_time() - began_cpu_s) / took_s))
            neighbours.pause()
            pipe.send(subject.round_s)
            _compute(shares[-1], subject.round_s)
            bare.append(float(pipe.recv()))
            neighbours.resume()
    pipe.send(None)
    loop.join()
    agent_per_s, bare_per_s, share = (statistics.median(figures) for figures in (served, bare, shares))
    rival = f"{bare_per_s:.0f} tasks/s of a bare PyTorch loop, {share:.0%} of a processor taken beside each"
    yield row(f"{what}: tasks/s", agent_per_s, "task/s", rival=rival, possible=POSITIVE)
    yield row(f"{what}: rate over that of the bare loop", agent_per_s / bare_per_s, "", least=least, possible=RATIO)
