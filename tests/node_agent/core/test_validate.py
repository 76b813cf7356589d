"""Each invariant of the node state machine is broken on purpose, and found after the next event, with the story."""

import re
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace

from node_agent.core.events import ComputeFinished, Received, TaskArrived
from node_agent.core.offloading.probing import SentProbe
from node_agent.core.returns import _Sent
from node_agent.errors import InvalidState, refuse_negative
from node_agent.wire import Handover, Status, Task, Tensor
from tests.node_agent.virtual import ACTIVATION, IMAGE, World, three_stages

NAN = float("nan")


PICTURE = Tensor(IMAGE, bytes(IMAGE.byte_count))
UNSURE = ComputeFinished(1, 0.0, Tensor(ACTIVATION, bytes(ACTIVATION.byte_count)), overrun=False)


@cache
def played(policy: str = "dto-ee-static") -> World:
    """Return a world after some slots: d1 owns a task, a1 has a task in the queue, one in service, one forwarded."""
    world = three_stages(policy=policy)
    world.run(6.0)
    for number in range(3):
        world.nodes["a1"].handle(Received("d1", Task(9000 + number, "d1", 1, 1, 0.0, (), IMAGE), PICTURE), world.now_s)
    world.nodes["a1"].handle(UNSURE, world.now_s + 0.03)
    world.nodes["d1"].handle(TaskArrived(9000, 0, world.now_s, PICTURE), world.now_s)
    return world


def node_of(world: World, name: str):
    """Return a copy of a node, for a test to break."""
    return deepcopy(world.nodes[name])


def nothing(core) -> None:
    """Give the node an event that changes nothing."""
    core.handle(Received("nobody", Status(0)), core._outbox.now_s)


def owned(core):
    return next(iter(core.tasks._owned.values()))


def forwarded(core):
    return next(iter(core.tasks._forwarded.values()))


def receiver(core):
    return next(iter(core.routing.receivers.values()))


def sets(part: str, **values):
    """Return a function that sets attributes of `part` of a node, a path of attributes, to these values."""

    def spoil(core):
        for name in part.split(".") if part else ():
            core = getattr(core, name)
        for name, value in values.items():
            assert hasattr(core, name)
            setattr(core, name, value)

    return spoil


def double_in_flight(core):
    (peer, number), probe = ("a1", core._probes._sequence), SentProbe(0.0, None)
    core._probes._sent = {(peer, number): probe, (peer, number - 1): probe}


def takes_back_an_offer(core):
    owned(core).offers.pop()


def both_owned_and_completed(core):
    core.tasks._completed.add(owned(core).task_id)
    core.tasks._completed.discard(next(iter(core.tasks._completed - {owned(core).task_id})))


def tries_one_twice(core):
    item = forwarded(core)
    item.failed.append(Handover(item.receiver.name, 1.0))


def serves_nobody(core):
    tasks = core.tasks
    tasks._queue.append(tasks._serving)
    tasks._serving = None


def holds_another(core):
    core.tasks._held.add(("d9", 1))


def hears_of_a_late_slot(core):
    core._coordinator._states["d1"] = replace(core._coordinator._states["d1"], slot=99)


def keeps_an_old_inflow(core):
    offers = core.rounds._offers
    offers._sum = offers.inflow._replace(arrival_per_s=99.0)


def takes_an_offer_of_a_silent_one(core):
    core.rounds._missed["d1"] = 2


def takes_an_offer_of_a_later_round(core):
    core.rounds._offers.take("d1", replace(core.rounds._offers.get("d1"), round=99))


def awaits_who_has_offered(core):
    rounds = core.rounds
    rounds._awaited.add(next(name for name, offer in rounds._offers.items() if offer.round == rounds._number[1]))
    core._outbox.timers.add(("offers",))


def awaits_without_a_timer(core):
    core.rounds._offers.drop("d1")
    core.rounds._awaited = {"d1"}


def awaits_in_no_round(core):
    core.rounds._sweep._round, core.rounds._sweep._awaited = (-1, -1), {"b1"}


def reports_without_a_timer(core):
    core.rounds._sweep._awaited = {"b1"}
    core._outbox.timers.discard(("reports",))


def probed_from_the_future(core):
    core.returns._sent["d1"] = _Sent(core.returns._sequence + 9, 0.0, again=False)


def knows_a_stranger(core):
    core.returns._times_s["d9"] = 0.1


def starts_without_a_timer(core):
    core._probes._starting = True


