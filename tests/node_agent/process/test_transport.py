"""Real sockets on loopback: nodes find each other by name, and strangers do not disturb them."""

import random
import select
import signal
import socket
import subprocess
import sys
import time

import pytest
import zmq

from node_agent.process.transport import CHANNELS, PORTS, QUEUED_MESSAGES, SILENCE_MS, Transport
from node_agent.wire import MAX_TENSOR_BYTES, WireError, decode
from tests.node_agent.process.addresses import fresh_address

pytestmark = pytest.mark.timing

FROZEN_LATER = """
import sys, time, zmq
from node_agent.process.transport import Transport
name, address, peer, peer_address = sys.argv[1:]
transport = Transport(zmq.Context(), name, address, {"data": {peer: peer_address}})
transport.send(peer, "data", [b"from the first"])
time.sleep(60)
"""


class Node:
    """A transport in a ZeroMQ context of its own, as in a process of its own."""

    def __init__(self, name, *, receivers=(), answers=None, address=None):
        self.name, self.address = name, address or fresh_address()
        self.context = zmq.Context()
        control = {peer.name: peer.address for peer in receivers}
        data = control | (answers or {})
        self.transport = Transport(self.context, name, self.address, {"data": data, "control": control})

    def send(self, peer, *frames, channel="data"):
        return self.transport.send(peer, channel, frames)

    def wait(self, channel="data", timeout_s=5.0):
        """Return the next message; None if none comes in time."""
        if self.transport.sockets[channel].poll(int(timeout_s * 1000)):
            return self.transport.receive(channel)
        return None

    def wait_from(self, peer, timeout_s=5.0):
        """Return the next message of this peer, skipping those of others; None if none comes in time."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            message = self.wait(timeout_s=0.1)
            if message is not None and message[0] == peer:
                return message[1]
        return None

    def stop(self):
        self.transport.close()
        self.context.term()  # waits until the ports are free again


@pytest.fixture
def start():
    """A function that starts a node; all end with the test."""
    nodes = []

    def begin(name, **options):
        nodes.append(Node(name, **options))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.stop()


def keep_sending(node, peer, answer, timeout_s=5.0):
    """Send numbered messages until `answer()` returns something, as probes are repeated over a new connection."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        node.send(peer, b"again")
        found = answer()
        if found is not None:
            return found
    return None


@pytest.mark.parametrize("channel", list(PORTS))
def test_a_reply_goes_back_over_the_connection_it_came_by(start, channel):
    server = start("server")
    assert not server.send("device", b"too early", channel=channel)
    device = start("device", receivers=[server])
    assert device.send("server", b"header", bytes(70_000), channel=channel)
    assert server.wait(channel) == ("device", [b"header", bytes(70_000)])
    assert server.send("device", b"acknowledged", channel=channel)
    assert device.wait(channel) == ("server", [b"acknowledged"])
    assert device.transport.receive(channel) is None


def test_a_socket_that_was_used_is_read_before_its_descriptor_is_trusted(start):
    """Sending may consume the edge of the descriptor: a node that only polled it would wait forever."""
    server = start("server")
    device = start("device", receivers=[server])
    transport = device.transport
    device.send("server", b"task")
    server.wait()
    assert [transport.receive_all(channel, 9) for channel in CHANNELS] == [[], []]
    assert transport.may_sleep()
    waiting = select.poll()
    for fd in transport.filenos:
        waiting.register(fd, select.POLLIN)
    for number in range(20):  # a send may consume the edge, or not: that is up to ZeroMQ
        server.send("device", b"%d" % number)
        time.sleep(0.005)
        device.send("server", b"x")
        assert not transport.may_sleep()
        assert transport.to_ask(()) == ["data"]
        found = transport.receive_all("data", 9)
        if not found:  # the message has not come yet: now the descriptor is reliable
            assert transport.may_sleep()
            assert transport.to_ask([fd for fd, _ in waiting.poll(5000)]) == ["data"]
            found = transport.receive_all("data", 9)
        assert found == [("server", [b"%d" % number])]
        assert transport.may_sleep()

    def woken_by(patience_ms):
        return [fd for fd, _ in waiting.poll(patience_ms)]

    while channels := transport.to_ask(woken_by(20)):  # ZeroMQ may signal messages that were received already
        assert [transport.receive_all(channel, 9) for channel in channels] == [[] for _ in channels]
    server.send("device", b"news")
    assert transport.to_ask(woken_by(5000)) == ["data"]
    assert not transport.may_sleep()
    assert transport.receive_all("data", 9) == [("server", [b"news"])]


