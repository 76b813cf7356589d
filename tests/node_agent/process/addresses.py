"""Loopback addresses for real sockets: the ports of a node are fixed, so every node needs an address of its own."""

import itertools
import os

_numbers = itertools.count(1)


def fresh_address() -> str:
    """An address in 127.0.0.0/8 that neither this test process nor, by its process id, another one has used."""
    pid, number = os.getpid(), next(_numbers)
    assert number < 255
    return f"127.{64 + pid % 128}.{pid // 128 % 256}.{number}"
