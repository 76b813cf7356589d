"""The budget of control messages: a bucket per neighbour that fills at a share of the link's rate."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.budget import HEADER_BYTES, LEAST_BYTES, USUAL_BYTE_PER_S, Budget
from node_agent.wire import Offer, Report, Status, encode
from tests.node_agent.core.test_continuous import Watched

STATUS = Status(3)
BYTES = len(encode(STATUS)[0]) + HEADER_BYTES
SHARE = 0.01
SLOW_BYTE_PER_S = 25_000.0  # 200 kbit/s


def empty(budget: Budget, now_s: float = 0.0) -> float:
    """Spend until no message is allowed; return the bytes that were sent."""
    sent = 0
    while budget.allows("peer", now_s):
        budget.spend("peer", STATUS, now_s)
        sent += BYTES
    return sent


class TestBucket:
    def test_it_starts_full_with_the_least_burst(self):
        sent = empty(Budget(SHARE))
        assert LEAST_BYTES <= sent < LEAST_BYTES + BYTES

    def test_a_fast_link_has_a_burst_of_a_second(self):
        budget = Budget(SHARE)
        budget.learn("peer", 1e8, 0.0)
        empty(budget)
        assert 1e6 <= empty(budget, now_s=60.0) < 1e6 + BYTES

    def test_it_fills_at_the_share_of_the_links_rate(self):
        budget = Budget(SHARE)
        budget.learn("peer", SLOW_BYTE_PER_S, 0.0)
        empty(budget)
        fills = SHARE * SLOW_BYTE_PER_S
        assert 2 * fills - BYTES < empty(budget, 2.0) <= 2 * fills + BYTES

    def test_a_link_that_is_not_known_yet_counts_as_one_of_1_mbit_per_s(self):
        known, unknown = Budget(SHARE), Budget(SHARE)
        known.learn("peer", USUAL_BYTE_PER_S, 0.0)
        assert empty(known) == empty(unknown)
        assert known.wait_s("peer", 0.0) == unknown.wait_s("peer", 0.0) > 0

    def test_a_message_may_be_sent_after_the_time_that_it_states(self):
        budget = Budget(SHARE)
        empty(budget)
        wait_s = budget.wait_s("peer", 0.0)
        assert wait_s > 0
        assert not budget.allows("peer", 0.99 * wait_s)
        assert budget.allows("peer", 1.01 * wait_s)
        assert budget.wait_s("peer", 1.01 * wait_s) == 0

    def test_an_answer_is_sent_at_once_and_the_next_free_message_waits_longer(self):
        budget = Budget(SHARE)
        empty(budget)
        before_s = budget.wait_s("peer", 0.0)
        budget.spend("peer", STATUS, 0.0)
        assert budget.wait_s("peer", 0.0) - before_s == pytest.approx(BYTES / (SHARE * USUAL_BYTE_PER_S))

    def test_neighbours_have_buckets_of_their_own(self):
        budget = Budget(SHARE)
        empty(budget)
        assert budget.allows("other", 0.0)

    def test_it_is_filled_before_time_0_too(self):
        """The clock of a live run is below zero until the run starts, and nodes send messages before that."""
        budget = Budget(SHARE)
        budget.spend("peer", STATUS, -0.2)
        budget.validate(-0.1)
        assert budget.wait_s("peer", -0.1) == 0

    def test_a_link_that_has_become_slower_keeps_no_burst_of_a_fast_one(self):
        budget = Budget(SHARE)
        budget.learn("peer", 1e8, 0.0)
        budget.allows("peer", 60.0)
        budget.learn("peer", SLOW_BYTE_PER_S, 60.0)
        budget.validate(60.0)
        assert empty(budget, 60.0) < LEAST_BYTES + BYTES


@given(
    rate=st.floats(1e3, 1e7),
    share=st.floats(0.001, 1),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 5), st.integers(0, 30)), min_size=1, max_size=40),
)
def test_bytes_never_exceed_the_share_and_a_burst(rate, share, steps):
    """Free messages take at most the share of the time so far, the burst, and one message; answers come on top."""
    budget = Budget(share)
    budget.learn("peer", rate, 0.0)
    burst = max(LEAST_BYTES, share * rate)
    now_s = sent = 0.0
    for pause_s, answers, wanted in steps:
        now_s += pause_s
        for _ in range(answers):
            budget.spend("peer", STATUS, now_s)
        sent += answers * BYTES
        for _ in range(wanted):
            if budget.allows("peer", now_s):
                budget.spend("peer", STATUS, now_s)
                sent += BYTES
                assert sent <= share * rate * now_s + burst + BYTES + 1e-3
        budget.validate(now_s)


def slow(_a, _b, size):
    """Return the time of a message [s], by the bytes of its tensor: a link of 200 kbit/s."""
    return 0.005 + size / SLOW_BYTE_PER_S


def test_the_messages_of_a_node_keep_the_share_of_a_slow_link():
    """Rates of services jump all the time, so nodes always have a reason for a round."""
    servers = {"a1": (1, 30.0), "a2": (1, 20.0), "b1": (2, 30.0), "b2": (2, 20.0)}
    world = Watched(servers, {"d1": 5.0, "d2": 5.0}, policy="dto-ee", slot_s=3.0, link_s=slow)
    speeds = {"a1": 30.0, "a2": 20.0}
    world.plan = [
        (at_s / 2, lambda w, name=name, factor=1 + at_s % 2: w.set_speed(name, speeds[name] / factor))
        for at_s in range(20, 118)
        for name in ("a1", "a2")
    ]
    world.run(60.0)
    sizes = Counter()  # bytes of all but answers, by sender and receiver
    asked = Counter()  # offers that wait for a report
    for _, sender, peer, message in world.sent:
        if isinstance(message, Offer):
            asked[peer, sender] += 1
        elif isinstance(message, Report) and asked[sender, peer]:
            asked[sender, peer] -= 1
            continue
        if isinstance(message, Offer | Report | Status):
            sizes[sender, peer] += len(encode(message)[0]) + HEADER_BYTES
    assert len(sizes) >= 8
    assert max(sizes.values()) > 0.5 * SHARE * SLOW_BYTE_PER_S * 60  # there were reasons for more
    assert max(sizes.values()) <= SHARE * SLOW_BYTE_PER_S * 60 + LEAST_BYTES
