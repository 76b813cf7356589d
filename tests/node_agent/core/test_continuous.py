"""Planning by need: silence while nothing changes, and news at once when something does.

Every event of these worlds is followed by `validate`.
"""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from node_agent.core.events import Received
from node_agent.core.machine import DeviceCore
from node_agent.core.planning.continuous import NEWS, REST_SLOTS
from node_agent.wire import Message, Offer, Report
from tests.node_agent.core.test_under_way import Played, config, report_of
from tests.node_agent.virtual import DEAD, World

SLOT_S = 3.0
CHANGE_S = 24.5  # when something changes [s], half a second after a slot has begun


@dataclass
class Watched(World):
    """A world that keeps the messages of its nodes, and the rows whenever they change."""

    sent: list[tuple[float, str, str, Message]] = field(default_factory=list)  # time [s], sender, receiver

    def __post_init__(self) -> None:
        super().__post_init__()
        self._random.expovariate = lambda rate: 1 / rate
        for driver in self.drivers.values():
            driver._send = self._keeping(driver.name, driver._send)

    def _keeping(self, name, send):
        def keep(effect):
            if self._started:
                self.sent.append((self.now_s, name, effect.peer, effect.message))
            return send(effect)

        return keep

    def messages(self, kind, sender=None, after_s=0.0, before_s=DEAD):
        """Return the messages of a kind: time [s], sender, receiver, message."""
        return [
            each for each in self.sent
            if isinstance(each[3], kind) and sender in (None, each[1]) and after_s <= each[0] < before_s
        ]  # fmt: skip

    def rounds(self, name, slot):
        """Return the number of rounds that an offloader has played in a slot."""
        return len({each[3].round for each in self.messages(Offer, name) if each[3].slot == slot})


def fast(_a, _b, size):
    """Return the time of a message [s], by the bytes of its tensor: a link of 8 Mbit/s."""
    return 0.005 + size / 1e6


def world(**options) -> Watched:
    servers = {"a1": (1, 30.0), "a2": (1, 20.0), "b1": (2, 30.0), "b2": (2, 20.0)}
    return Watched(servers, {"d1": 5.0, "d2": 5.0}, policy="dto-ee", slot_s=SLOT_S, link_s=fast, **options)


def share(world, offloader="d1", receiver="a1"):
    return world.nodes[offloader].routing.shares()[receiver]


@pytest.fixture(scope="module")
def quiet() -> Watched:
    """Return a network in which nothing changes, with the rows and thresholds around each start of a slot."""
    found = world()
    found.around = []

    def note(w):
        found.around.append({n: (c.routing.row.tolist(), c.routing.threshold) for n, c in w.nodes.items()})

    found.plan = [(slot * SLOT_S + off_s, note) for slot in range(10, 20) for off_s in (-1e-6, 1e-6)]
    found.run(60.0)
    return found


def test_a_settled_network_plays_about_one_round_a_slot(quiet):
    for name in ("d1", "d2", "a1", "a2"):
        played = [quiet.rounds(name, slot) for slot in range(8, 20)]
        assert min(played) >= 1  # neighbours notice that it is alive
        assert sum(played) <= 1.25 * len(played), (name, played)


def test_rows_and_thresholds_carry_over_from_slot_to_slot(quiet):
    assert len(quiet.around) == 20
    for before, after in zip(quiet.around[::2], quiet.around[1::2], strict=True):
        assert before == after


def test_the_gap_of_a_settled_network_is_small(quiet):
    gaps = [each.gap for each in quiet.decisions if each.node in quiet.devices and each.slot >= 10]
    assert len(gaps) >= 18
    assert max(gaps) < 0.05


def test_every_node_decides_once_a_slot(quiet):
    for name in quiet.drivers:
        slots = [each.slot for each in quiet.decisions if each.node == name]
        assert slots == sorted(set(slots))
        assert set(range(1, 18)) <= set(slots)


def test_a_quiet_server_reports_only_when_it_is_asked(quiet):
    offers = [(to, sender) for _, sender, to, _ in quiet.messages(Offer, after_s=24.0, before_s=59.9)]
    reports = [(sender, to) for _, sender, to, _ in quiet.messages(Report, after_s=24.0, before_s=59.9)]
    assert sorted(offers) == sorted(reports)