def test_no_more_messages_are_taken_at_once_than_asked_for(start):
    server = start("server")
    device = start("device", receivers=[server])
    for number in range(5):
        device.send("server", b"%d" % number)
    server.transport.sockets["data"].poll(5000)
    time.sleep(0.1)
    assert len(server.transport.receive_all("data", 3)) == 3
    assert "data" in server.transport.to_ask(())
    assert [frames for _, frames in server.transport.receive_all("data", 3)] == [[b"3"], [b"4"]]
    assert "data" not in server.transport.to_ask(())


def test_channels_do_not_mix(start):
    server = start("server")
    device = start("device", receivers=[server])
    device.send("server", b"price", channel="control")
    device.send("server", b"task", channel="data")
    assert server.wait("data") == ("device", [b"task"])
    assert server.wait("control") == ("device", [b"price"])
    assert server.transport.receive("data") is server.transport.receive("control") is None


def test_a_task_goes_through_two_servers_and_its_result_straight_back(start):
    device_address = fresh_address()
    # As in a run: the far server answers devices over a separate connection, which carries data only.
    far = start("far", answers={"device": device_address})
    near = start("near", receivers=[far])
    device = start("device", receivers=[near], address=device_address)
    device.send("near", b"task")
    assert near.wait() == ("device", [b"task"])
    near.send("far", b"task", b"activation")
    assert far.wait() == ("near", [b"task", b"activation"])
    assert far.send("device", b"result")
    assert device.wait() == ("far", [b"result"])
    assert not far.send("device", b"price", channel="control")


def test_sending_fails_for_an_unknown_peer(start):
    server = start("server")
    device = start("device", receivers=[server])
    assert not device.send("nobody", b"x")
    assert not device.send("device", b"x")
    assert device.send("server", b"x")


def test_messages_to_a_peer_that_is_not_up_yet_wait_for_it_within_bounds(start):
    later = fresh_address()
    context = zmq.Context()
    transport = Transport(context, "device", fresh_address(), {"data": {"server": later}})
    sent = 0
    while sent < 2 * QUEUED_MESSAGES and transport.send("server", "data", [b"%d" % sent]):
        sent += 1
    assert sent == QUEUED_MESSAGES
    server = start("server", address=later)
    assert [server.wait()[1] for _ in range(sent)] == [[b"%d" % number] for number in range(sent)]
    assert transport.send("server", "data", [b"free again"])
    assert server.wait() == ("device", [b"free again"])
    transport.close()
    context.term()