BROKEN = [
    # the row and its receivers
    ("d1", sets("routing", row=np.array([0.5, 0.4, 0.0])), r"routing: the row \[0.5, 0.4, 0.0\] is not 3 "),
    ("d1", sets("routing", row=np.array([1.5, -0.5, 0.0])), "routing: the row .*sum to one"),
    ("d1", sets("routing", row=np.array([1.0])), "routing: the row .*sum to one"),
    ("d1", sets("routing", row=np.array([NAN, 0.5, 0.5])), "routing: the row .*sum to one"),
    ("a1", lambda core: receiver(core).set_out(1.0), r"routing: tasks on their way: \{.*\} counted, \{.*\} known"),
    ("d1", lambda core: receiver(core).set_out(1.0), r"routing: tasks on their way: \{.*\} counted, \{.*\} known"),
    ("d1", lambda core: setattr(receiver(core), "unacked", -1), "receiver a1: unacked is -1"),
    ("d1", lambda core: setattr(receiver(core), "sent", -1), "receiver a1: sent is -1"),
    ("d1", lambda core: setattr(receiver(core), "told_backlog", -2), "receiver a1: told_backlog is -2"),
    ("d1", lambda core: setattr(receiver(core), "missed", -1), "receiver a1: missed is -1"),
    ("d1", lambda core: setattr(receiver(core), "return_correction_s", NAN), "receiver a1: return_correction_s is nan"),
    ("d1", lambda core: setattr(receiver(core).link, "_task_s", -0.5), "link to a1: task_s is -0.5"),
    ("d1", lambda core: setattr(receiver(core).link, "back_s", NAN), "link to a1: back_s is nan"),
    ("d1", lambda core: setattr(receiver(core), "sent_in_slot", -1), "receiver a1: sent_in_slot is -1"),
    ("d1", sets("routing._spreading._one", credits=[0.5, 0.2, 1.0]), r"spreading: the credits \[0.5, 0.2, 1.0\] of "),
    ("d1", sets("routing", leaving_per_s=-1.0), "routing: leaving_per_s is -1.0"),
    ("a1", sets("routing", threshold=2.5), "routing: the threshold is 2.5, not within 0..2"),
    # a device's tasks
    ("d1", sets("tasks", lost=3), r"tasks: \d+ arrived, but .* \+ 3 lost \+ 0 refused \+ \d+ owned"),
    ("d1", sets("tasks", arrived=9, refused=9), "tasks: 9 refused without a bound"),
    ("d1", sets("tasks", lost=-1), "tasks: lost is -1"),
    ("d1", sets("tasks", duplicates=-1), "tasks: duplicates is -1"),
    ("d1", lambda core: core.tasks._completed.add(10**6), r"tasks: \d+ arrived, but \d+ completed \(\d+ known\)"),
    ("d1", both_owned_and_completed, r"tasks: \[\d+\] are owned and completed"),
    ("d1", lambda core: setattr(owned(core), "attempts", 9), r"task \d+: attempt 9 of at most 5"),
    ("d1", lambda core: setattr(owned(core), "sequence", 10**6), r"task \d+: attempt 1 of at most 5, message 1000000 "),
    ("d1", takes_back_an_offer, r"task \d+: offered 1 times, last to a\d, but \[\] are kept"),
    ("d1", lambda core: core._outbox.timers.discard(("result", owned(core).task_id)),
     r"timers: \[\('result', \d+\)\] should be set, \[\] should not"),
    ("d1", lambda core: core._outbox.timers.add(("ack", 10**6)),
     r"timers: \[\] should be set, \[\('ack', 1000000\)\] should not"),
    ("d1", sets("tasks.rate", per_s=NAN), "arrival rate: per_s is nan"),
    ("d1", sets("tasks.rate", _since_s=1e6), r"arrival rate: counted since 1000000.0 s, but it is [\d.]+ s"),
    ("d1", sets("_stillness", _arrived=10**6), r"stillness: 1000000 tasks were seen, but \d+ have arrived"),
    # a server's tasks
    ("a1", holds_another, r"tasks: \[.*\] are in the queue or served, but \[.*\('d9', 1\).*\] are held"),
    ("a1", sets("tasks", arrived=10**6), r"tasks: 1000000 arrived, but \d+ served \+ \d+ held"),
    ("a1", sets("tasks", forwards=0), r"tasks: \d+ served, but \d+ exits \+ 0 forwarded"),
    ("a1", sets("tasks", served_s=-1.0), "tasks: served_s is -1.0"),
    ("a1", sets("tasks", _calibrating=True), r"tasks: serving: True, measuring: True, \d+ in the queue"),
    ("a1", serves_nobody, r"tasks: serving: False, measuring: False, \d+ in the queue"),
    ("a1", lambda core: setattr(forwarded(core), "attempt", 0), r"forwarded task \d+: message \d+ of \d+, attempt 0"),
    ("a1", tries_one_twice, r"forwarded task \d+: tried \['b\d', 'b\d'\], one of them twice"),
    ("a1", lambda core: core._outbox.timers.discard(("ack", next(iter(core.tasks._forwarded)))),
     r"timers: \[\('ack', \d+\)\] should be set, \[\] should not"),
    ("a1", sets("tasks.service", _mean_s=0.0), "service time: the mean is 0.0 s"),
    ("a1", sets("tasks.service", _variance_s2=-1.0), "service time: variance_s2 is -1.0"),
    # rounds
    ("d1", sets("rounds", _number=(1, 10**6)), "rounds: round 1000001 of at most"),
    ("d1", sets("rounds", _gaps=[0.1] * 999), r"rounds: round \d+ of at most \d+, with the gaps"),
    ("d1", sets("rounds", _rate_per_s=NAN), "rounds: rate_per_s is nan"),
    ("d1", sets("rounds._sweep", _awaited={"z"}), r"sweep: reports of \['z'\] are awaited, who are no receivers"),
    ("a1", awaits_in_no_round, r"sweep: reports of \['b1'\] are awaited in no round: \(-1, -1\)"),
    ("a1", reports_without_a_timer, r"timers: \[\('reports',\)\] should be set"),
    ("a1", sets("rounds.pricing", backlog=-1), "rounds: backlog is -1"),
    ("a1", takes_an_offer_of_a_silent_one, r"rounds: \['d1'\] are silent or no offloaders"),
    ("a1", takes_an_offer_of_a_later_round, r"rounds: in round \(\d+, \d+\), \[.*\] are awaited, with the offers"),
    ("a1", awaits_who_has_offered, r"rounds: in round \(\d+, \d+\), \['d\d'\] are awaited, with the offers"),
    ("a1", awaits_without_a_timer, r"timers: \[\('offers',\)\] should be set"),
    ("a1", sets("rounds", _decided_slot=99), r"rounds: in round \(\d+, \d+\), slot 99 is decided"),
    ("a1", keeps_an_old_inflow, r"rounds: the offers announce Inflow\(.*\), but Inflow\(arrival_per_s=99.0,"),
    # probes, ways back, the coordinator, timers, samples
    ("d1", double_in_flight, r"probes: under way to \['a1', 'a1'\]"),
    ("d1", sets("_probes", _sent={("a1", 10**6): SentProbe(0.0, None)}), r"probes: \[\('a1', 1000000\)\] are "),
    ("d1", starts_without_a_timer, r"timers: \[\('probe',\)\] should be set"),
    ("b1", knows_a_stranger, r"ways to devices: \['d9'\] are not among the devices"),
    ("b1", sets("returns", _unprobed=7), r"ways to devices: \d of 5 devices were probed, but 7 not yet"),
    ("b1", probed_from_the_future, r"ways to devices: probes \{'d1': \d+\}, but \d+ was the last number"),
    ("b1", sets("returns", _times_s={"d1": -1.0}, _mean_s=None), "way to d1: time_s is -1.0"),
    ("b1", sets("returns", _mean_s=9.0), "ways to devices: the mean kept is 9.0 s, but it is"),
    ("c1", hears_of_a_late_slot, r"coordinator: it is slot \d+, but states are of \{'d1': 99\}"),
    ("c1", sets("_coordinator", _awaited={"z"}), r"coordinator: \['z'\] are no nodes"),
    ("c1", sets("_coordinator", _awaited={"d1"}), r"timers: \[\('plan',\)\] should be set"),
    ("d1", lambda core: core._outbox.timers.add(("slot", 99)), r"timers: \[.*\('slot', 99\).*\] are set: one is"),
    ("d1", lambda core: core._outbox.timers.add(("tea",)), r"timers: \[.*\('tea',\).*\] are set"),
    ("a1", lambda core: core._outbox.timers.discard(("sample",)), r"timers: .*\[\('sample',\)\] should be"),
    ("d1", sets("", _last=(0.0, 10**6, 0, 0, 0)), r"samples: counts have fallen from \(1000000, 0, 0, 0\) to"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "spoil", "said"), BROKEN, ids=[f"{node}: {said}" for node, _, said in BROKEN])
