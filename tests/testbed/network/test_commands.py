import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from node_agent.errors import EnvironmentLacking
from node_agent.process.linux import join_namespace
from node_agent.process.transport import LOW_DELAY
from testbed.network import commands
from testbed.network.commands import Batch, NetworkError
from testbed.scenario import LinkShape


def test_in_a_lull_frames_wait_at_the_end_and_not_in_the_middle():
    lull, slow = LinkShape(0.011584, 0.01, lull=True), LinkShape(0.011584, 0.01)
    assert commands.bit_per_s(lull) == commands.bit_per_s(slow) == commands.spacing_bit_per_s(slow) == 12112
    assert commands.spacing_bit_per_s(lull) == 121120
    assert (commands.bucket_bytes(lull), commands.bucket_bytes(slow)) == (1514, 6056)
    assert "rate 12112bit" in commands.rate_limit("n0-eth0", lull, 1)[1]
    assert commands.netem_delay("l0a", lull).endswith("rate 121120bit")
    brief = LinkShape(0.5, 0.01, lull=True)
    assert commands.spacing_bit_per_s(brief) == commands.bit_per_s(brief)


def test_rate_limit_lines():
    assert commands.rate_limit("n0-eth0", LinkShape(20.0, 0.01, queue_packets=50), 1) == (
        "qdisc add dev n0-eth0 root handle 1: htb default 3",
        "class add dev n0-eth0 parent 1: classid 1:1 htb rate 20911602bit ceil 20911602bit "
        "burst 6056b cburst 6056b quantum 1514",
        "class add dev n0-eth0 parent 1:1 classid 1:2 htb prio 0 rate 8bit ceil 32gbit burst 1b cburst 64000b "
        "quantum 1514",
        "qdisc add dev n0-eth0 parent 1:2 handle 20: pfifo limit 50",
        "class add dev n0-eth0 parent 1:1 classid 1:3 htb prio 1 rate 8bit ceil 32gbit burst 1b cburst 64000b "
        "quantum 1514",
        "qdisc add dev n0-eth0 parent 1:3 handle 30: pfifo limit 50",
        "filter add dev n0-eth0 parent 1: protocol ip prio 1 u32 match u8 0x10 0x10 at 1 flowid 1:2",
    )


def test_a_queue_of_superframes_has_fewer_places():
    assert commands.queue_places(LinkShape(100.0, 0.01, queue_packets=1000), 8) == 125
    assert commands.queue_places(LinkShape(100.0, 0.01, queue_packets=1001), 8) == 126
    assert commands.queue_places(LinkShape(20.0, 0.01, queue_packets=0), 1) == 1


def test_the_filter_takes_what_asks_for_low_delay():
    value, mask = (int(word, 16) for word in commands.LOW_DELAY_MATCH.split()[1:3])
    assert LOW_DELAY & mask == value
    for other in (0x00, 0x04, 0x08):  # ordinary, most reliable, most throughput
        assert other & mask != value


@pytest.mark.parametrize("bit_per_s", [1.0, 40.0, 176.0, 1e4])
def test_the_bucket_of_a_very_slow_link_is_a_time_the_kernel_can_express(bit_per_s):
    shape = LinkShape(bit_per_s * 1e-6, 0.0)
    assert commands.bucket_bytes(shape) >= 1
    assert commands.bucket_bytes(shape) / (commands.bit_per_s(shape) / 8) * 1e9 / 64 < 2**32


@pytest.mark.parametrize(
    ("shape", "segments"),
    [
        (LinkShape(20.0, 0.01), 1),
        (LinkShape(50.0, 0.01), 4),
        (LinkShape(100.0, 0.01), 8),
        (LinkShape(1000.0, 0.01), commands.MOST_SEGMENTS),
        (LinkShape(100.0, 0.01, loss=0.01), 1),
        (LinkShape(100.0, 0.01, jitter_s=0.001), 1),
        (LinkShape(100.0, 0.01, queue_packets=20), 1),
    ],
)
def test_superframes_are_a_millisecond_long_where_frames_need_not_be_single(shape, segments):
    assert commands.segments_at_once(shape) == segments