def zmtp_greeting() -> bytes:
    """Return the greeting of a ZMTP 3.1 peer without security."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: server\r\n\r\n",
        random.Random(1).randbytes(100_000),
        b"\xff" * 5000,
        bytes(5000),
        zmtp_greeting() + random.Random(2).randbytes(5000),
        zmtp_greeting()[:20],
    ],
    ids=["nothing", "http", "random", "ff", "zero", "greeting-then-random", "cut-greeting"],
)
def test_raw_bytes_on_a_port_do_not_disturb(start, garbage):
    server = start("server")
    device = start("device", receivers=[server])
    device.send("server", b"before")
    assert server.wait() == ("device", [b"before"])
    for port in PORTS.values():
        with socket.create_connection((server.address, port)) as stranger:
            try:
                stranger.sendall(garbage)
                stranger.settimeout(0.05)
                stranger.recv(1000)
            except OSError:
                pass  # disconnected, or not answered
    device.send("server", b"after")
    assert server.wait_from("device") == [b"after"]
    server.send("device", b"still here")
    assert device.wait() == ("server", [b"still here"])


@pytest.mark.parametrize(
    "frames",
    [[b""], [b"", b""], [b"DTOE"], [b"DTOE\x01\xc1"], [b"DTOE\x01" + b"\xff" * 50, b"x"], [b"x"] * 50],
    ids=["empty", "two-empty", "cut", "bad-code", "random", "many"],
)
def test_a_stranger_that_speaks_zeromq_is_received_under_its_own_name_only(start, frames):
    server = start("server")
    device = start("device", receivers=[server])
    context = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.setsockopt(zmq.LINGER, 0)
    stranger.setsockopt(zmq.IDENTITY, b"strange\xff\xfe")  # not UTF-8
    stranger.connect(f"tcp://{server.address}:{PORTS['data']}")
    stranger.send_multipart(frames)
    name, received = server.wait()
    assert name == "strange��"
    assert received == frames
    with pytest.raises(WireError):
        decode(received)
    device.send("server", b"task")
    assert server.wait_from("device") == [b"task"]
    stranger.close()
    context.term()


def test_a_restarted_receiver_is_reached_again(start):
    server = start("server")
    device = start("device", receivers=[server])
    device.send("server", b"before")
    assert server.wait() == ("device", [b"before"])
    server.stop()
    again = start("server", address=server.address)
    assert keep_sending(device, "server", lambda: again.wait(timeout_s=0.1)) == ("device", [b"again"])
    assert again.send("device", b"welcome")
    assert device.wait() == ("server", [b"welcome"])


def test_a_restarted_offloader_takes_over_its_name(start):
    """The connection of the old process still stands, as after an unnoticed power cut."""
    server = start("server")
    first = subprocess.Popen([sys.executable, "-c", FROZEN_LATER, "device", fresh_address(), "server", server.address])
    try:
        assert server.wait(timeout_s=10) == ("device", [b"from the first"])
        first.send_signal(signal.SIGSTOP)
        second = start("device", receivers=[server])
        second.send("server", b"from the second")
        assert server.wait() == ("device", [b"from the second"])
        assert server.send("device", b"for the second")
        assert second.wait() == ("server", [b"for the second"])
    finally:
        first.kill()
        first.wait()


def test_the_largest_tensor_passes_and_a_larger_one_does_not(start):
    server = start("server")
    device = start("device", receivers=[server])
    largest = bytes(MAX_TENSOR_BYTES)
    device.send("server", b"largest", largest)
    name, (header, tensor) = server.wait(timeout_s=20)
    assert (name, header, len(tensor)) == ("device", b"largest", MAX_TENSOR_BYTES)
    device.send("server", b"too large", largest + b"x")
    found = keep_sending(device, "server", lambda: server.wait(timeout_s=0.1), timeout_s=20)
    assert found == ("device", [b"again"])


@pytest.mark.parametrize(("time_scale", "factor"), [(1.0, 1), (3.0, 3), (0.1, 1)])
def test_slower_links_are_given_longer_to_acknowledge(time_scale, factor):
    context = zmq.Context()
    transport = Transport(context, "node", fresh_address(), {}, time_scale=time_scale)
    for channel in CHANNELS:
        socket_ = transport.sockets[channel]
        assert socket_.getsockopt(zmq.TCP_MAXRT) == socket_.getsockopt(zmq.CONNECT_TIMEOUT) == factor * SILENCE_MS
    transport.close()
    context.term()


def test_a_taken_address_is_an_error(start):
    server = start("server")
    context = zmq.Context()
    with pytest.raises(zmq.ZMQError, match="in use"):
        Transport(context, "other", server.address, {})
    context.destroy(linger=0)
