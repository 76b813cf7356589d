"""Idle processors are kept awake for as long as a network runs, and no longer."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.host import idle_cpus
from testbed.host.idle_cpus import LATENCY_FILE, AwakeCpus

pytestmark = pytest.mark.timing


def tolerated_us() -> int:
    """The microseconds that waking up may take at present, by all requests on this machine."""
    with LATENCY_FILE.open("rb", buffering=0) as file:
        return struct.unpack("=i", file.read(4))[0]


def holders() -> set[int]:
    """The processes that hold a request."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if entry.readlink() == LATENCY_FILE:
                found.add(int(entry.parts[2]))
    return found


@pytest.mark.root
def test_processors_stay_awake_until_the_end():
    if not LATENCY_FILE.exists():
        pytest.skip("this kernel has no power management of processors")
    wish = AwakeCpus()
    assert wish.begin()
    assert wish.begin()
    assert tolerated_us() == 0
    assert os.getpid() in holders()
    wish.end()
    wish.end()
    assert os.getpid() not in holders()
    # Another run on this machine may hold the same request.
    assert any(tolerated_us() > 0 or holders() for _ in range(3))


def test_where_it_is_not_to_be_had_all_stays_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(idle_cpus, "LATENCY_FILE", tmp_path / "nowhere" / "latency")
    wish = AwakeCpus()
    assert not wish.begin()
    wish.end()
