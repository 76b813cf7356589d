"""System calls that Python does not offer: the only module that calls the C library.

Decision 008: these calls go through ctypes on every version of Python
(docs/decisions/008-system-calls-through-ctypes.md).
Imports only the standard library: the relay, which runs without site-packages, uses this module.
"""

import os
import signal
import socket
import time
from collections.abc import Sequence
from ctypes import (
    CDLL,
    POINTER,
    Array,
    Structure,
    addressof,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_long,
    c_size_t,
    c_uint,
    c_ulong,
    c_void_p,
    create_string_buffer,
    get_errno,
    pointer,
)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 1, 4, 29, 30
_LEAST_SLACK_NS = 1
_TFD_TIMER_ABSTIME = 1

_libc = CDLL(None, use_errno=True)
_libc.prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_void_p)
_libc.timerfd_settime.argtypes = (c_int, c_int, c_void_p, c_void_p)
_libc.sendmmsg.argtypes = (c_int, c_void_p, c_uint, c_int)


def _done(result: int, what: str) -> int:
    """Return the result of a call; raise OSError if it is negative."""
    if result < 0:
        raise OSError(get_errno(), what)
    return result


# prctl(2)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; more exactly, the thread that forked it.

    A parent that died before this call goes unnoticed; `end_with` compares getppid() afterwards.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_with(parent: int) -> None:
    """End this process when its parent `parent` ends, or now if that has ended already."""
    die_with_parent()
    if os.getppid() != parent:
        os._exit(0)


def exact_timers() -> bool:
    """Let the calling thread's timers fire on time, not up to 50 us late to save wake-ups; return True if granted."""
    _libc.prctl(_PR_SET_TIMERSLACK, _LEAST_SLACK_NS, 0, 0, 0)
    return int(_libc.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0)) == _LEAST_SLACK_NS


def reopen_proc() -> None:
    """Make /proc/self belong to this process's user again: after a change of user the kernel assigns it to root."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


# Namespaces


def join_namespace(path: str) -> None:
    """Move the calling thread into the network namespace at `path`.

    Processes that it starts afterwards, and settings under /proc/sys/net that it reads and writes, belong to that
    namespace. Other threads stay where they are.

    Raises:
        OSError: this is not allowed, or the namespace is gone.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _done(_libc.setns(fd, CLONE_NEWNET), f"cannot enter the namespace {path}")
    finally:
        os.close(fd)


def unshare(kinds: int) -> None:
    """Move the calling process into new namespaces of these kinds (CLONE_NEW...); raise OSError if refused."""
    _done(_libc.unshare(kinds), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Mount a file system of this kind, or change how `target` is mounted; raise OSError if refused."""
    named = kind.encode() if kind is not None else None
    _done(_libc.mount(source.encode(), target.encode(), named, flags, None), f"cannot mount {target}")


# Timers


class Timespec(Structure):
    """A time: whole seconds, and nanoseconds below a second."""

    _fields_ = (("seconds", c_long), ("nanoseconds", c_long))


class TimerSetting(Structure):
    """itimerspec: when a timer fires (at zero: never), and the interval at which it fires again (at zero: never)."""

    _fields_ = (("interval", Timespec), ("value", Timespec))


def timerfd_create() -> int:
    """Return the descriptor of a new non-blocking timer on CLOCK_MONOTONIC; raise OSError if there is none."""
    return _done(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC), "timerfd_create")


def timerfd_settime(descriptor: int, setting: TimerSetting) -> None:
    """Set a timer to an absolute time; raise OSError if the setting is invalid."""
    _done(_libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, byref(setting), None), "timerfd_settime")


# Messages


class _Part(Structure):
    """iovec: the address of the bytes (of a bytes object, which it keeps alive), and their number."""

    _fields_ = (("base", c_char_p), ("length", c_size_t))


class _Header(Structure):
    """msghdr: the destination of a message, and its parts."""

    _fields_ = (
        ("name", c_void_p),
        ("name_length", c_uint),
        ("parts", POINTER(_Part)),
        ("part_count", c_size_t),
        ("control", c_void_p),
        ("control_length", c_size_t),
        ("flags", c_int),
    )


class _Message(Structure):
    """mmsghdr: a message of several."""

    _fields_ = (("header", _Header), ("sent_bytes", c_uint))


class MessageBatch:
    """sendmmsg(2): sends several messages through one socket in one system call, each to an address of its own."""

    def __init__(self, descriptor: int, most: int, address_bytes: int) -> None:
        """Prepare for up to `most` messages a call through the socket `descriptor`, to addresses of this length [B]."""
        self._descriptor = descriptor
        self._sendmmsg = _libc.sendmmsg
        self._addresses: list[Array[c_char]] = []
        parts, messages = (_Part * most)(), (_Message * most)()
        self._messages = messages
        self._first = addressof(messages)
        self._slots = [(part, message.header) for part, message in zip(parts, messages, strict=True)]
        for part, header in self._slots:
            header.parts, header.part_count, header.name_length = pointer(part), 1, address_bytes

    def address(self, packed: bytes) -> int:
        """Keep an address (a packed sockaddr) for `send`; return its place in memory."""
        self._addresses.append(create_string_buffer(packed, len(packed)))
        return addressof(self._addresses[-1])

    def send(self, messages: Sequence[tuple[int, bytes]]) -> int:
        """Send messages (place of the address, content) without blocking; return the number sent before a failure."""
        for (address, content), (part, header) in zip(messages, self._slots, strict=False):
            part.base, part.length, header.name = content, len(content), address
        return max(0, int(self._sendmmsg(self._descriptor, self._first, len(messages), socket.MSG_DONTWAIT)))
