"""Due events, and the steps of network traces that a late run skips."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fidelity.evidence import LinkOutlook
from testbed.live.due_events import DueEvents
from testbed.scenario import LinkShape
from testbed.topology import resolve_text
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.topology.event_kinds.server_capacity import CapacityChange
from tests.testbed import small

LINKS = (("a", "b"), ("b", "c"), ("c", "d"))


def step(at_s, ends=LINKS[0], sender=None):
    return LinkChange(at_s, ends, LinkShape(10.0, at_s), traced=True, sender=sender)


def agenda(*events):
    skipped = []
    return DueEvents(events, lambda: skipped.append(1)), skipped


def all_due(made, now_s):
    found = []
    while (event := made.take(now_s)) is not None:
        found.append(event)
    return found


def test_events_come_in_their_order_when_they_are_due():
    events = [step(1.0), CapacityChange(1.5, "near", 1e9), step(2.0), step(2.0, LINKS[1])]
    made, skipped = agenda(*events)
    assert (made.next_at_s(), made.take(0.9)) == (1.0, None)
    assert all_due(made, 1.6) == events[:2]
    assert made.next_at_s() == 2.0
    assert all_due(made, 2.0) == events[2:]
    assert (made.next_at_s(), skipped) == (None, [])


def test_a_step_of_one_direction_takes_no_place_of_the_other():
    made, skipped = agenda(step(1.0, sender="a"), step(1.5, sender="b"), step(2.0, sender="a"))
    assert all_due(made, 3.0) == [step(2.0, sender="a"), step(1.5, sender="b")]
    assert len(skipped) == 1


def test_of_overdue_steps_the_newest_of_each_link_remains():
    made, skipped = agenda(step(1.0), step(1.0, LINKS[1]), step(2.0), step(2.0, LINKS[1]), step(3.0), step(9.0))
    assert all_due(made, 3.5) == [step(3.0), step(2.0, LINKS[1])]
    assert len(skipped) == 3
    assert made.next_at_s() == 9.0


def test_what_is_no_step_is_never_left_out():
    events = [LinkChange(at_s, LINKS[0], LinkShape(10.0, at_s)) for at_s in (1.0, 2.0)]
    events += [CapacityChange(3.0, "near", 1e9), CapacityChange(3.0, "near", 1e9)]
    made, skipped = agenda(*events)
    assert all_due(made, 5.0) == events
    assert not skipped


def test_every_link_gets_its_turn_when_there_is_time_for_one_step_only():
    made, skipped = agenda(*(step(float(at_s), ends) for at_s in range(9) for ends in LINKS))
    taken = [made.take(now_s) for now_s in range(9)]
    assert [change.ends for change in taken] == [*LINKS] * 3
    assert len(skipped) == 9 * 3 - 9 - 2  # all but those taken, and the two that still wait


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(LINKS))), st.lists(st.integers(1, 50)))
def test_whatever_was_left_out_every_link_ends_as_its_trace_does(steps, moments):
    events = [step(at_s, ends) for at_s, ends in sorted(steps, key=lambda each: each[0])]
    made, skipped = agenda(*events)
    taken = [event for now_s in sorted(moments) if (event := made.take(now_s)) is not None] + all_due(made, 50)
    assert len(taken) + len(skipped) == len(events)
    for ends in LINKS:
        own = [event for event in taken if event.ends == ends]
        assert all(a.at_s <= b.at_s for a, b in pairwise(own))
        assert own[-1:] == [event for event in events if event.ends == ends][-1:]


def test_what_is_known_of_links_before_they_change(tmp_path):
    (tmp_path / "t.csv").write_text("time_s,rate_mbit_per_s,delay_ms\n0,20,10\n0.4,20,20\n0.8,20,30\n")
    text = small.SMALL.replace("to: near-1, rate: 20 Mbit/s, delay: 10 ms", f"to: near-1, trace: {tmp_path}/t.csv")
    text += "events: [{at: 3 s, link: [near-1, core], loss: 5 %}]\n"
    outlook = LinkOutlook.of(resolve_text(text))
    assert outlook.step_s == pytest.approx(0.4)
    assert outlook.changes(("near-1", "cam-2"))
    assert outlook.changes(("x", "core", "near-1"))
    assert not outlook.changes(("cam-1", "near-2"))
    assert outlook.loses(("near-1", "core"))
    assert not outlook.loses(("cam-1", "near-1"))
