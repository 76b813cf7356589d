"""Links in virtual time, compared with times worked out by hand. 8 Mbit/s carry 1,000 bytes in a millisecond."""

import hashlib
import random
import statistics

import pytest

from node_agent.errors import InputError
from testbed.scenario import Device, Link, LinkShape, ModelChoice, PolicyChoice, Scenario, Server
from testbed.simulation.links import Links
from testbed.sizes import SEGMENT_BYTES
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.trace.processes.poisson import Poisson
from testbed.virtual_time import Calendar

MS = 1e-3
EIGHT = 8.0  # Mbit/s


class Wire:
    """Links, and the messages that arrive over them."""

    def __init__(self, *stated: tuple[str, str, LinkShape] | Link, switches=(), changing=(), later=(), seed=1):
        """`later` holds further shapes of the links that are named as changing."""
        links = [each if isinstance(each, Link) else Link(each[:2], each[2]) for each in stated]
        names = {end for link in links for end in link.ends} - set(switches)
        self.agenda = Calendar()
        self.arrived: list[tuple[str, float]] = []
        scenario = Scenario(
            name="wire", seed=seed, duration_s=10, warm_up_s=0, slot_s=1, time_scale=1, compute="paced",
            arrivals=Poisson(), model=ModelChoice("glyphs", (5,)), policy=PolicyChoice("uniform"),
            devices=tuple(Device(name, 1) for name in sorted(names) if name.startswith("d")),
            servers=tuple(Server(name, 1, 1e9) for name in sorted(names) if not name.startswith("d")),
            switches=tuple(switches), links=tuple(links), offload_to={},
            events=tuple(LinkChange(1.0, tuple(pair), new) for pair in changing for new in later),
        )  # fmt: skip
        self.links = Links(scenario, self.agenda, [frozenset(pair) for pair in changing])

    def connect(self, sender: str, receiver: str, **options):
        note = lambda name: self.arrived.append((name, self.agenda.now_s))  # noqa: E731
        return self.links.connect(sender, receiver, note, **options)

    def at(self, time_s: float, action) -> None:
        self.agenda.at(time_s, lambda _: action(), None)

    def run(self) -> dict[str, float]:
        assert self.agenda.run(100.0, 1_000_000)
        assert len(dict(self.arrived)) == len(self.arrived), "something arrived twice"
        return dict(self.arrived)


def shape(delay_ms: float = 0.0, rate: float = EIGHT, **rest) -> LinkShape:
    return LinkShape(rate, delay_ms * MS, **rest)


@pytest.mark.parametrize("changing", [(), [("d", "s")]], ids=["fixed", "changing"])
def test_messages_queue_for_the_transmitter_and_then_take_the_delay(changing):
    wire = Wire(("d", "s", shape(5)), changing=changing)
    there, back = wire.connect("d", "s"), wire.connect("s", "d")
    for name, size in (("first", 1000), ("second", 2000), ("third", 500)):
        wire.links.send(there, size, name)
    wire.links.send(back, 1000, "back")  # the other direction has its own transmitter
    wire.at(0.1, lambda: wire.links.send(there, 1000, "later"))
    assert wire.run() == pytest.approx(
        {"first": 6 * MS, "second": 8 * MS, "third": 8.5 * MS, "back": 6 * MS, "later": 106 * MS}
    )
    assert [name for name, _ in wire.arrived] == ["first", "back", "second", "third", "later"]


def test_the_channels_of_two_nodes_share_the_link():
    wire = Wire(("d", "s", shape(5)))
    data, control = wire.connect("d", "s"), wire.connect("d", "s")
    wire.links.send(data, 10_000, "tensor")
    wire.links.send(control, 100, "price")
    assert wire.run() == pytest.approx({"tensor": 15 * MS, "price": 15.1 * MS})


@pytest.mark.parametrize("changing", [(), [("d", "s")]], ids=["fixed", "changing"])
def test_urgent_messages_wait_for_one_frame_and_not_for_the_queue(changing):
    wire = Wire(("d", "s", shape(5)), changing=changing)
    data, control = wire.connect("d", "s"), wire.connect("d", "s", urgent=True)
    for name in ("one", "two"):
        wire.links.send(data, 10_000, name)
    wire.at(4 * MS, lambda: wire.links.send(control, 100, "price"))
    wire.at(4 * MS, lambda: wire.links.send(control, 100, "another"))
    wire.at(6 * MS, lambda: wire.links.send(data, 10_000, "three"))
    arrived = wire.run()
    frame_s = SEGMENT_BYTES / 1e6
    assert arrived["price"] == pytest.approx(4 * MS + frame_s + 0.1 * MS + 5 * MS)
    assert arrived["another"] == pytest.approx(arrived["price"] + 0.1 * MS)
    assert arrived["three"] == pytest.approx(30.2 * MS + 5 * MS)  # the link has carried all bytes by then, and no more