@pytest.fixture(scope="module")
def slowed() -> Watched:
    """Return a network in which a server slows to a third, with the share of its tasks before and soon after.

    The first service that is late takes 0.1 s and begins within 0.2 s. Then come a status or a report (20 ms), and two
    sweeps of some 30 ms.
    """
    found = world()
    found.shares = []
    found.plan = [(CHANGE_S, lambda w: w.set_speed("a1", 10.0))]
    found.plan += [(at_s, lambda w: w.shares.append(share(w))) for at_s in (CHANGE_S, CHANGE_S + 0.4, 29.9)]
    found.run(30.0)
    return found


def test_a_server_that_has_slowed_loses_tasks_within_two_sweeps(slowed):
    before, soon, later = slowed.shares
    assert before > 0.5
    assert soon < before / 2
    assert later < before / 2
    assert slowed.all_completed


def test_a_price_that_has_changed_is_reported_without_an_offer(slowed):
    known = slowed.messages(Report, "a1", before_s=CHANGE_S)[-1][3]
    at_s, _, _, report = slowed.messages(Report, "a1", after_s=CHANGE_S)[0]
    asked = [each for each in slowed.messages(Offer, after_s=CHANGE_S, before_s=at_s) if each[2] == "a1"]
    assert asked == []
    assert report.marginal_s > (1 + NEWS) * known.marginal_s
    assert at_s < CHANGE_S + 0.4
    assert slowed.rounds("d1", 8) > 1  # the offloader has played at once, not in the next slot


def test_a_receiver_that_is_dead_gets_no_share_until_it_is_back():
    found = world(plan=[(CHANGE_S, lambda w: w.kill("a1")), (36.5, lambda w: w.revive("a1"))])
    found.shares = []
    found.plan += [(at_s, lambda w: w.shares.append(share(w))) for at_s in (CHANGE_S, 30.5, 36.0, 41.9)]
    found.run(42.0)
    before, *dead, back = found.shares
    assert dead == [0.0, 0.0]
    assert back == pytest.approx(before, abs=0.2)
    assert found.all_completed
    late = [task for task in found.tasks if 27.5 < task.created_s < 36]
    assert len(late) > 50
    assert {task.hops[0].node for task in late} == {"a2"}


def busier(world):
    """Give d1 three times as many tasks for 6 s."""
    for number in range(60):
        world._schedule("d1", world.now_s + number / 10)


def test_a_changed_rate_of_a_device_is_announced_at_once():
    found = world(plan=[(CHANGE_S, busier)])
    found.run(27.0)

    def announced(before_s):
        last = {to: offer.flow_per_s for _, _, to, offer in found.messages(Offer, "d1", before_s=before_s)}
        return sum(last.values())

    assert announced(CHANGE_S) == pytest.approx(5.0, rel=0.05)
    assert announced(26.9) > 8.0  # within the slot in which it has changed
    assert found.messages(Offer, "d1", after_s=CHANGE_S, before_s=27.0)


def test_prices_that_are_stale_give_no_momentum():
    """The third round lacks a report: the velocity after it is a step of at most 0.1 by the last slope alone."""
    core = DeviceCore(
        replace(config("d1", 0, (), ("b1", "b2")), policy="dto-ee", parameters={"update": "momentum"}, slot_s=SLOT_S)
    )
    device = Played(core)
    momenta = []
    for answers in (("b1", 0.9), ("b2", 0.1)), (("b1", 0.9), ("b2", 0.1)), (("b1", 0.9),):
        if not core.rounds._playing:
            device.fire(next(key for key in sorted(device.timers) if key[0] in ("round", "slot")))
        offer = device.sent(Offer)[-1][1]
        for peer, marginal_s in answers:
            prices = {"marginal_s": marginal_s, "best_s": marginal_s}
            device.receive(Received(peer, replace(report_of(0), slot=offer.slot, round=offer.round, **prices)))
        if len(answers) == 1:
            device.fire(("reports",))
        momenta.append(core.routing.policy.unchecked._stepping._momentum)
    _, before, after = momenta
    assert any(before.velocity)
    assert after.step > 0.1
    for moved, slope in zip(after.velocity, after.gradient, strict=True):
        assert moved == pytest.approx(-0.1 * slope)


def test_a_device_without_tasks_offers_in_every_other_slot():
    found = world()
    found.run(60.0, tasks=False)
    slots = {offer.slot for _, _, _, offer in found.messages(Offer, "d1", after_s=24.0, before_s=59.9)}
    assert slots == {slot for slot in range(8, 20) if slot % REST_SLOTS == 0}
    for core in found.nodes.values():  # nobody took it for dead
        assert all(receiver.alive for receiver in core.routing.receivers.values())
    assert found.nodes["a1"].rounds.pricing.offers.get("d1") is not None
