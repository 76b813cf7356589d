"""Telemetry from the agents and commands to them, over a Unix socket: watching a run does not load its links."""

from pathlib import Path

import msgspec
import zmq

from node_agent.errors import TestbedError
from node_agent.records import Command, EventRecord, Record, record_decoder

QUEUED_BATCHES = 100_000


class ControlRoom:
    """The experiment's end; agents connect to `endpoint` under their names. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = f"ipc://{directory / 'room.ipc'}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED_BATCHES)
        self._socket.bind(self.endpoint)

    def __enter__(self) -> "ControlRoom":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def tell(self, node: str, command: Command) -> bool:
        """Send a command; False if that node has never spoken or is gone."""
        try:
            self._socket.send_multipart([node.encode(), msgspec.msgpack.encode(command)], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def listen(self, timeout_s: float) -> list[Record]:
        """What the agents have told; waits up to `timeout_s` for the first of it."""
        records: list[Record] = []
        if not self._socket.poll(int(timeout_s * 1000)):
            return records
        while True:
            try:
                node, batch = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return records
            except ValueError as error:
                raise TestbedError(f"an agent sent something that is no telemetry: {error}") from error
            try:
                records += record_decoder.decode(batch)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                name = node.decode(errors="replace")
                records.append(EventRecord(0.0, name, "foreign-telemetry", str(error)))