def test_a_broken_invariant_is_found_after_the_next_event_with_the_story(node, spoil, said):
    policy = "ga" if node == "c1" else "dto-ee-static"
    core = node_of(played(policy), node)
    nothing(core)
    spoil(core)
    with pytest.raises(InvalidState) as caught:
        nothing(core)
    assert re.match(said, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
    assert "report it" in caught.value.hint
    title, *lines = caught.value.__notes__[0].splitlines()
    assert title.startswith(f"The story of {node}, ")
    assert len(lines) == 200
    status = "Status(backlog=0, service_per_s=None, onward_delay_s=None, work_s=None, sent_s=None)"
    assert f" < Received(peer='nobody', message={status}, tensor=None, received_s=None)" in "".join(lines[-2:])


def offers_of(core):
    return core.rounds._offers


def keeps_a_sum_of_old_offers(core):
    offers_of(core)._sum = offers_of(core).inflow._replace(arrival_per_s=99.0)


def overfills(core):
    core.rounds._budget._buckets["a1"].tokens = 1e9


def fills_in_the_future(core):
    core.rounds._budget._buckets["a1"].at_s = 1e6


CONTINUOUS = [
    ("d1", sets("rounds", _played=-1), "rounds: played is -1"),
    ("d1", sets("rounds", _pause_s=NAN), "rounds: pause_s is nan"),
    ("d1", sets("rounds", _slot=-2), "rounds: slot is -1"),
    ("d1", sets("rounds", _rate_per_s=NAN), "rounds: rate_per_s is nan"),
    ("d1", sets("rounds", _playing=True), "rounds: in play: True, reports awaited: False"),
    ("d1", sets("rounds._sweep", _awaited={"a1"}), "rounds: in play: False, reports awaited: True"),
    ("d1", sets("rounds", _wanted=True), "rounds: another round is wanted after this one, but none is in play"),
    ("d1", overfills, r"budget of a1: 1000000000.0 of [\d.]+ bytes"),
    ("d1", fills_in_the_future, r"budget of a1: .* at 1000000.0 s"),
    ("d1", lambda core: setattr(core.rounds._budget._buckets["a1"], "tokens", NAN), "budget of a1: nan of"),
    ("d1", lambda core: setattr(core.rounds._budget._buckets["a1"], "byte_per_s", -1.0),
     "budget of a1: byte_per_s is -1.0"),
    ("a1", sets("rounds", _played=-1), "rounds: played is -1"),
    ("a1", sets("rounds", _rate_per_s=-1.0), "rounds: rate_per_s is -1.0"),
    ("a1", sets("routing", leaving_per_s=NAN), "routing: leaving_per_s is nan"),
    ("a1", sets("rounds.pricing", backlog=-1), "rounds: backlog is -1"),
    ("a1", sets("rounds", _moving={"z"}), r"rounds: \['z'\] wait or move, but their offers are not known"),
    ("a1", sets("rounds", _waiting={"z": (0, 0)}), r"rounds: \['z'\] wait or move, but their offers are not known"),
    ("a1", sets("rounds", _waiting={"d1": (0, 0)}), r"rounds: \['d1'\] wait for a report that nothing will send"),
    ("a1", keeps_a_sum_of_old_offers, r"rounds: the offers announce Inflow\(.*\), but Inflow\(arrival_per_s=99.0,"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "spoil", "said"), CONTINUOUS, ids=[f"{node}: {said}" for node, _, said in CONTINUOUS])
def test_a_broken_invariant_of_planning_by_need_is_found_after_the_next_event(node, spoil, said):
    core = node_of(played("dto-ee"), node)
    nothing(core)
    spoil(core)
    with pytest.raises(InvalidState) as caught:
        nothing(core)
    assert re.match(said, str(caught.value)), caught.value


def test_a_round_in_play_sets_no_timer_for_the_next_one():
    core = node_of(played("dto-ee"), "d1")
    core.rounds._playing, core.rounds._sweep._awaited = True, {"a1"}
    core._outbox.timers |= {("reports",)}
    nothing(core)
    core._outbox.timers |= {("round",)}
    with pytest.raises(InvalidState, match="should not"):
        nothing(core)


def test_without_debug_nothing_is_checked():
    core = node_of(played(), "d1")
    core.config = replace(core.config, debug=False)
    core.tasks.lost = -1
    nothing(core)
    with pytest.raises(InvalidState, match="lost is -1"):
        core.validate()


@pytest.mark.parametrize("value", [-1e-9, NAN, float("inf"), -1])
def test_negative_and_infinite_values_are_refused(value):
    refuse_negative("part", fine=0.0, large=1e300)
    with pytest.raises(InvalidState, match=rf"^part: wrong is {value}, which is negative or no number$"):
        refuse_negative("part", fine=1.0, wrong=value)
