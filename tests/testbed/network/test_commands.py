import pytest

from node_agent.errors import EnvironmentLacking
from testbed.network import commands
from testbed.network.commands import Batch, NetworkError
from testbed.scenario import LinkShape


def test_rate_limit_lines():
    assert commands.rate_limit("n0-eth0", LinkShape(20.0, 0.01, queue_packets=50)) == (
        "qdisc add dev n0-eth0 root handle 1: stab overhead -14 linklayer ethernet htb default 1",
        "class add dev n0-eth0 parent 1: classid 1:1 htb rate 20718232bit ceil 20718232bit "
        "burst 6056b cburst 6056b quantum 1514",
        "qdisc add dev n0-eth0 parent 1:1 handle 10: pfifo_fast",
    )


def test_the_room_of_a_queue_is_its_interfaces():
    shape = LinkShape(20.0, 0.01, queue_packets=50)
    assert commands.queue_room("n0-eth0", shape) == "link set dev n0-eth0 txqueuelen 50"
    assert commands.queue_room("x", LinkShape(20.0, 0.01, queue_packets=0)).endswith(" 1")


def test_a_fast_link_has_a_bucket_of_two_milliseconds():
    assert commands.bucket_bytes(LinkShape(100.0, 0.0)) == 25_898


def test_a_rate_change_touches_no_root_qdisc():
    line = commands.rate_limit_change("n0-eth0", LinkShape(0.5, 0.01))
    assert line == (
        "class change dev n0-eth0 parent 1: classid 1:1 htb rate 517956bit ceil 517956bit "
        "burst 6056b cburst 6056b quantum 1514"
    )


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (
            LinkShape(10.0, 0.02),
            "qdisc add dev l0a root handle 1: netem limit 1475 delay 20000.000us rate 10359116bit -14",
        ),
        (
            LinkShape(10.0, 0.02, jitter_s=0.0005, loss=0.015),
            "qdisc add dev l0a root handle 1: netem limit 1518 delay 20000.000us 500.000us distribution normal "
            "loss 1.500000% rate 10359116bit -14",
        ),
        (LinkShape(8.0, 0.0), "qdisc add dev l0a root handle 1: netem limit 1035 delay 0.000us rate 8287293bit -14"),
    ],
)
def test_netem_lines(shape, line):
    assert commands.netem_delay("l0a", shape) == line
    assert commands.netem_change("l0a", shape) == line.replace("qdisc add", "qdisc change")


def test_veth_ends_are_born_in_their_namespaces():
    assert commands.veth("n0-eth0", "02:00:00:00:00:01", 11, "l0a", "02:00:00:00:00:02", 22) == (
        "link add name n0-eth0 address 02:00:00:00:00:01 netns 11 type veth "
        "peer name l0a address 02:00:00:00:00:02 netns 22"
    )


def test_batch_runs_each_tool_once():
    script = Batch(ip=["link set lo up", "link show"], tc=["qdisc show"]).script()
    assert script == "ip -batch - <<'END'\nlink set lo up\nlink show\nEND\ntc -batch - <<'END'\nqdisc show\nEND\n"


def test_settings_missing_in_the_kernel_are_passed_over():
    script = commands.settings_script([("net/no/such", "1")])
    assert script.startswith("[ ! -e /proc/sys/net/no/such ] || echo 1 > /proc/sys/net/no/such\n")


def test_a_failed_command_raises_with_its_message():
    with pytest.raises(NetworkError, match="sh -c echo oops >&2; exit 3 failed: oops"):
        commands.run(["sh", "-c", "echo oops >&2; exit 3"])


def test_a_missing_program_is_the_environments_fault():
    with pytest.raises(EnvironmentLacking, match="no-such-program is missing"):
        commands.run(["no-such-program"])


def test_a_failed_batch_line_is_quoted():
    text = commands.failure_text("set-up of n0", "", "Cannot find device\nCommand failed -:2\n", "a\nlink set x up\n")
    assert text == "set-up of n0 failed: Cannot find device (at line 2: link set x up)"
