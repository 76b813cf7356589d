"""ZeroMQ between nodes: tasks and prices on connections of their own, every peer addressed by its name.

Each node binds one ROUTER socket per channel and also connects with it: to its receivers on both channels, and to the
devices it answers on the data channel. Replies (acknowledgements, reports) go back over the connection they came by.
"""

from collections.abc import Mapping, Sequence

import zmq

from node_agent.events import Channel
from node_agent.wire import MAX_TENSOR_BYTES

PORTS: dict[Channel, int] = {"data": 5700, "control": 5701}
HEARTBEAT_MS = 2000
QUEUED_MESSAGES = 2000
LOW_DELAY = 0x10  # type of service; Linux sends such frames before others that wait for the same interface

Frames = Sequence[bytes | bytearray | memoryview]


class Transport:
    """The two sockets of one node."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        name: str,
        address: str,
        connect: Mapping[Channel, Mapping[str, str]],
    ) -> None:
        """Bind at `address` and connect to the peers in `connect` (channel -> peer -> address).

        Raises:
            zmq.ZMQError: the address is not this node's, or a port is taken.
        """
        self.sockets = {channel: self._open(context, name, address, channel) for channel in PORTS}
        for channel, peers in connect.items():
            for peer, peer_address in peers.items():
                socket = self.sockets[channel]
                socket.setsockopt_string(zmq.CONNECT_ROUTING_ID, peer)
                socket.connect(f"tcp://{peer_address}:{PORTS[channel]}")

    @staticmethod
    def _open(
        context: "zmq.Context[zmq.Socket[bytes]]", name: str, address: str, channel: Channel
    ) -> "zmq.Socket[bytes]":
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt_string(zmq.IDENTITY, name)
        socket.setsockopt(zmq.LINGER, 0)
        if channel == "control":
            socket.setsockopt(zmq.TOS, LOW_DELAY)  # or a link that is full of tensors would silence its prices
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a message that cannot be delivered is an error, not a loss
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a peer that was started anew takes its name over
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_TENSOR_BYTES)
        socket.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5 * HEARTBEAT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.bind(f"tcp://{address}:{PORTS[channel]}")
        return socket

    def send(self, peer: str, channel: Channel, frames: Frames) -> bool:
        """Hand frames over for sending; False if the peer is unknown or too much is queued for it already."""
        try:
            self.sockets[channel].send_multipart([peer.encode(), *frames], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def receive(self, channel: Channel) -> tuple[str, list[bytes]] | None:
        """The next message: peer and frames; None if there is none now."""
        try:
            peer, *frames = self.sockets[channel].recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        return peer.decode(errors="replace"), frames

    def close(self) -> None:
        """Close both sockets; what is unsent is dropped."""
        for socket in self.sockets.values():
            socket.close()
