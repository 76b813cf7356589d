"""Telemetry from the agents and commands to them, over a Unix socket: watching a run does not load its links.

A node that goes down and comes up has another agent, under another name: what the one before still had to tell counts,
but it is neither taken for the new one nor told what is meant for that.
"""

from pathlib import Path

import msgspec
import zmq

from node_agent.errors import TestbedError
from node_agent.process.agent import identity
from node_agent.records import Command, EventRecord, Ready, Record, record_decoder

QUEUED_BATCHES = 100_000


class Telemetry:
    """The experiment's end; agents connect to `endpoint` under their names. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = f"ipc://{directory / 'room.ipc'}"
        self._lives: dict[str, int] = {}  # of nodes that came up more than once
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED_BATCHES)
        self._socket.bind(self.endpoint)

    def __enter__(self) -> "Telemetry":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def renew(self, node: str) -> None:
        """The node's agent has ended; the next one alone is meant from now on."""
        self._lives[node] = self.life(node) + 1

    def life(self, node: str) -> int:
        """How often the node will have come up with the agent that is meant now."""
        return self._lives.get(node, 1)

    def tell(self, node: str, command: Command) -> bool:
        """Send a command; False if the node's agent has never spoken, is gone, or has too many to read.

        True does not mean that the agent lives to read it: whoever has killed it must not tell it anything.
        """
        address = identity(node, self.life(node))
        try:
            self._socket.send_multipart([address.encode(), msgspec.msgpack.encode(command)], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def listen(self, timeout_s: float) -> list[Record]:
        """What the agents have told; waits up to `timeout_s` for the first of it.

        That an agent is ready which has been succeeded by another is left out.
        """
        records: list[Record] = []
        if not self._socket.poll(int(timeout_s * 1000)):
            return records
        while True:
            try:
                sender, batch = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return records
            except ValueError as error:
                raise TestbedError(f"an agent sent something that is no telemetry: {error}") from error
            name = sender.decode(errors="replace")
            node = name.partition("/")[0]
            try:
                told = record_decoder.decode(batch)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                records.append(EventRecord(0.0, node, "foreign-telemetry", str(error)))
                continue
            present = name == identity(node, self.life(node))
            records += told if present else [record for record in told if not isinstance(record, Ready)]
