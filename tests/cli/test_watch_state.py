import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.watch.state import WINDOW_S, ViewState, figures
from testbed.breakdown.parts import Parts
from tests.cli.watched import completed, event, lost, play, sample, scenario
from tests.testbed.record.task_lines import task_line


@pytest.fixture
def state():
    state = ViewState(clock=lambda: 0.0)
    state.started(scenario(), 100)
    return state


def test_tasks_are_counted_by_how_they_ended(state):
    state.task(completed(1, 0.5))
    state.task(lost(2))
    state.task(lost(3, "refused"))
    state.task(lost(4, "refused"))
    assert (state.completed, state.lost, state.refused, state.offered) == (1, 1, 2, 100)


def test_tasks_with_a_deadline_are_counted_after_the_warm_up(state):
    assert state.in_time_share is None
    state.task(task_line(1, created_s=5.9, delay_s=9.0, deadline_s=0.5))  # in the warm-up
    state.task(completed(2, 8.0))  # without a deadline
    assert state.in_time_share is None
    for number, delay_s in enumerate((0.4, 0.5, 0.6, None), start=3):
        state.task(task_line(number, created_s=7.0, delay_s=delay_s, deadline_s=0.5))
    assert (state.due, state.in_time, state.in_time_share) == (4, 2, 0.5)


def test_recent_figures_forget_what_is_older_than_the_window(state):
    state.task(completed(1, 1.0, 9.0, correct=False, exit_stage=3))
    state.task(completed(2, 8.0, 0.2))
    state.tick(9.0)
    assert state.recent().completed == 2
    state.tick(1.5 + WINDOW_S)
    recent = state.recent()
    assert (recent.completed, recent.mean_s, recent.accuracy, recent.exit_share) == (1, 0.2, 1.0, {1: 1.0})


def test_the_running_split_is_that_of_the_window(state):
    assert state.recent_parts() is None
    state.split(1.0, Parts(0.0, 0.0, 1.0, 0.0, 0.0, 8.0, 0.0))
    state.split(8.0, Parts(0.0, 0.0, 0.1, 0.0, 0.2, 0.3, 0.0))
    state.split(8.5, Parts(0.0, 0.0, 0.1, 0.0, 0.4, 0.5, 0.0))
    state.tick(1.5 + WINDOW_S)
    parts_s = state.recent_parts()
    assert (parts_s["transfer"], parts_s["queueing"], parts_s["service"]) == pytest.approx((0.1, 0.3, 0.4))
    state.tick(9.0 + WINDOW_S)
    assert state.recent_parts() is None


def test_figures_over_no_task_are_none():
    nothing = figures([])
    assert (nothing.mean_s, nothing.p95_s, nothing.accuracy, nothing.completed) == (None, None, None, 0)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60))
def test_percentiles_are_delays_that_were_seen_and_in_order(delays_s):
    state = ViewState()
    for number, delay_s in enumerate(delays_s):
        state.task(completed(number, 0.0, delay_s))
    found = state.recent()
    assert found.p50_s in delays_s
    assert found.p95_s in delays_s
    assert min(delays_s) <= found.p50_s <= found.p95_s <= max(delays_s)


def test_the_curve_has_a_point_per_step_with_gaps_where_nothing_ended(state):
    state.task(completed(1, 0.5, 0.1))
    state.task(completed(2, 2.5, 0.3))
    state.tick(3.5)
    assert [point.p50_s for point in state.curve()] == [0.1, None, 0.3, None]
    state.task(completed(3, 2.9, 0.5, correct=False))  # a late report still counts in its own step
    assert [point.accuracy for point in state.curve()] == [1.0, None, 0.5, None]


def test_a_long_run_has_no_longer_a_curve():
    state = ViewState()
    state.started(scenario(duration_s=600.0), 1)
    state.task(completed(1, 599.0))
    state.tick(600.0)
    assert state.bin_s == 10.0
    assert len(state.curve()) == state.steps + 1


def test_nodes_show_means_over_the_window_and_their_latest_queue(state):
    for now in range(30):
        late = now >= 20
        state.sample(sample("near-1", 1, now, exits=6 if late else 0, queue_length=now, arrival_rate_per_s=now))
    node = state.nodes["near-1"]
    assert (node.queue_length, node.exit_share, node.arrival_rate_per_s) == (29, 1.0, 24.5)


def test_a_node_that_is_down_shows_nothing_of_before(state):
    state.sample(sample("near-1", 1))
    state.event(event("node-down", "near-1"))
    node = state.nodes["near-1"]
    assert (node.up, node.queue_length, node.utilisation) == (False, 0, 0.0)
    state.event(event("node-up", "near-1"))
    assert node.up


def test_stages_of_a_run():
    state = ViewState()
    state.phase("building")
    assert state.stage == "set-up"
    play(state, scenario())
    assert (state.stage, state.slot) == ("running", 6)
    state.tick(60.0)
    assert state.stage == "draining"
    state.phase("ending")
    assert state.stage == "ending"


def test_what_strangers_send_cannot_steer_the_terminal(state):
    state.event(event("foreign-message", "near-1", "from '\x1b[2J\x07\r\nroot'"))
    assert state.events[0].detail.isprintable()
    assert state.events[0].detail.endswith("root'")
