"""Agents in threads, on loopback addresses of their own; the test plays their neighbours by hand."""

import os
import threading
import time

import msgspec
import zmq

from node_agent.core.events import ComputeFinished
from node_agent.core.machine import DeviceCore, ServerCore
from node_agent.process.agent import Agent, AgentConfig
from node_agent.process.executor import PacedExecutor
from node_agent.process.punctual import Priority
from node_agent.process.transport import Transport
from node_agent.records import Stop
from node_agent.wire import Tensor, decode, encode
from testbed.live.telemetry import Telemetry
from tests.node_agent.process.addresses import fresh_address
from tests.node_agent.small import Numbers, node_config
from tests.node_agent.virtual import synthetic_table


def wait_for(room, wanted, records, timeout_s=10.0):
    """Listen until `wanted(records)` is true; append the records to `records`."""
    deadline_s = time.monotonic() + timeout_s
    while not wanted(records) and time.monotonic() < deadline_s:
        records += room.listen(0.05)
    assert wanted(records), records


def of(kind, records):
    return [record for record in records if isinstance(record, kind)]


class Peer:
    """A neighbour played by hand."""

    def __init__(self, name, connect):
        self.name, self.address = name, fresh_address()
        self.context = zmq.Context()
        self.transport = Transport(self.context, name, self.address, {"data": connect, "control": connect})

    def say(self, peer, message, tensor=None, channel="data"):
        assert self.transport.send(peer, channel, encode(message, tensor))

    def hear(self, kind, timeout_s=5.0, channel="data"):
        """Return the next message of this kind; drop others before it."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self.transport.sockets[channel].poll(50):
                _, frames = self.transport.receive(channel)
                message, _ = decode(frames)
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"no {kind.__name__} in {timeout_s} s")

    def stop(self):
        self.transport.close()
        self.context.term()


class Stage:
    """An agent, its telemetry, and its neighbours."""

    def __init__(self, directory):
        self.room = Telemetry(directory)
        self.records = []
        self._threads = {}
        self._peers = []

    def peer(self, name, connect=None):
        self._peers.append(Peer(name, connect or {}))
        return self._peers[-1]

    def device(self, name, receivers, *, arrivals=(), timeouts=None, epoch_s=None):
        """A device whose receivers are these peers."""
        node = node_config(name, 0, receivers=tuple(receivers), timeouts=timeouts)
        config = self.config(node, fresh_address(), {p: peer.address for p, peer in receivers.items()}, arrivals)
        config = msgspec.structs.replace(config, epoch_monotonic_s=epoch_s)
        return self.start(config, Agent(config, DeviceCore(node), Priority(), inputs=Numbers()))

    def server(self, name, offloaders, *, address, work_flop=5e7, time_scale=1.0):
        """A last-stage server at 1 GFLOP/s that takes tasks of `work_flop` from these offloaders."""
        node = node_config(name, 1, offloaders=tuple(offloaders))
        config = self.config(node, address, {}, (), time_scale=time_scale)

        def infer(tensor: Tensor) -> ComputeFinished:
            return ComputeFinished(tensor.data[0], 0.9, None, overrun=False, work_flop=work_flop)

        priority = Priority()
        executor = PacedExecutor(infer, config.capacity_flop_per_s, config.time_scale, priority)
        return self.start(config, Agent(config, ServerCore(node, synthetic_table(1)), priority, executor=executor))

    def config(self, node, address, connect, arrivals, *, time_scale=1.0):
        """Return the configuration of the agent of a node."""
        return AgentConfig(
            node=node,
            address=address,
            connect_data=connect,
            connect_control=connect,
            answers_from=(),
            telemetry=self.room.endpoint,
            time_scale=time_scale,
            capacity_flop_per_s=1e9,
            quota_procs_paths=(),
            arrivals=tuple(arrivals),
        )

    def start(self, config, agent):
        """Run the agent in a thread of its own."""
        name = config.node.name
        self._threads[name] = threading.Thread(target=agent.run, name=name)
        self._threads[name].start()
        return config

    def tell(self, name, command):
        assert self.room.tell(name, command)

    def wait(self, kind, count=1, timeout_s=5.0):
        """Wait for `count` records of this kind; return them."""
        wait_for(self.room, lambda heard: len(of(kind, heard)) >= count, self.records, timeout_s)
        return of(kind, self.records)

    def priority(self, name):
        """The scheduling policy of an agent's thread."""
        return os.sched_getscheduler(self._threads[name].native_id) & ~os.SCHED_RESET_ON_FORK

    def alive(self):
        return [name for name, thread in self._threads.items() if thread.is_alive()]

    def end(self):
        for name in self._threads:
            self.room.tell(name, Stop())
        for thread in self._threads.values():
            thread.join(5.0)
        for peer in self._peers:
            peer.stop()
        self.room.__exit__()
