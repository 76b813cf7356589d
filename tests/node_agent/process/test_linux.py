"""System calls that Python lacks, on the real kernel."""

import os
import select
import socket
import struct
import threading

import pytest

from node_agent.process import linux
from node_agent.process.children import answer_of_child


def test_exact_timers_are_granted():
    found = []
    thread = threading.Thread(target=lambda: found.append(linux.exact_timers()))  # the setting belongs to a thread
    thread.start()
    thread.join()
    assert found == [True]


def test_a_timer_fires_at_a_time_of_the_clock_and_not_at_zero():
    descriptor = linux.timerfd_create()
    setting = linux.TimerSetting()
    linux.timerfd_settime(descriptor, setting)
    assert not select.select([descriptor], [], [], 0)[0]
    setting.value.nanoseconds = 1
    linux.timerfd_settime(descriptor, setting)
    assert select.select([descriptor], [], [], 10)[0]
    setting.value.nanoseconds = 10**9
    with pytest.raises(OSError, match="timerfd_settime"):
        linux.timerfd_settime(descriptor, setting)
    os.close(descriptor)


def test_a_namespace_that_is_none_is_refused_with_its_path(tmp_path):
    path = tmp_path / "none"
    path.touch()
    with pytest.raises(OSError, match=f"cannot enter the namespace {path}"):
        linux.join_namespace(str(path))


def test_a_call_that_the_kernel_refuses_raises_with_the_reason():
    def refused(call, *arguments):
        def trial():
            try:
                call(*arguments)
            except OSError as error:
                return f"{error.strerror}: {os.strerror(error.errno)}"
            return "taken"

        return answer_of_child(trial)

    assert refused(linux.unshare, 1) == "unshare: Invalid argument"
    assert refused(linux.mount, "none", "/nowhere", "proc", 0).startswith("cannot mount /nowhere: ")


def test_messages_of_a_batch_go_to_their_own_addresses_up_to_the_first_that_fails():
    receivers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    with receivers[0] as one, receivers[1] as other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for each in receivers:
            each.bind(("127.0.0.1", 0))
            each.settimeout(5)

        def packed(family, receiver):
            return struct.pack("=HH4s8x", family, socket.htons(receiver.getsockname()[1]), b"\x7f\0\0\1")

        batch = linux.MessageBatch(out.fileno(), most=3, address_bytes=16)
        to_one, to_other = (batch.address(packed(socket.AF_INET, each)) for each in receivers)
        nowhere = batch.address(packed(77, one))
        assert batch.send([(to_one, b"a"), (to_other, b"bc"), (to_one, b"d")]) == 3
        assert [one.recv(9), one.recv(9), other.recv(9)] == [b"a", b"d", b"bc"]
        assert batch.send([(to_other, b"e"), (nowhere, b"f"), (to_one, b"g")]) == 1
        assert other.recv(9) == b"e"
        assert batch.send([(nowhere, b"h")]) == 0
