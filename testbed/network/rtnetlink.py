"""Changes of links that carry frames, sent to the kernel as netlink messages; the kernel acknowledges each.

Decision 035: messages of our own over a netlink socket in each namespace
(docs/decisions/035-netlink-messages-of-our-own.md).

Sources: linux/rtnetlink.h, linux/pkt_sched.h, linux/if_link.h, linux/gen_stats.h.
"""

import errno
import functools
import os
import socket
import statistics
import struct
import time

from testbed.network.commands import (
    BULK_CLASS,
    CONTROL_CLASS,
    RATE_CLASS,
    NetworkError,
    bit_per_s,
    bucket_bytes,
    frames_in_flight,
    spacing_bit_per_s,
)
from testbed.network.probe import sockets_in
from testbed.scenario import LinkShape
from testbed.sizes import FRAME_BYTES

NETLINK_ROUTE = 0
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLMSG_ERROR = 1, 4, 8, 2
ANSWER_TIMEOUT_S = 10.0
RTM_NEWLINK, RTM_GETLINK, RTM_NEWQDISC, RTM_GETQDISC, RTM_NEWTCLASS = 16, 18, 36, 38, 40
IFLA_IFNAME, IFLA_GSO_MAX_SEGS = 3, 40
TCA_KIND, TCA_OPTIONS, TCA_STATS = 1, 2, 3
TCA_HTB_PARMS, TCA_HTB_RATE64, TCA_HTB_CEIL64 = 1, 6, 7
TCA_NETEM_DELAY_DIST, TCA_NETEM_RATE, TCA_NETEM_RATE64 = 2, 6, 8
TCA_NETEM_LATENCY64, TCA_NETEM_JITTER64, TCA_NETEM_PRNG_SEED = 10, 11, 14
TC_LINKLAYER_ETHERNET = 1
TICK_NS = 64  # the kernel's unit of time for queueing disciplines
ROOT, HANDLE = 0xFFFFFFFF, 0x10000  # "root" and "1:", as commands.py names them
MOST = 0xFFFFFFFF  # of a field of 32 bits; higher rates have a field of their own
NORMAL_TABLE_SIZE, NORMAL_SCALE = 4096, 8192

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
LINK_MESSAGE = struct.Struct("=BxHiII")
TC_MESSAGE = struct.Struct("=B3xiIII")  # family, interface, handle, parent, info
ATTRIBUTE = struct.Struct("=HH")
RATE_SPEC = struct.Struct("=BBHhHI")  # cell, link layer, overhead, alignment, least size, byte/s
HTB_PARMS = struct.Struct("=IIIII")  # buffer and ceil's buffer in ticks, quantum, level, priority
NETEM = struct.Struct("=IIIIII")  # latency in ticks, limit, loss, gap, duplicates, jitter in ticks
NETEM_RATE = struct.Struct("=IiIi")
STATISTICS = struct.Struct("=QII")  # bytes, packets, drops


def attribute(kind: int, data: bytes) -> bytes:
    """A netlink attribute, padded to four bytes."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(data), kind) + data + b"\0" * (-len(data) % 4)


def rate_options(shape: LinkShape) -> bytes:
    """The options of htb's class, equal to those of commands.rate_limit."""
    byte_per_s = max(1, round(bit_per_s(shape) / 8))
    rate = RATE_SPEC.pack(0, TC_LINKLAYER_ETHERNET, 0, 0, 0, min(MOST, byte_per_s))
    bucket_ticks = min(MOST, round(bucket_bytes(shape) / byte_per_s * 1e9 / TICK_NS))
    options = attribute(TCA_HTB_PARMS, rate + rate + HTB_PARMS.pack(bucket_ticks, bucket_ticks, FRAME_BYTES, 0, 0))
    return options + b"".join(attribute(kind, _wide(byte_per_s)) for kind in (TCA_HTB_RATE64, TCA_HTB_CEIL64))


def _wide(byte_per_s: int) -> bytes:
    return struct.pack("=Q", byte_per_s)


@functools.cache
def normal_table() -> bytes:
    """The normal distribution in netem's form: quantiles in 1/8192 of a deviation."""
    normal = statistics.NormalDist()
    quantiles = (normal.inv_cdf((i + 0.5) / NORMAL_TABLE_SIZE) for i in range(NORMAL_TABLE_SIZE))
    return b"".join(struct.pack("=h", round(NORMAL_SCALE * quantile)) for quantile in quantiles)


def netem_options(shape: LinkShape, seed: int) -> bytes:
    """The options of netem, equal to those of commands.netem_delay, and the seed of its random numbers.

    Kernels before 6.6 ignore the seed.
    """
    loss = min(MOST, round(shape.loss * MOST))
    byte_per_s = max(1, round(spacing_bit_per_s(shape) / 8))
    options = NETEM.pack(0, min(MOST, frames_in_flight(shape)), loss, 0, 0, 0)
    options += attribute(TCA_NETEM_LATENCY64, struct.pack("=q", round(shape.delay_s * 1e9)))
    options += attribute(TCA_NETEM_JITTER64, struct.pack("=q", round(shape.jitter_s * 1e9)))
    options += attribute(TCA_NETEM_RATE, NETEM_RATE.pack(min(MOST, byte_per_s), 0, 0, 0))
    options += attribute(TCA_NETEM_RATE64, _wide(byte_per_s))
    options += attribute(TCA_NETEM_PRNG_SEED, struct.pack("=Q", seed % (1 << 64)))
    if shape.jitter_s > 0:
        options += attribute(TCA_NETEM_DELAY_DIST, normal_table())
    return options