def test_jitter_spreads_the_delay_as_stated_and_keeps_the_order():
    wire = Wire(("d", "s", shape(20, jitter_s=2 * MS)))
    connection = wire.connect("d", "s")
    for number in range(2000):
        wire.at(number * 0.05, lambda number=number: wire.links.send(connection, 1000, number))
    delays = [arrived_s - number * 0.05 for number, arrived_s in wire.run().items()]
    assert statistics.mean(delays) == pytest.approx(21 * MS, abs=0.2 * MS)
    assert statistics.stdev(delays) == pytest.approx(2 * MS, rel=0.1)

    dense = Wire(("d", "s", shape(20, jitter_s=5 * MS)))
    connection = dense.connect("d", "s")
    for number in range(500):
        dense.at(number * MS, lambda number=number: dense.links.send(connection, 10, number))
    dense.run()
    assert [number for number, _ in dense.arrived] == list(range(500))
    times = [time_s for _, time_s in dense.arrived]
    assert times == sorted(times)


def test_jitter_is_the_same_for_the_same_seed():
    def times(seed):
        wire = Wire(("d", "s", shape(20, jitter_s=2 * MS)), seed=seed)
        connection = wire.connect("d", "s")
        for number in range(20):
            wire.links.send(connection, 1000, number)
        return wire.run()

    assert times(1) == times(1) != times(2)


def test_what_is_lost_is_repeated_and_holds_up_what_is_behind_it():
    wire = Wire(("d", "s", shape(10, loss=0.1)), seed=4)
    connection = wire.connect("d", "s")
    for number in range(1000):
        wire.at(number * 0.09, lambda number=number: wire.links.send(connection, 1000, number))
    arrived = wire.run()
    assert len(arrived) == 1000
    assert [number for number, _ in wire.arrived] == list(range(1000))
    late = [at_s - number * 0.09 > 11.1 * MS for number, at_s in arrived.items()]
    # 10 % are lost themselves, some twice; a message after a lost one waits for it as long as it is repeated.
    assert 0.1 < statistics.mean(late) < 0.4


def test_a_switch_passes_on_segments_and_not_whole_messages():
    wire = Wire(("d", "sw", shape(1)), ("sw", "s", shape(2)), switches=["sw"])
    wire.links.send(wire.connect("d", "s"), 100 * SEGMENT_BYTES, "tensor")
    # All but the last segment cross the second link while others still cross the first.
    assert wire.run()["tensor"] == pytest.approx(101 * SEGMENT_BYTES / 1e6 + 3 * MS)


@pytest.mark.parametrize(("first", "second"), [(8.0, 80.0), (80.0, 8.0)])
def test_the_slower_of_two_links_sets_the_pace(first, second):
    wire = Wire(("d", "sw", shape(1, first)), ("sw", "s", shape(2, second)), switches=["sw"])
    wire.links.send(wire.connect("d", "s"), 100 * SEGMENT_BYTES, "tensor")
    assert wire.run()["tensor"] == pytest.approx(100.1 * SEGMENT_BYTES / 1e6 + 3 * MS)


def test_flows_meet_at_the_link_that_they_share():
    wire = Wire(
        ("d1", "sw", shape(0, 80.0)), ("d2", "sw", shape(0, 80.0)), ("sw", "s", shape(0)), switches=["sw"]
    )  # fmt: skip
    for name in ("d1", "d2"):
        wire.links.send(wire.connect(name, "s"), 14_480, name)
    arrived = wire.run()
    assert arrived["d1"] == pytest.approx(14_480 / 1e6 + SEGMENT_BYTES / 1e7)
    assert arrived["d2"] == pytest.approx(2 * 14_480 / 1e6 + SEGMENT_BYTES / 1e7)


