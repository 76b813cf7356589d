"""Traffic through a running network, from sockets opened inside its namespaces."""

import contextlib
import socket
import struct
import threading
import time

from node_agent.process.transport import LOW_DELAY
from testbed.network.probe import SO_RCVBUFFORCE, SO_SNDBUFFORCE, sockets_in

NUMBER = struct.Struct("=Iq")
PORT = 5201


def datagram_sockets(network, source, target):
    """A sending and a receiving socket, each bound to its node's address."""
    names = [network.namespace_path(source), network.namespace_path(target)]
    sender, receiver = sockets_in(names, socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind((network.address(source), 0))
    receiver.bind((network.address(target), PORT))
    with contextlib.suppress(PermissionError):  # in a user namespace
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)  # waiting frames must not block the sender
    return sender, receiver


def send_datagrams(network, source, target, *, count, gap_s, size=100, patience_s=0.5, low_delay=()):
    """Send numbered datagrams; return [(number, one-way seconds, address of the sender)] in order of arrival.

    The numbers in `low_delay` are sent with the type of service of that name.
    """
    sender, receiver = datagram_sockets(network, source, target)
    arrived = []

    def receive():
        receiver.settimeout(count * gap_s + patience_s)
        try:
            while len(arrived) < count:
                text, (address, _) = receiver.recvfrom(2048)
                number, sent_ns = NUMBER.unpack_from(text)
                arrived.append((number, (time.monotonic_ns() - sent_ns) * 1e-9, address))
                receiver.settimeout(patience_s + max(0, count - number) * gap_s)
        except TimeoutError:
            pass

    with sender, receiver:
        thread = threading.Thread(target=receive)
        thread.start()
        begin = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begin + number * gap_s - time.monotonic()))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, LOW_DELAY if number in low_delay else 0)
            text = NUMBER.pack(number, time.monotonic_ns()).ljust(size, b"\0")
            sender.sendto(text, (network.address(target), PORT))
        thread.join()
    return arrived


def round_trips_s(network, source, target, *, count=40, gap_s=0.01):
    """Round-trip times [s] as measured by ping."""
    process = network.node(source).popen(["ping", "-n", "-c", str(count), "-i", str(gap_s), network.address(target)])
    output, _ = process.communicate()
    return [float(line.split("time=")[1].split()[0]) * 1e-3 for line in output.decode().splitlines() if "time=" in line]


def tcp_mbit_per_s(network, source, target, *, seconds=1.0):
    """Goodput of one TCP connection in Mbit/s, measured at the receiver after its slow start."""
    names = [network.namespace_path(target), network.namespace_path(source)]
    listener, client = sockets_in(names, socket.AF_INET, socket.SOCK_STREAM)
    done = threading.Event()

    def send():
        with client:
            client.connect((network.address(target), PORT))
            block = bytes(65536)
            while not done.is_set():
                client.sendall(block)

    with listener:
        listener.bind((network.address(target), PORT))
        listener.listen(1)
        listener.settimeout(5)
        thread = threading.Thread(target=send)
        thread.start()
        connection, _ = listener.accept()
        with connection:
            received, begin = 0, 0.0
            settled = time.monotonic() + 0.3
            while (now := time.monotonic()) < settled + seconds:
                size = len(connection.recv(1 << 18))
                if now < settled:
                    begin = now
                else:
                    received += size
            taken_s = now - begin
            done.set()
            connection.settimeout(5)
            while connection.recv(1 << 18):
                pass
        thread.join()
    return received * 8e-6 / taken_s
