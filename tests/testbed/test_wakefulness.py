"""Idle processors are kept awake for as long as a network runs, and no longer."""

import struct

import pytest

from testbed import wakefulness
from testbed.wakefulness import LATENCY_FILE, Wakefulness


def tolerated_us() -> int:
    """How long waking up may take at present, by all that is asked for on this machine."""
    with LATENCY_FILE.open("rb", buffering=0) as file:
        return struct.unpack("=i", file.read(4))[0]


@pytest.mark.root
def test_processors_stay_awake_until_the_end():
    if not LATENCY_FILE.exists():
        pytest.skip("this kernel has no power management of processors")
    wish = Wakefulness()
    assert wish.begin()
    assert wish.begin()
    assert tolerated_us() == 0
    wish.end()
    wish.end()
    assert tolerated_us() > 0


def test_where_it_is_not_to_be_had_all_stays_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(wakefulness, "LATENCY_FILE", tmp_path / "nowhere" / "latency")
    wish = Wakefulness()
    assert not wish.begin()
    wish.end()
