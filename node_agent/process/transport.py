"""ZeroMQ between nodes: tasks and prices on connections of their own, every peer addressed by its name.

Each node binds one ROUTER socket per channel and also connects with it: to its receivers on both channels, and to the
devices it answers on the data channel. Replies (acknowledgements, reports) go back over the connection they came by.

A connection that nobody uses costs nothing, and one over which a link has gone silent is given up by the kernel, since
what was sent is not acknowledged; ZeroMQ then connects anew until the link is back. Decision: no ZeroMQ heartbeats: on
the 1,150 connections of a city of 65 nodes they were 3,000 frames a second, each waking a thread, half of all that
those threads did. What only they would notice is a peer that vanished while nobody spoke to it, behind a link that was
silent just then. The next message finds that out: the new peer's kernel refuses it, and the connection is made anew.
That one message is lost. A task or a probe is repeated when its acknowledgement does not come; a result is not
acknowledged, and costs its device the wait for it and one more attempt.
"""

from collections.abc import Container, Mapping, Sequence

import zmq
from zmq.backend import zmq_poll

from node_agent.core.events import Channel
from node_agent.wire import MAX_TENSOR_BYTES

PORTS: dict[Channel, int] = {"data": 5700, "control": 5701}
CHANNELS: tuple[Channel, ...] = ("control", "data")  # prices, which others wait for, before tasks
# Unacknowledged for so long, a connection is given up, and so is an attempt to connect. TCP repeats itself ever more
# rarely (an attempt to connect after 1, 3 and 7 s), so this also bounds how long a link that is back stays unused: 2 s
# of the 5, and more than half of them where a larger time scale makes them more (up to 8 of 15 s at 3).
SILENCE_MS = 5000
QUEUED_MESSAGES = 2000
LOW_DELAY = 0x10  # type of service; Linux sends such frames before others that wait for the same interface

# Plain numbers: arithmetic with ZeroMQ's enumerations takes longer than a call to it.
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

        Links that are `time_scale` times slower are given so much longer to acknowledge.

        Raises:
            zmq.ZMQError: the address is not this node's, or a port is taken.
        """
        silence_ms = int(SILENCE_MS * max(1.0, time_scale))
        self.sockets = {channel: _bound(context, name, address, channel, silence_ms) for channel in PORTS}
        self.connect(connect)
        # The compiled methods themselves: what pyzmq puts around them takes as long as they do.
        self._send = {channel: super(zmq.Socket, socket).send for channel, socket in self.sockets.items()}
        self._asked = {channel: [(socket, _READABLE)] for channel, socket in self.sockets.items()}
        self._channel_of = {int(socket.getsockopt(zmq.FD)): channel for channel, socket in self.sockets.items()}
        # Channels that may hold messages which their descriptor does not tell of: used since they were found empty.
        self._unasked: set[Channel] = set(PORTS)

    def connect(self, connect: Mapping[Channel, Mapping[str, str]]) -> None:
        """Connect to further peers (channel -> peer -> address)."""
        for channel, peers in connect.items():
            for peer, peer_address in peers.items():
                socket = self.sockets[channel]
                socket.setsockopt_string(zmq.CONNECT_ROUTING_ID, peer)
                socket.connect(f"tcp://{peer_address}:{PORTS[channel]}")

    @property
    def filenos(self) -> frozenset[int]:
        """Descriptors that become readable when something happens, where `may_sleep` was true before."""
        return frozenset(self._channel_of)

    def may_sleep(self) -> bool:
        """Whether the descriptors tell of all that may come: using a socket takes along what its own would have."""
        return not self._unasked

    def to_ask(self, woken_by: Container[int]) -> list[Channel]:
        """The channels that may hold messages, now that these descriptors are readable, in the order of urgency."""
        self._unasked.update(channel for fd, channel in self._channel_of.items() if fd in woken_by)
        return [channel for channel in CHANNELS if channel in self._unasked]

    def send(self, peer: str, channel: Channel, frames: Frames) -> bool:
        """Hand frames over for sending; False if the peer is unknown or too much is queued for it already."""
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
        """The next message: peer and frames; None if there is none now."""
        return next(iter(self.receive_all(channel, 1)), None)

    def receive_all(self, channel: Channel, most: int) -> list[tuple[str, list[bytes]]]:
        """The messages that are there, `most` of them at most: peer and frames of each."""
        asked, receive = self._asked[channel], self.sockets[channel].recv
        messages: list[tuple[str, list[bytes]]] = []
        self._unasked.add(channel)
        while len(messages) < most:
            # Asked first, since the exception for finding nothing takes longer than receiving.
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
        """Close both sockets; what is unsent is dropped."""
        for socket in self.sockets.values():
            socket.close()


def _bound(
    context: "zmq.Context[zmq.Socket[bytes]]", name: str, address: str, channel: Channel, silence_ms: int
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
    socket.setsockopt(zmq.BACKLOG, QUEUED_MESSAGES)  # all peers connect at once: one turned away asks again in a second
    socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
    socket.setsockopt(zmq.TCP_MAXRT, silence_ms)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, silence_ms)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    socket.bind(f"tcp://{address}:{PORTS[channel]}")
    return socket
