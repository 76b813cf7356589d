"""Two transports over a real link that goes silent, without an error at either end, and comes back."""

import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

pytestmark = [pytest.mark.timing, pytest.mark.root]

NEAR, FAR = "10.99.0.1", "10.99.0.2"
# With a peer address: sends a number every 50 ms and prints the answers. Without: sends back what it receives.
TALKER = """
import sys, time, zmq
from node_agent.process import transport as module
name, address, peer, peer_address, silence_ms = sys.argv[1:]
module.SILENCE_MS = int(silence_ms)
transport = module.Transport(zmq.Context(), name, address, {"data": {peer: peer_address}} if peer_address else {})
number = 0
while True:
    if peer_address:
        transport.send(peer, "data", [b"%d %f" % (number, time.monotonic())])
        number += 1
    transport.sockets["data"].poll(50)
    for sender, frames in transport.receive_all("data", 64):
        if peer_address:
            print(*(frame.decode() for frame in frames), flush=True)
        else:
            transport.send(sender, "data", frames)
    if peer_address:
        time.sleep(0.05)
"""
# Sends the lines that it reads, and prints the messages that it receives.
PROMPTED = """
import sys, threading, zmq
from node_agent.process.transport import Transport
name, address, peer, peer_address = sys.argv[1:]
transport = Transport(zmq.Context(), name, address, {"data": {peer: peer_address}} if peer_address else {})
prompts = zmq.Poller()
prompts.register(sys.stdin, zmq.POLLIN)
prompts.register(transport.sockets["data"], zmq.POLLIN)
print("up", flush=True)
while True:
    ready = dict(prompts.poll(50))
    if sys.stdin.fileno() in ready:
        line = sys.stdin.buffer.readline()
        if not line:
            break
        transport.send(peer, "data", [line.strip()])
    for sender, frames in transport.receive_all("data", 64):
        print(*(frame.decode() for frame in frames), flush=True)
"""


def run(*words):
    subprocess.run(words, check=True, capture_output=True, text=True)


@pytest.fixture
def pair():
    """Two namespaces with a link between them, and a function that silences the link or ends its silence."""
    names = [f"quiet{os.getpid()}{end}" for end in "ab"]
    for name in names:
        run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name, address in zip(names, (NEAR, FAR), strict=True):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")

        def silence(quiet: bool) -> None:
            for name, peer in zip(names, (FAR, NEAR), strict=True):
                if quiet:  # frames go to a hardware address that nobody has
                    entry = ("replace", peer, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
                else:
                    entry = ("del", peer, "dev", "eth0")
                run("ip", "-n", name, "neighbour", *entry)

        yield names, silence
    finally:
        for name in names:
            run("ip", "netns", "del", name)


@contextmanager
def node(namespace, code, *words):
    """Run a process in a namespace; it is killed at the end."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", code, *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Lines:
    """The output of a process, line by line, with time limits."""

    def __init__(self, process):
        self._stream, self._rest = process.stdout, b""

    def next(self, timeout_s=10.0):
        """Return the next line; None if none comes in time, or the process has ended."""
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            if not select.select([self._stream], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                return None
            read = os.read(self._stream.fileno(), 4096)
            if not read:
                return None
            self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()


def back_after_s(pair, silent_s, silence_ms):
    """Return how long after a silence the first message sent after it is answered [s]."""
    names, silence = pair
    far, near = ("far", FAR, "near", "", silence_ms), ("near", NEAR, "far", FAR, silence_ms)
    with node(names[1], TALKER, *map(str, far)), node(names[0], TALKER, *map(str, near)) as talker:
        answers = Lines(talker)
        assert answers.next(timeout_s=20) is not None
        silence(True)
        time.sleep(silent_s)
        silence(False)
        back_s = time.monotonic()
        while True:
            answer = answers.next(timeout_s=30)
            assert answer is not None
            if float(answer.split()[1]) >= back_s:
                return time.monotonic() - back_s


@pytest.mark.parametrize("silent_s", [2.0, pytest.param(13.5, marks=pytest.mark.slow)])
def test_messages_flow_again_soon_after_a_silent_link_is_back(pair, silent_s):
    """After 2 s TCP itself continues. After 13.5 s it would wait for 12 s more, but the connection is replaced."""
    # TCP retries after at most the length of the silence, a new connection after 3 s; the rest is for busy machines.
    assert back_after_s(pair, silent_s, 5000) < min(silent_s, 3.0) + 3.0


def test_a_connection_over_a_silent_link_is_given_up_in_time(pair):
    """The kernel ends a connection whose bytes stay unacknowledged; a new connection has another port."""
    names, silence = pair
    far, near = ("far", FAR, "near", "", "1000"), ("near", NEAR, "far", FAR, "1000")

    def ports():
        command = ["ip", "netns", "exec", names[0], "ss", "-Htn", "state", "established", "dst", FAR]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return {line.split()[2] for line in lines}

    with node(names[1], TALKER, *far), node(names[0], TALKER, *near) as talker:
        assert Lines(talker).next(timeout_s=20) is not None
        (before,) = ports()
        silence(True)
        deadline_s = time.monotonic() + 10.0  # left to itself, TCP would go on for a quarter of an hour
        while before in ports() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert before not in ports()


def test_a_peer_that_restarts_behind_a_silent_link_loses_one_message(pair):
    """The next message reaches it: timeouts of acknowledgements and results cover the lost one."""
    names, silence = pair
    # The kernel of a killed process would report its end as soon as the link is back; after a power cut nothing does.
    run("ip", "netns", "exec", names[1], "sysctl", "-qw", "net.ipv4.tcp_orphan_retries=1")
    with node(names[0], PROMPTED, "near", NEAR, "far", FAR) as near:
        assert Lines(near).next(timeout_s=20) == "up"

        def say(word):
            near.stdin.write(word + b"\n")
            near.stdin.flush()

        with node(names[1], PROMPTED, "far", FAR, "near", "") as first:
            heard = Lines(first)
            assert heard.next(timeout_s=20) == "up"
            say(b"before")
            assert heard.next() == "before"
            silence(True)
        time.sleep(3.0)
        with node(names[1], PROMPTED, "far", FAR, "near", "") as second:
            heard = Lines(second)
            assert heard.next(timeout_s=20) == "up"
            silence(False)
            say(b"lost")
            time.sleep(2.0)
            say(b"after")
            assert heard.next() == "after"
