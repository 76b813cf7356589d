"""Netlink messages must set the same values as `tc`."""

import json
import statistics
import struct

import pytest

from testbed.network.commands import NetworkError, bit_per_s
from testbed.network.rtnetlink import (
    HEADER,
    IFLA_IFNAME,
    LINK_MESSAGE,
    NLM_F_REQUEST,
    RTM_GETLINK,
    TCA_HTB_CEIL64,
    TCA_HTB_RATE64,
    TCA_NETEM_RATE64,
    KernelLinks,
    attribute,
    netem_options,
    normal_table,
    rate_options,
)
from testbed.scenario import LinkShape

from .scenarios import FAST, scenario
from .traffic import send_datagrams


def test_attributes_are_padded():
    assert attribute(3, b"abcde") == struct.pack("=HH", 9, 3) + b"abcde\0\0\0"
    assert attribute(3, b"abcd") == struct.pack("=HH", 8, 3) + b"abcd"


def test_the_normal_table_has_deviation_one():
    values = [value / 8192 for (value,) in struct.iter_unpack("=h", normal_table())]
    assert statistics.mean(values) == pytest.approx(0.0, abs=1e-4)
    assert statistics.pstdev(values) == pytest.approx(1.0, abs=0.002)
    assert max(values) < 4


@pytest.mark.root
def test_a_change_arrives_in_the_kernel(build, backend):
    network = build(scenario(["a", "b"], {("a", "b"): LinkShape(10.0, 0.010)}))
    node, shape = network.node("a"), LinkShape(50.0, 0.025)
    network.change_link(("a", "b"), shape)
    assert "rate 52279Kbit ceil 52279Kbit burst 13069b cburst 13069b" in node.cmd("tc class show dev n0-eth0")
    assert "gso_max_segs 4" in node.cmd("ip -d link show dev n0-eth0")
    network.change_link(("a", "b"), LinkShape(50.0, 0.025, jitter_s=0.001, loss=0.02))
    assert "gso_max_segs 1" in node.cmd("ip -d link show dev n0-eth0")
    if backend == "netem":
        (delay,) = json.loads(network._middle.cmd("tc -j qdisc show dev l0b"))
        options = delay["options"]
        assert options["delay"] == {"delay": 0.025, "jitter": 0.001, "correlation": 0}
        assert options["loss-random"]["loss"] == pytest.approx(0.02, abs=1e-6)
        assert options["rate"]["rate"] * 8 == pytest.approx(bit_per_s(shape), abs=8)


EXTREMES = [LinkShape(1e-6, 0.0), LinkShape(1.5e-4, 0.0), LinkShape(40e3, 0.0)]


@pytest.mark.parametrize("shape", EXTREMES)
def test_every_rate_fits_the_messages(shape):
    wide = struct.pack("=Q", max(1, round(bit_per_s(shape) / 8)))
    assert attribute(TCA_HTB_RATE64, wide) in rate_options(shape)
    assert attribute(TCA_HTB_CEIL64, wide) in rate_options(shape)
    assert attribute(TCA_NETEM_RATE64, wide) in netem_options(shape, 1)


@pytest.mark.root
def test_the_kernel_takes_every_rate(build, backend):
    network = build(scenario(["a", "b"], {("a", "b"): FAST}))
    for shape, rate in zip(EXTREMES, ("8bit", "160bit", "41823Mbit"), strict=True):
        network.change_link(("a", "b"), shape)
        assert f"class htb 1:1 root rate {rate} ceil {rate} " in network.node("a").cmd("tc class show dev n0-eth0")
        if backend == "netem":
            (delay,) = json.loads(network._middle.cmd("tc -j qdisc show dev l0b"))
            assert delay["options"]["rate"]["rate"] == max(1, round(bit_per_s(shape) / 8))


@pytest.mark.root
def test_the_room_of_a_queue_follows_its_link(build):
    network = build(scenario(["a", "b"], {("a", "b"): LinkShape(10.0, 0.010)}))

    def rooms():
        told = json.loads(network.node("a").cmd("tc -j qdisc show dev n0-eth0"))
        return [each["options"]["limit"] for each in told if each["kind"] == "pfifo"]

    assert rooms() == [1000, 1000]
    network.change_link(("a", "b"), LinkShape(10.0, 0.010, queue_packets=20))
    assert rooms() == [20, 20]
    network.change_link(("a", "b"), LinkShape(100.0, 0.010))  # eight segments at once
    assert rooms() == [125, 125]
    network.change_link(("a", "b"), LinkShape(10.0, 0.010))
    assert rooms() == [1000, 1000]


@pytest.mark.root
def test_drops_are_the_kernels(build):
    network = build(scenario(["a", "b"], {("a", "b"): LinkShape(1.0, 0.001, queue_packets=5)}))
    kernel = KernelLinks(network.namespace_path("a"))
    try:
        before = kernel.drops("n0-eth0")
        send_datagrams(network, "a", "b", count=50, gap_s=0.0, size=1400, patience_s=0.1)
        told = json.loads(network.node("a").cmd("tc -s -j qdisc show dev n0-eth0"))
        assert kernel.drops("n0-eth0") == told[0]["drops"] >= before + 30
    finally:
        kernel.close()


@pytest.mark.root
def test_a_change_of_what_is_not_there_raises(build):
    network = build(scenario(["a", "b"], {("a", "b"): FAST}))
    kernel = KernelLinks(network.namespace_path("a"))
    try:
        with pytest.raises(NetworkError, match="cannot change the number of no-eth9"):
            kernel.change_rate("no-eth9", FAST)
        with pytest.raises(NetworkError, match="cannot change the rate of lo"):
            kernel.change_rate("lo", FAST)
    finally:
        kernel.close()


@pytest.mark.root
def test_an_answer_to_an_earlier_question_is_not_taken_for_this_ones():
    """After a time-out, the kernel's answer about `lo` is still in the socket when the next question is sent."""
    kernel = KernelLinks("/proc/self/ns/net")
    try:
        number = kernel._number("lo")
        question = LINK_MESSAGE.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, b"lo\0")
        late = HEADER.pack(HEADER.size + len(question), RTM_GETLINK, NLM_F_REQUEST, 0, 0) + question
        for name in ("nowhere", "either"):
            kernel._socket.send(late)
            with pytest.raises(NetworkError, match=f"the number of {name}: ENODEV"):
                kernel._number(name)
        kernel._socket.send(late)
        kernel._index.clear()
        assert kernel._number("lo") == number
    finally:
        kernel.close()
