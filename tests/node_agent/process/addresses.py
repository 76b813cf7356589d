"""Loopback addresses for real sockets: a node's ports are fixed, so every node needs its own address."""

import itertools
import os

_numbers = itertools.count(1)


def fresh_address() -> str:
    """Return an unused address in 127.0.0.0/8; the process id separates test processes."""
    pid, number = os.getpid(), next(_numbers)
    assert number < 255
    return f"127.{64 + pid % 128}.{pid // 128 % 256}.{number}"