def test_a_fast_link_has_a_bucket_of_two_milliseconds():
    assert commands.bucket_bytes(LinkShape(100.0, 0.0)) == 26_140


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (
            LinkShape(10.0, 0.02),
            "qdisc add dev l0a root handle 1: netem limit 1480 delay 20000.000us rate 10455801bit",
        ),
        (
            LinkShape(10.0, 0.02, jitter_s=0.0005, loss=0.015),
            "qdisc add dev l0a root handle 1: netem limit 1523 delay 20000.000us 500.000us distribution normal "
            "loss 1.500000% rate 10455801bit",
        ),
        (LinkShape(8.0, 0.0), "qdisc add dev l0a root handle 1: netem limit 1035 delay 0.000us rate 8364641bit"),
    ],
)
def test_netem_lines(shape, line):
    assert commands.netem_delay("l0a", shape) == line


def test_veth_ends_are_born_in_their_namespaces():
    assert commands.veth("n0-eth0", "02:00:00:00:00:01", 11, "l0a", "02:00:00:00:00:02", 22) == (
        "link add name n0-eth0 address 02:00:00:00:00:01 netns 11 type veth "
        "peer name l0a address 02:00:00:00:00:02 netns 22"
    )


def test_batch_runs_each_tool_once(tmp_path, monkeypatch):
    for tool in ("ip", "bridge", "tc"):
        program = tmp_path / tool
        program.write_text(f'#!/bin/sh\necho {tool} "$@" >> {tmp_path}/ran\ncat >> {tmp_path}/ran\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    Batch("cam", ip=["link set lo up", "link show"], tc=["qdisc show"]).carry_out()
    ran = (tmp_path / "ran").read_text()
    assert ran == "ip -batch -\nlink set lo up\nlink show\ntc -batch -\nqdisc show\n"


def test_a_batch_that_fails_is_called_by_its_name():
    with pytest.raises(NetworkError, match=r"set-up of cam failed: .* \(at line 2: link set no-such-if up\)"):
        Batch("cam", ip=["link show lo", "link set no-such-if up"]).carry_out()


@pytest.mark.root
def test_progress_goes_on_while_the_first_batch_takes_long(tmp_path, monkeypatch):
    """The first batch ends only after progress has reported the two others."""
    release = tmp_path / "release"
    os.mkfifo(release)
    program = tmp_path / "ip"
    program.write_text(f'#!/bin/sh\nread line\n[ "$line" = wait ] && read line < {release}\nexit 0\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    told = []

    def progress(done):
        told.append(done)
        if done == 2:
            release.write_text("go\n")

    nodes = [SimpleNamespace(name=f"n{number}", pid=os.getpid()) for number in range(3)]
    words = zip(nodes, ("wait", "go", "go"), strict=True)
    commands.run_batches([(node, Batch(node.name, ip=[word])) for node, word in words], progress=progress)
    assert told == [1, 2, 3]


@pytest.mark.root
def test_settings_are_those_of_the_threads_namespace_and_ones_missing_in_the_kernel_are_passed_over(monkeypatch):
    mine = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as other:
        try:
            namespace = Path(f"/proc/{other.pid}/ns/net")
            while namespace.readlink() == Path("/proc/self/ns/net").readlink():
                time.sleep(0.001)
            wanted = "1" if mine.strip() == "0" else "0"
            with ThreadPoolExecutor(1) as pool:
                pool.submit(join_namespace, str(namespace)).result()
                monkeypatch.setattr(commands, "NODE_SETTINGS", (("net/no/such", "1"), ("net/ipv4/ip_forward", wanted)))
                pool.submit(commands.write_settings).result()
                found = pool.submit(Path("/proc/sys/net/ipv4/ip_forward").read_text).result()
        finally:
            other.kill()
    assert found.strip() == wanted
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == mine


def test_a_failed_command_raises_with_its_message():
    with pytest.raises(NetworkError, match="sh -c echo oops >&2; exit 3 failed: oops"):
        commands.run(["sh", "-c", "echo oops >&2; exit 3"])


def test_a_missing_program_is_the_environments_fault():
    with pytest.raises(EnvironmentLacking, match="no-such-program is missing"):
        commands.run(["no-such-program"])


def test_a_failed_batch_line_is_quoted():
    text = commands.failure_text("set-up of n0", "", "Cannot find device\nCommand failed -:2\n", "a\nlink set x up\n")
    assert text == "set-up of n0 failed: Cannot find device (at line 2: link set x up)"