def test_results_find_their_way_over_other_nodes():
    wire = Wire(("d", "near", shape(1)), ("near", "mid", shape(2)), ("mid", "core", shape(4)))
    wire.links.send(wire.connect("core", "d"), 1000, "result")
    wire.links.send(wire.connect("d", "core"), 1000, "task")
    assert wire.run() == pytest.approx({"result": 10 * MS, "task": 10 * MS})


def test_fewest_nodes_count_before_length():
    links = (("d", "s", shape(90)), ("d", "x", shape(1)), ("x", "s", shape(1)))
    wire = Wire(*links)
    wire.links.send(wire.connect("d", "s"), 1000, "own link")
    assert wire.run() == pytest.approx({"own link": 91 * MS})


def test_without_a_way_there_is_a_clear_error():
    wire = Wire(("d", "s", shape(1)), ("d2", "s2", shape(1)))
    with pytest.raises(InputError, match="no links lead from d to s2"):
        wire.connect("d", "s2")


def changed_at(time_s, new, *, sizes=(1000, 1000, 1000), old=None, links=None):
    wire = Wire(*(links or [("d", "s", old or shape(5))]), changing=[("d", "s")])
    connection = wire.connect("d", "s")
    for number, size in enumerate(sizes):
        wire.links.send(connection, size, number)
    wire.at(time_s, lambda: wire.links.change(("s", "d"), new))
    return wire, connection


def test_a_slower_rate_meets_the_message_in_the_transmitter_and_those_behind_it():
    wire, _ = changed_at(1.5 * MS, shape(5, EIGHT / 10))
    # The first has left the transmitter. Half of the second is left: 5 ms more; the third takes 10 ms.
    assert wire.run() == pytest.approx({0: 6 * MS, 1: (1.5 + 5 + 5) * MS, 2: (1.5 + 5 + 10 + 5) * MS})


def test_a_faster_rate_does_so_too():
    wire, _ = changed_at(1.5 * MS, shape(5, EIGHT * 10))
    assert wire.run() == pytest.approx({0: 6 * MS, 1: (1.5 + 0.05 + 5) * MS, 2: (1.5 + 0.05 + 0.1 + 5) * MS})


def test_a_shorter_delay_overtakes_nothing_on_its_way():
    wire, connection = changed_at(2.5 * MS, shape(0.1), old=shape(50))
    wire.at(4 * MS, lambda: wire.links.send(connection, 1000, "late"))
    arrived = wire.run()
    # Two have left the transmitter and keep their 50 ms; TCP delivers later messages only after them.
    assert arrived == pytest.approx({0: 51 * MS, 1: 52 * MS, 2: 52 * MS, "late": 52 * MS})
    assert [name for name, _ in wire.arrived] == [0, 1, 2, "late"]


def test_a_change_that_changes_nothing_is_not_felt():
    wire, _ = changed_at(1.5 * MS, shape(5))
    assert wire.run() == pytest.approx({0: 6 * MS, 1: 7 * MS, 2: 8 * MS})


def test_a_change_on_the_way_through_a_switch():
    links = [("d", "s", shape(1)), ("s", "core", shape(1))]
    wire, _ = changed_at(1.0 * MS, shape(1, EIGHT / 10), links=links)
    relayed = Wire(("d", "s", shape(1)), ("s", "core", shape(1)), changing=[("d", "s")])
    connection = relayed.connect("d", "core")
    for number in range(3):
        relayed.links.send(connection, 1000, number)
    relayed.at(1.0 * MS, lambda: relayed.links.change(("d", "s"), shape(1, EIGHT / 10)))
    # A segment each: the first is through; the others take 10 ms on the first link and one on the second.
    assert relayed.run() == pytest.approx({0: 4 * MS, 1: (1 + 10 + 1 + 1 + 1) * MS, 2: (1 + 20 + 1 + 1 + 1) * MS})
    assert wire.run()[2] == pytest.approx((1 + 20 + 1) * MS)


def test_each_direction_may_have_a_shape_of_its_own_and_change_alone():
    wire = Wire(Link(("d", "s"), shape(5), down_shape=shape(20, EIGHT / 10)), changing=[("d", "s")])
    there, back = wire.connect("d", "s"), wire.connect("s", "d")
    for connection, name in ((there, "up"), (back, "down")):
        wire.links.send(connection, 1000, name)
        wire.at(0.1, lambda connection=connection, name=name: wire.links.send(connection, 1000, f"later {name}"))
    wire.at(0.05, lambda: wire.links.change(("d", "s"), shape(1, EIGHT * 10), sender="s"))
    assert wire.run() == pytest.approx(
        {"up": 6 * MS, "down": 30 * MS, "later up": 106 * MS, "later down": (100 + 0.1 + 1) * MS}
    )


