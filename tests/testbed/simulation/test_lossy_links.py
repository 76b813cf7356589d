"""TCP over links that lose frames: outages, nodes that go down, urgent messages, seeds."""

import statistics

import pytest

from tests.testbed.simulation.test_links import EIGHT, MS, Wire, shape


def periodic(wire, connection, count, gap_s, size=1000):
    for number in range(count):
        wire.at(number * gap_s, lambda number=number: wire.links.send(connection, size, number))


def test_messages_arrive_all_and_in_order_and_some_late():
    wire = Wire(("d", "s", shape(20, 50.0, loss=0.02)))
    periodic(wire, wire.connect("d", "s"), 800, 0.1, size=12_000)
    arrived = wire.run()
    assert [number for number, _ in wire.arrived] == list(range(800))
    delays = [arrived[number] - 0.1 * number for number in range(800)]
    # 12 kB are nine segments, 0.24 ms each on average; a message that loses nothing and finds room takes no longer.
    assert min(delays) == pytest.approx(20 * MS + 12_000 * 8 / 50e6, abs=0.3 * MS)
    assert statistics.mean(delays) > 1.3 * min(delays)


def test_equal_seeds_give_equal_times():
    def times(seed):
        wire = Wire(("d", "s", shape(20, loss=0.05)), seed=seed)
        periodic(wire, wire.connect("d", "s"), 100, 0.1, size=5000)
        return wire.run()

    assert times(1) == times(1) != times(2)


def test_an_outage_holds_everything_and_its_end_lets_it_through():
    wire = Wire(("d", "s", shape(20, 50.0, loss=0.001)), changing=[("d", "s")])
    periodic(wire, wire.connect("d", "s"), 80, 0.5)
    wire.at(5.01, lambda: wire.links.change(("d", "s"), shape(20, 1e-9, loss=0.001)))
    wire.at(25.01, lambda: wire.links.change(("d", "s"), shape(20, 50.0, loss=0.001)))
    arrived = wire.run()
    held = [number for number in range(80) if 5.01 < 0.5 * number < 25]
    # Packets in the node's own queue leave at once, the rest as the window opens: nothing waits for a time-out.
    assert all(25.01 < arrived[number] < 25.4 for number in held)
    assert arrived[70] - 35.0 == pytest.approx(20.2 * MS, abs=0.2 * MS)


def test_a_link_that_loses_everything_is_asked_again_every_two_seconds():
    wire = Wire(("d", "s", shape(20, 50.0)), changing=[("d", "s")], later=[shape(20, 50.0, loss=1.0)])
    connection = wire.connect("d", "s")
    wire.at(0.5, lambda: wire.links.change(("d", "s"), shape(20, 50.0, loss=1.0)))
    wire.at(1.0, lambda: wire.links.send(connection, 1000, "lost"))
    wire.at(31.0, lambda: wire.links.change(("d", "s"), shape(20, 50.0)))
    assert 31.0 < wire.run()["lost"] < 33.2


def test_a_node_that_went_down_begins_with_a_new_connection():
    wire = Wire(("d", "s", shape(20, 50.0, loss=0.001)))
    there = wire.connect("d", "s")
    wire.links.send(there, 500_000, "cut off")  # some rounds long
    wire.at(0.03, lambda: wire.links.hang_up("s"))
    wire.at(1.0, lambda: wire.links.send(there, 1000, "new"))
    arrived = wire.run()
    assert arrived == {"new": pytest.approx(1.0 + 20.2 * MS, abs=0.2 * MS)}
    assert there.tcp.at["d"].sender.written == 1000


def test_what_a_node_had_sent_before_it_went_down_arrives():
    wire = Wire(("d", "s", shape(20, 50.0, loss=0.001)))
    wire.links.send(wire.connect("d", "s"), 10_000, "sent")
    wire.at(0.005, lambda: wire.links.hang_up("d"))
    assert "sent" in wire.run()


def test_urgent_messages_do_not_wait_for_what_fills_the_link():
    wire = Wire(("d", "s", shape(5, EIGHT, loss=0.0001)))
    data, control = wire.connect("d", "s"), wire.connect("d", "s", urgent=True)
    wire.links.send(data, 12_000, "tensor")
    wire.at(2 * MS, lambda: wire.links.send(control, 100, "price"))
    arrived = wire.run()
    assert arrived["price"] < 2 * MS + (1.5 + 0.2 + 5.1) * MS < arrived["tensor"]


def test_over_a_switch_each_link_loses_its_share():
    def mean_s(*links, **more):
        wire = Wire(*links, **more)
        periodic(wire, wire.connect("d", "s"), 900, 0.1)
        return statistics.mean(at_s - 0.1 * number for number, at_s in wire.run().items())

    two = mean_s(
        ("d", "sw", shape(10, 50.0, loss=0.02)), ("sw", "s", shape(10, 50.0, loss=0.02)), switches=["sw"]
    )  # fmt: skip
    one = mean_s(("d", "s", shape(20, 50.0, loss=0.0396)))
    assert two == pytest.approx(one, rel=0.25)
    assert two > 25 * MS
