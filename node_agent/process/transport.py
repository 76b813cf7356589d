"""ZeroMQ between nodes: tasks and prices take separate connections, and every peer is addressed by its name.

Each node binds one ROUTER socket per channel and also connects with it: to its receivers on both channels, and to the
devices that it answers on the data channel. Replies (acknowledgements, reports) go back over the connection on which
the message came.

If a link goes silent, the kernel gives up a connection whose bytes are not acknowledged, and ZeroMQ reconnects until
the link is back.

Decision 011: there are no ZeroMQ heartbeats (docs/decisions/011-no-heartbeats-between-nodes.md).
A peer may restart behind a silent link while nobody sends to it. Then one message is lost: the kernel of the new
process refuses it, and the connection is replaced. A task or a probe is repeated after its timeout. A result is not
acknowledged, so its device waits for it and offers the task again.
"""

from collections.abc import Container, Mapping, Sequence

import zmq
from zmq.backend import zmq_poll

from node_agent.core.events import Channel
from node_agent.wire import MAX_TENSOR_BYTES

PORTS: dict[Channel, int] = {"data": 5700, "control": 5701}
CHANNELS: tuple[Channel, ...] = ("control", "data")  # in order of urgency: others wait for prices
# A connection, or an attempt to connect, is given up after this time without acknowledgement [ms], times the time
# scale. TCP repeats ever more rarely (an attempt to connect after 1, 3 and 7 s), so this also bounds how long a link
# that is back stays unused: 2 s of the 5, and up to 8 of the 15 s at a time scale of 3.
SILENCE_MS = 5000
QUEUED_MESSAGES = 2000  # most messages that wait for a peer
LOW_DELAY = 0x10  # type of service: Linux sends such frames before others that wait at the same interface

# Plain numbers: arithmetic with ZeroMQ's enumerations takes longer than a call of ZeroMQ.
_LAST = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)

Frames = Sequence[bytes | bytearray | memoryview]


class Transport:
    """The two sockets of one node."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        name: str,
        address: str,
        connect: Mapping[Channel, Mapping[str, str]],
        *,
        time_scale: float = 1.0,
    ) -> None:
        """Bind at `address` and connect to the peers in `connect` (channel -> peer -> address).

        `time_scale` is in real seconds per emulated second. Above 1 it extends the wait for acknowledgements.

        Raises:
            zmq.ZMQError: the address is not this node's, or a port is taken.
        """
        silence_ms = int(SILENCE_MS * max(1.0, time_scale))
        self.sockets = {channel: _bound(context, name, address, channel, silence_ms) for channel in PORTS}
        self.connect(connect)
        # The compiled methods themselves: pyzmq's wrappers take as long as these do.
        self._send = {channel: super(zmq.Socket, socket).send for channel, socket in self.sockets.items()}
        self._asked = {channel: [(socket, _READABLE)] for channel, socket in self.sockets.items()}
        self._channel_of = {int(socket.getsockopt(zmq.FD)): channel for channel, socket in self.sockets.items()}
        # Channels that were used since they were found empty: they may hold messages without a readable descriptor.
        self._unasked: set[Channel] = set(PORTS)

    def connect(self, connect: Mapping[Channel, Mapping[str, str]]) -> None:
        """Connect to more peers (channel -> peer -> address)."""
        for channel, peers in connect.items():
            for peer, peer_address in peers.items():
                socket = self.sockets[channel]
                socket.setsockopt_string(zmq.CONNECT_ROUTING_ID, peer)
                socket.connect(f"tcp://{peer_address}:{PORTS[channel]}")

    @property
    def filenos(self) -> frozenset[int]:
        """Descriptors that become readable when a message may have come, provided that `may_sleep` was True before."""
        return frozenset(self._channel_of)

    def may_sleep(self) -> bool:
        """Return True if polling the descriptors is enough. Using a socket consumes its edge."""
        return not self._unasked

    def to_ask(self, woken_by: Container[int]) -> list[Channel]:
        """Return the channels that may hold messages, given these readable descriptors, in order of urgency."""
        self._unasked.update(channel for fd, channel in self._channel_of.items() if fd in woken_by)
        return [channel for channel in CHANNELS if channel in self._unasked]

    def send(self, peer: str, channel: Channel, frames: Frames) -> bool:
        """Queue frames for sending; return False if the peer is unknown or QUEUED_MESSAGES wait for it already."""
        self._unasked.add(channel)
        send = self._send[channel]
        *front, last = frames
        try:
            send(peer.encode(), _MORE)
            for frame in front:
                send(frame, _MORE)
            send(last, _LAST)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def receive(self, channel: Channel) -> tuple[str, list[bytes]] | None:
        """Return the next message, peer and frames; None if there is none now."""
        return next(iter(self.receive_all(channel, 1)), None)

    def receive_all(self, channel: Channel, most: int) -> list[tuple[str, list[bytes]]]:
        """Return the messages that have arrived, at most `most`: peer and frames of each."""
        asked, receive = self._asked[channel], self.sockets[channel].recv
        messages: list[tuple[str, list[bytes]]] = []
        self._unasked.add(channel)
        while len(messages) < most:
            # Poll first: the exception for an empty socket takes longer than receiving.
            if not zmq_poll(asked, 0):
                self._unasked.discard(channel)
                break
            peer = receive(_LAST)
            frame = receive(_LAST, copy=False)
            frames = [frame.bytes]
            while frame.more:
                frame = receive(_LAST, copy=False)
                frames.append(frame.bytes)
            messages.append((peer.decode(errors="replace"), frames))
        return messages

    def close(self) -> None:
        """Close both sockets; messages not yet sent are dropped."""
        for socket in self.sockets.values():
            socket.close()


def _bound(
    context: "zmq.Context[zmq.Socket[bytes]]", name: str, address: str, channel: Channel, silence_ms: int
) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt_string(zmq.IDENTITY, name)
    socket.setsockopt(zmq.LINGER, 0)
    if channel == "control":
        socket.setsockopt(zmq.TOS, LOW_DELAY)  # else prices would wait behind tensors on a full link
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an undeliverable message raises an error instead of being dropped
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a restarted peer takes over its name
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_TENSOR_BYTES)
    socket.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
    socket.setsockopt(zmq.BACKLOG, QUEUED_MESSAGES)  # all peers connect at once; a refused one retries a second later
    socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
    socket.setsockopt(zmq.TCP_MAXRT, silence_ms)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, silence_ms)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    socket.bind(f"tcp://{address}:{PORTS[channel]}")
    return socket