def overtaken(change_s=None, new=None):
    """Send ten milliseconds of data, and two urgent messages that overtake them after 4 ms."""
    wire = Wire(("d", "s", shape(5)), changing=[("d", "s")])
    data, control = wire.connect("d", "s"), wire.connect("d", "s", urgent=True)
    for name in ("one", "two"):
        wire.links.send(data, 5_000, name)
    for name in ("price", "another"):
        wire.at(4 * MS, lambda name=name: wire.links.send(control, 100, name))
    if change_s is not None:
        wire.at(change_s, lambda: wire.links.change(("d", "s"), new))
    wire.at(15 * MS, lambda: wire.links.send(data, 1000, "last"))
    return wire.run()


@pytest.mark.parametrize("change_ms", [3.9, 4.0, 4.5, 5.05, 5.15, 6.0, 10.1])
def test_a_change_that_changes_nothing_is_not_felt_by_what_overtakes(change_ms):
    assert overtaken(change_ms * MS, shape(5)) == pytest.approx(overtaken())


def test_a_change_meets_what_overtakes_too():
    arrived = overtaken(4.5 * MS, shape(5, EIGHT / 10))
    # "one" ends at 5 ms; half a millisecond of it and of the frame before "price" take ten times as long.
    assert arrived["price"] == pytest.approx(4.5 * MS + 10 * (overtaken()["price"] - 5 * MS - 4.5 * MS) + 5 * MS)
    assert arrived["another"] == pytest.approx(arrived["price"] + 1 * MS)
    assert arrived["one"] == pytest.approx((4.5 + 5 + 5) * MS)
    assert arrived["last"] == pytest.approx((4.5 + 10 * (10.2 - 4.5) + 10 + 5) * MS)


def test_a_shorter_delay_does_not_let_a_message_pass_an_urgent_one_of_its_connection():
    """The first message has overtaken and is under way when the link changes; the second is in the transmitter."""
    wire = Wire(("d", "s", shape(50)), changing=[("d", "s")])
    data, control = wire.connect("d", "s"), wire.connect("d", "s", urgent=True)
    wire.links.send(data, 20_000, "tensor")
    wire.at(1 * MS, lambda: wire.links.send(control, 100, "first"))
    wire.at(30 * MS, lambda: wire.links.send(control, 1000, "second"))
    wire.at(30.5 * MS, lambda: wire.links.change(("d", "s"), shape(0.1)))
    arrived = wire.run()
    assert arrived["first"] == pytest.approx(1 * MS + SEGMENT_BYTES / 1e6 + 0.1 * MS + 50 * MS)
    assert arrived["second"] >= arrived["first"]


def test_links_without_loss_and_jitter_give_the_times_they_always_gave():
    """The times are exact to the last digit: the model of TCP is not used."""
    drawn = random.Random(3)
    wire = Wire(
        ("d", "sw", shape(1, 20.0)), ("sw", "s1", shape(4, 50.0)), ("sw", "s2", shape(7, 10.0)),
        ("s1", "t", shape(2, 5.0)), switches=["sw"], changing=[("s1", "t")],
    )  # fmt: skip
    connections = [
        wire.connect(*ends, urgent=urgent)
        for ends in (("d", "s1"), ("d", "s2"), ("s1", "d"), ("s1", "t"), ("d", "t"))
        for urgent in (False, True)
    ]
    for number in range(600):
        connection, size = drawn.choice(connections), drawn.randrange(100, 30_000)
        wire.at(drawn.random() * 2, lambda c=connection, s=size, n=number: wire.links.send(c, s, n))
    for step in range(20):
        new = shape(drawn.uniform(1, 9), drawn.uniform(2, 9))
        wire.at(0.1 * step, lambda new=new: wire.links.change(("s1", "t"), new))
    times = "".join(f"{number} {time_s!r}\n" for number, time_s in sorted(wire.run().items()))
    digest = "a921ced3cae184ca2aedb01c712768efd398e93aa5867fe95fb902569a53f698"
    assert hashlib.sha256(times.encode()).hexdigest() == digest
