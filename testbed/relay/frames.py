"""Frames in and out of a namespace, many at a time: a memory-mapped ring for all interfaces, and sendmmsg."""

import mmap
import socket
import struct

from node_agent.process.linux import MessageBatch

SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 5, 6, 10, 15, 23
TPACKET_V2 = 1
SO_SNDBUFFORCE = 32
ETH_P_ALL = 3
VNET_HEADER_BYTES = 10

SLOT_BYTES = 16384  # room for a superframe of ten segments
SLOTS = 2048
SLOT_WORDS = SLOT_BYTES // 4
RING_WORDS = SLOTS * SLOT_WORDS
BLOCK_BYTES = 65536
# The 32-byte header of a slot and the address behind it; fields in brackets are skipped: (status) length, captured
# length, offset of the frame, (offset of its payload) seconds, nanoseconds, (VLAN and others) interface index.
SLOT_HEADER = struct.Struct("=4xIIH2xII12xi")
STATUS_USER = 1

LONGEST_FRAME_BYTES = 1514  # anything longer is a superframe of several segments
SUPERFRAME = struct.Struct("=BBHHHH")  # flags, type, hint, bytes of a segment, offset of TCP's header, of its checksum
TCP_HEADER_WORDS_OFFSET, UDP_HEADER_BYTES = 12, 8
GSO_TCP, GSO_UDP, GSO_ECN = (1, 4), 5, 0x80  # types: TCP over IPv4 and IPv6, UDP, and a flag

LINK_ADDRESS = struct.Struct("=HHiHBB8x")  # sockaddr_ll: family, protocol, interface index, and unused fields


class Ring:
    """The memory-mapped receive ring for the frames of every interface of this namespace."""

    def __init__(self) -> None:
        # Never bound: it receives from all interfaces, also from later ones.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        size = SLOTS * SLOT_BYTES
        request = struct.pack("=IIII", BLOCK_BYTES, size // BLOCK_BYTES, SLOT_BYTES, SLOTS)
        self.socket.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        self.memory = mmap.mmap(self.socket.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.words = memoryview(self.memory).cast("I")
        self.at_word = 0  # position of the next frame
        self.dropped = 0

    def count_dropped(self) -> int:
        """The number of frames so far for which the ring had no room."""
        _, dropped = struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.dropped += dropped  # the kernel resets its counter at every reading
        return self.dropped


def on_the_wire(memory: "mmap.mmap | bytes", at: int, length: int) -> tuple[int, int]:
    """Total bytes, and the number, of the frames in the superframe at `at`, behind its virtio header.

    Every frame carries the headers. A superframe of neither TCP nor UDP counts as a single frame.
    """
    _, kind, _, segment_bytes, transport, _ = SUPERFRAME.unpack_from(memory, at - VNET_HEADER_BYTES)
    kind &= ~GSO_ECN
    if segment_bytes and kind in GSO_TCP:
        header_bytes = transport + (memory[at + transport + TCP_HEADER_WORDS_OFFSET] >> 4) * 4
    elif segment_bytes and kind == GSO_UDP:
        header_bytes = transport + UDP_HEADER_BYTES
    else:
        return length, 1
    frames = max(1, -(-(length - header_bytes) // segment_bytes))
    return length + (frames - 1) * header_bytes, frames


class Departures(MessageBatch):
    """Sends frames that are due together in one system call, each out of an interface of its own.

    Decision 041: sendmmsg over one socket for all lines (docs/decisions/041-one-heap-one-socket-sendmmsg.md).
    """

    MOST = 32

    def __init__(self, out: socket.socket) -> None:
        """Send frames (virtio header first) through `out`."""
        super().__init__(out.fileno(), self.MOST, LINK_ADDRESS.size)

    def destination(self, interface: str) -> int:
        """The address of an interface for `send`."""
        return self.address(LINK_ADDRESS.pack(socket.AF_PACKET, 0, socket.if_nametoindex(interface), 0, 0, 0))


def sending_socket() -> socket.socket:
    """The socket that sends frames (virtio header first) out of any interface of this namespace.

    All lines share it as long as it has room: closing a packet socket is slow, and one for each line would delay the
    end of a run.
    """
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    # Frames that wait in a queue behind the receiving switch still count against this socket: a small buffer would
    # block the relay, and all links with it.
    try:
        out.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 30)
    except PermissionError:  # in a user namespace: at most net.core.wmem_max, and `doctor` reports if that is little
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
    out.setblocking(False)
    return out