class KernelLinks:
    """Changes the interfaces of one network namespace in place: frames that wait or are on their way stay so.

    Every method raises NetworkError if the kernel refuses or does not answer.
    """

    def __init__(self, namespace: str) -> None:
        """Open a socket in a namespace, a path as in /proc/PID/ns/net; NetworkError if it cannot be entered."""
        self._socket = sockets_in([namespace], socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)[0]
        self._sequence = 0
        self._index: dict[str, int] = {}

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def change_rate(self, interface: str, shape: LinkShape) -> None:
        """Give the interface's htb class another rate."""
        message = TC_MESSAGE.pack(0, self._number(interface), HANDLE | RATE_CLASS, HANDLE, 0)
        message += attribute(TCA_KIND, b"htb\0") + attribute(TCA_OPTIONS, rate_options(shape))
        self._tell(f"the rate of {interface}", RTM_NEWTCLASS, message)

    def change_room(self, interface: str, places: int) -> None:
        """Give both queues of the interface `places` places, for frames or superframes; no waiting one is dropped."""
        for number in (CONTROL_CLASS, BULK_CLASS):
            # "20:" and "30:" are hexadecimal.
            message = TC_MESSAGE.pack(0, self._number(interface), number << 20, HANDLE | number, 0)
            message += attribute(TCA_KIND, b"pfifo\0") + attribute(TCA_OPTIONS, struct.pack("=I", places))
            self._tell(f"the queue of {interface}", RTM_NEWQDISC, message)

    def drops(self, interface: str) -> int:
        """Number of frames dropped so far by the discipline at the interface's root, modulo 2**32."""
        message = TC_MESSAGE.pack(0, self._number(interface), 0, ROOT, 0)
        # Without the echo flag, the kernel sends the answer to all listeners except this socket.
        answer = self._exchange(f"the counters of {interface}", RTM_GETQDISC, message, NLM_F_REQUEST | NLM_F_ECHO)
        at, end = HEADER.size + TC_MESSAGE.size, HEADER.unpack_from(answer)[0]
        while at < end:
            size, kind = ATTRIBUTE.unpack_from(answer, at)
            if kind == TCA_STATS:
                return int(STATISTICS.unpack_from(answer, at + ATTRIBUTE.size)[2])
            at += (size + 3) & ~3
        raise NetworkError(f"the kernel does not report the counters of {interface}")

    def change_netem(self, interface: str, shape: LinkShape, seed: int) -> None:
        """Give the interface's netem the delay, jitter, loss and rate of a shape."""
        message = TC_MESSAGE.pack(0, self._number(interface), HANDLE, ROOT, 0)
        message += attribute(TCA_KIND, b"netem\0") + attribute(TCA_OPTIONS, netem_options(shape, seed))
        self._tell(f"the delay of {interface}", RTM_NEWQDISC, message)

    def change_segments(self, interface: str, segments: int) -> None:
        """Limit superframes to `segments` segments; longer ones of older connections are cut when they leave."""
        message = LINK_MESSAGE.pack(0, 0, self._number(interface), 0, 0)
        message += attribute(IFLA_GSO_MAX_SEGS, struct.pack("=I", segments))
        self._tell(f"the superframes of {interface}", RTM_NEWLINK, message)

    def _number(self, interface: str) -> int:
        if interface not in self._index:
            name = attribute(IFLA_IFNAME, interface.encode() + b"\0")
            answer = self._ask(f"the number of {interface}", RTM_GETLINK, LINK_MESSAGE.pack(0, 0, 0, 0, 0) + name)
            self._index[interface] = LINK_MESSAGE.unpack_from(answer, HEADER.size)[2]
        return self._index[interface]

    def _ask(self, what: str, kind: int, message: bytes) -> bytes:
        return self._exchange(what, kind, message, NLM_F_REQUEST)

    def _tell(self, what: str, kind: int, message: bytes) -> None:
        self._exchange(what, kind, message, NLM_F_REQUEST | NLM_F_ACK)

    def _exchange(self, what: str, kind: int, message: bytes, flags: int) -> bytes:
        self._sequence += 1
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        try:
            self._socket.settimeout(ANSWER_TIMEOUT_S)
            self._socket.send(HEADER.pack(HEADER.size + len(message), kind, flags, self._sequence, 0) + message)
            while True:
                answer = self._socket.recv(1 << 16)
                _, answered, _, sequence, _ = HEADER.unpack_from(answer)
                if sequence == self._sequence:
                    break
                # A late answer to an earlier question.
                self._socket.settimeout(max(1e-3, deadline_s - time.monotonic()))
        except OSError as error:
            raise NetworkError(f"the kernel cannot be asked about {what}: {error}") from error
        if answered == NLMSG_ERROR:
            code = -struct.unpack_from("=i", answer, HEADER.size)[0]
            if code:
                raise NetworkError(f"cannot change {what}: {errno.errorcode.get(code, code)}, {os.strerror(code)}")
        return answer
