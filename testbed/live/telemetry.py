"""Telemetry from the agents and commands to them, over a Unix socket, so that it does not load the links.

A node that goes down and comes up again gets a new agent with a new identity. Records of the earlier agent still count,
but its `Ready` is dropped, and commands go to the new agent only.
"""

from pathlib import Path

import msgspec
import zmq

from node_agent.errors import TestbedError
from node_agent.process.agent import identity
from node_agent.records import Command, EventRecord, Ready, Record, record_decoder

QUEUED_BATCHES = 100_000


class Telemetry:
    """The experiment's end of the socket; agents connect to `endpoint` under their names. A context manager."""

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
        """Direct commands to the node's next agent from now on, because the present one has ended."""
        self._lives[node] = self.life(node) + 1

    def life(self, node: str) -> int:
        """Return the number of the node's present agent, from 1."""
        return self._lives.get(node, 1)

    def tell(self, node: str, command: Command) -> bool:
        """Send a command to the node's agent.

        Returns:
            False if the agent has not connected yet, is gone, or has a full queue. True does not mean that the agent
            still lives: do not send to an agent after killing it.
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
        """Return the records that have arrived; wait up to `timeout_s` [real s] for the first one.

        `Ready` from an agent that another one has replaced is dropped. An undecodable message becomes an event of kind
        "foreign-telemetry".

        Raises:
            TestbedError: a message does not consist of two parts.
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
