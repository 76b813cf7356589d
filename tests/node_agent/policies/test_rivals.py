"""The rivals of DTO-EE: the choices of each, and that none is weaker than its definition."""

import random
from pathlib import Path

import numpy as np
import pytest

from node_agent.core.events import Received
from node_agent.dtoee.thresholds import NEVER
from node_agent.errors import InputError
from node_agent.policies import make_policy, parse_policy, policy_names
from node_agent.policies.base import Candidate
from node_agent.policies.ga import Ga, Parameters, Search, layers_of
from node_agent.problem import Place, Problem
from node_agent.wire import Assignment, Offer, State
from tests.node_agent.virtual import World, synthetic_table, three_stages

FAST_FAR = Candidate(share=0.5, link_s=0.08, backlog=3, service_per_s=40.0, onward_delay_s=0.0)  # 180 ms
SLOW_NEAR = Candidate(share=0.3, link_s=0.01, backlog=2, service_per_s=20.0, onward_delay_s=0.0)  # 160 ms
SLOW_IDLE = Candidate(share=0.2, link_s=0.05, backlog=0, service_per_s=5.0, onward_delay_s=0.0)  # 250 ms
CANDIDATES = (FAST_FAR, SLOW_NEAR, SLOW_IDLE)


def picks(name, count=2000, candidates=CANDIDATES):
    """The number of times that each candidate is chosen."""
    policy, dice = make_policy(name), random.Random(3)
    return np.bincount([policy.pick(candidates, dice) for _ in range(count)], minlength=len(candidates)) / count


def test_what_each_queue_policy_chooses():
    assert picks("shortest-expected-delay").tolist() == [0, 1, 0]
    assert picks("join-shortest-queue").tolist() == [0, 0, 1]
    # The idle one wins two of the three pairs, the one with two tasks the third.
    assert picks("two-choices") == pytest.approx([0, 1 / 3, 2 / 3], abs=0.03)
    assert picks("join-idle-queue").tolist() == [0, 0, 1]
    # Two draws by share: the near one (.16 s) if it is drawn at all, the idle one only against itself.
    assert picks("dto-ee-2c") == pytest.approx([0.5 * 0.5 + 2 * 0.5 * 0.2, 1 - 0.7**2, 0.2**2], abs=0.03)


@pytest.mark.parametrize("name", ["shortest-expected-delay", "join-shortest-queue", "join-idle-queue", "two-choices"])
def test_queue_policies_know_as_much_as_the_plan_unless_asked_for_reports(name):
    assert make_policy(name).fresh
    assert make_policy(name).status_every_s == make_policy("dto-ee").status_every_s
    assert not make_policy(name, {"knowledge": "reports"}).fresh
    with pytest.raises(InputError, match="knowledge must be fresh or reports, not 'none'"):
        make_policy(name, {"knowledge": "none"})


def test_queue_policies_are_never_at_a_loss():
    alone = (FAST_FAR,)
    unwanted = tuple(Candidate(0.0, 0.01, 0, 1.0, 0.0) for _ in range(3))
    for name in policy_names():
        assert make_policy(name).pick(alone, random.Random(1)) == 0
        chosen = picks(name, candidates=unwanted)
        if name in ("shortest-expected-delay", "dto-ee", "first-exit", "fixed-threshold", "no-early-exit"):
            assert chosen.tolist() == [1, 0, 0]  # the first of equals; where dto-ee offloads, the row has drawn it
        else:  # the plan has nothing for any of them, or all queues are equal: by chance
            assert chosen == pytest.approx([1 / 3] * 3, abs=0.05)


def test_idle_receivers_are_drawn_by_speed_and_busy_ones_only_without_any():
    def among(*states):
        """The share of each candidate, given its backlog and its service rate [task/s]."""
        return picks("join-idle-queue", 6000, [Candidate(0.0, 0.01, q, s, 0.0) for q, s in states])

    assert among((0, 30.0), (0, 10.0), (1, 60.0)) == pytest.approx([0.75, 0.25, 0], abs=0.02)
    assert among((4, 30.0), (1, 10.0), (2, 60.0)) == pytest.approx([0.3, 0.1, 0.6], abs=0.02)
    # An estimate of less than half a task counts as idle.
    assert among((0.4, 10.0), (0.6, 90.0)).tolist() == [1, 0]


@pytest.mark.parametrize(
    "name", ["shortest-expected-delay", "join-shortest-queue", "join-idle-queue", "two-choices", "dto-ee-2c"]
)
def test_receivers_tell_their_backlog_as_often_as_asked(name):
    told = []
    for every_s in (0.05, 0.2):
        knowledge = {} if name == "dto-ee-2c" else {"knowledge": "reports"}
        world = three_stages(policy=name, parameters={"report_every": every_s, **knowledge}, seed=5)
        original = world.give
        count = 0

        def give(node, event, original=original):
            nonlocal count
            count += type(getattr(event, "message", None)).__name__ == "Status"
            original(node, event)

        world.give = give
        world.run(10.0)
        assert world.all_completed
        told.append(count / world.now_s)
    # 3 servers report to 5 devices, 2 to 3 servers, 2 to 2 servers.
    assert told == pytest.approx([25 / 0.05, 25 / 0.2], rel=0.15)


@pytest.mark.slow
def test_fresh_queues_are_worth_more_than_old_ones():
    """Fifty devices that each see few acknowledgements of their own, at three quarters of what two servers can do."""
    servers = {"s1": (1, 40.0), "s2": (1, 20.0)}
    fresh, old = (
        World(servers, {f"d{i}": 0.9 for i in range(50)}, policy="shortest-expected-delay",
              parameters={"report_every": age_s, "knowledge": "reports"}, seed=2)
        for age_s in (0.02, 2.0)
    )  # fmt: skip
    fresh.run(60.0)
    old.run(60.0)
    assert fresh.mean_delay_s() < 0.9 * old.mean_delay_s()


@pytest.mark.slow
def test_two_choices_improve_the_plan_and_keep_its_thresholds_moving():
    plan = three_stages(policy="dto-ee-static", seed=4)
    plan.run(60.0)
    both = three_stages(policy="dto-ee-2c", seed=4)
    both.run(60.0)
    assert both.mean_delay_s() < 1.05 * plan.mean_delay_s()  # smooth draws have most of the gain
    assert any(d.threshold not in (None, 0.8) for d in both.decisions)


def test_fixed_exits():
    shares = {}
    for name in ("no-early-exit", "first-exit", "fixed-threshold"):
        world = three_stages(policy=name, seed=6)
        world.run(20.0)
        shares[name] = {task.exit_stage for task in world.tasks}
        thresholds = {d.threshold for d in world.decisions} - {None}
        assert thresholds == {{"no-early-exit": NEVER, "first-exit": 0.0}.get(name, 0.8)}
    assert shares == {"no-early-exit": {3}, "first-exit": {1}, "fixed-threshold": {1, 2, 3}}


def equal_devices(**options) -> World:
    """A stage of unequal servers and twenty devices with links of their own."""
    servers = {"s1": (1, 30.0), "s2": (1, 20.0), "s3": (1, 12.0)}
    near = {"s1": 0.015, "s2": 0.005, "s3": 0.001}  # either way
    link_s = lambda a, b, size: near.get(b, near.get(a, 0.001)) + (0.002 if size else 0.0)  # noqa: E731
    return World(servers, {f"d{i}": 2.0 for i in range(20)}, link_s=link_s, **options)


@pytest.mark.slow
def test_the_game_settles_where_nobody_gains_by_moving_alone():
    """Compared with a Nash equilibrium from sequential exact best responses, repeated until nothing moves."""
    world = equal_devices(policy="ngto", parameters={"most_rounds": 200, "stop_gap": 0.0}, slot_s=30.0)
    world.run(29.0, tasks=False)
    settled = np.array([[d.offload[s] for s in ("s1", "s2", "s3")] for d in world.decisions if d.node[0] == "d"])
    settled = settled[:20]
    # A task's way there, and its result's way back.
    link_s = np.array([0.017 + 0.015, 0.007 + 0.005, 0.003 + 0.001])
    service, rate = np.array([30.0, 20.0, 12.0]), 2.0
    flow = np.tile(rate * service / service.sum(), (20, 1))
    for _ in range(60):
        for player in range(20):
            flow[player] = _best_response(flow.sum(axis=0) - flow[player], service, link_s, rate)
    assert settled.mean(axis=0) == pytest.approx(flow.mean(axis=0) / rate, abs=0.01)


def _best_response(others, service, link_s, rate):
    """Water-filling in many small portions: each goes to the receiver of the least own marginal delay (M/D/1)."""
    own = np.zeros(3)
    for _ in range(400):
        phi = others + own
        sojourn = 1 / service + phi / (2 * service * (service - phi))
        slope = 1 / (2 * (service - phi) ** 2)
        own[np.argmin(link_s + sojourn + own * slope)] += rate / 400
    return own


def test_the_game_differs_from_the_common_good():
    """With one big player per server the two coincide; with many small ones the fast servers are overrun."""
    plans = {}
    for policy in ("ngto", "fixed-threshold"):
        parameters = {"most_rounds": 200, "stop_gap": 0.0} if policy == "ngto" else {}
        world = equal_devices(policy=policy, parameters=parameters, slot_s=30.0)
        world.run(29.0, tasks=False)
        shares = [[d.offload[s] for s in ("s1", "s2", "s3")] for d in world.decisions if d.node[0] == "d"]
        plans[policy] = np.mean(shares, axis=0)
    fast, medium, slow = plans["ngto"] - plans["fixed-threshold"]
    assert fast > 0.015
    assert medium > 0.005
    assert slow < -0.03


def problem(slot=0) -> Problem:
    """Four devices, two stages of unequal servers; d4 reaches only a1."""
    places = {f"d{i}": Place(0, ("a1", "a2")) for i in (1, 2, 3)} | {"d4": Place(0, ("a1",))}
    places |= {"a1": Place(1, ("b1", "b2")), "a2": Place(1, ("b1", "b2")), "b1": Place(2, ()), "b2": Place(2, ())}
    speeds = {"a1": 30.0, "a2": 10.0, "b1": 20.0, "b2": 8.0}
    states = {
        name: State(slot, speeds.get(name, 4.0), 0.0, dict.fromkeys(place.receivers, 0.01))
        for name, place in places.items()
    }
    return Problem(slot, 2, places, states, 2.0)


def test_the_genetic_algorithm_finds_what_a_grid_search_finds():
    table = synthetic_table(2)
    ga = Ga(Parameters(generations=150), theta_s=2.0)
    told = ga.plan(problem(), table)
    assert set(told) == set(problem().places)
    assert told["d4"].shares == {"a1": 1.0}
    assert told["b1"] == Assignment(0, {}, None)
    for name, assignment in told.items():
        if problem().places[name].receivers:
            assert sum(assignment.shares.values()) == pytest.approx(1)
    assert told["a1"].threshold == told["a2"].threshold
    layers = layers_of(problem())
    search = Search(layers, table, Parameters(), 2.0, seed=0)
    found = search.cost(ga._best[1])[0]
    best = np.inf
    population = search._first(None).take(np.zeros(1, dtype=np.int64))
    for p in np.linspace(0.5, 1, 26):
        for q in np.linspace(0.5, 1, 26):
            population.weights[0][0, :3] = (p, 1 - p)
            population.weights[1][0, :] = (q, 1 - q)
            for index in range(len(search._grids[0])):
                population.indices[0, 0] = index
                best = min(best, search.cost(population)[0])
    assert found <= best + 0.003


def test_the_genetic_algorithm_keeps_its_best_and_repeats_itself():
    table = synthetic_table(2)
    plans = [Ga(Parameters(generations=20), theta_s=2.0).plan(problem(), table) for _ in range(2)]
    assert plans[0] == plans[1]
    ga = Ga(Parameters(generations=5), theta_s=2.0)
    search = Search(layers_of(problem()), table, Parameters(), 2.0, seed=0)
    costs = []
    for slot in range(8):
        ga.plan(problem(slot), table)
        costs.append(search.cost(ga._best[1])[0])
    assert costs == sorted(costs, reverse=True)


def test_a_central_plan_is_collected_charged_and_told():
    world = three_stages(policy="ga", parameters={"generations": 30}, seed=8)
    changed = []

    def watch(world):
        changed.append((world.now_s, world.nodes["d1"].routing.row.tolist()))

    world.plan = [(t / 100, watch) for t in range(0, 60, 2)]
    world.run(30.0)
    assert world.all_completed
    first = next(at for at, row in changed if row != changed[0][1])
    planner = world.nodes["c1"].routing.policy.unchecked
    # Offers take two hops of 5 ms to reach the last stage, its state none, the others' at most one more; then the plan.
    assert first > 0.01 + 0.02
    assert planner._best is not None
    assert {d.threshold for d in world.decisions if d.node.startswith("a")} - {0.8}


@pytest.mark.parametrize("silent", ["a2", "d5"])
def test_plans_go_on_without_a_node_that_has_gone(silent):
    plans = []
    world = three_stages(policy="ga", parameters={"generations": 5}, seed=9, plan=[(10.0, lambda w: w.kill(silent))])
    coordinator = world.drivers["c1"]
    original = coordinator._plan

    def plan(problem, now_s):
        plans.append((now_s, set(problem.states)))
        original(problem, now_s)

    coordinator._plan = plan
    world.run(40.0, drain_s=20.0)
    assert [sum(3 * slot <= at_s < 3 * (slot + 1) for at_s, _ in plans) for slot in range(14)] == [1] * 14
    assert all(silent in names for at_s, names in plans if at_s < 10)
    assert all(silent not in names for at_s, names in plans if at_s > 16)


def test_a_slot_of_the_far_future_is_refused():
    world = three_stages(policy="ga", parameters={"generations": 5}, seed=9)
    offer = Offer(2**53, 0, 1.0, ((1.0, ()),), 0.0, False, False)
    state = State(2**53, 1.0, 0.0, {})
    world.plan = [
        (5.0, lambda w: w.give("a1", Received("d1", offer))),
        (5.0, lambda w: w.give("b1", Received("d1", offer))),  # no offloader of its
        (5.0, lambda w: w.give("c1", Received("d1", state))),
        (5.0, lambda w: w.give("d1", Received("d2", Assignment(1, {"a1": 1.0}, None)))),  # no coordinator
    ]
    world.run(15.0)
    assert {e.kind for e in world.events} == {"unexpected-message"}
    assert {d.slot for d in world.decisions} >= {0, 1, 2, 3, 4}
    assert max(d.slot for d in world.decisions) < 10
    assert world.nodes["d1"].routing.row.max() < 1


def test_tasks_on_their_way_count_as_backlog():
    """Over a link of 0.4 s, tasks that have been sent are still under way when receivers report their queues."""
    world = World(
        {"s1": (1, 30.0), "s2": (1, 30.0)}, {"d1": 20.0}, policy="join-shortest-queue", seed=3,
        parameters={"knowledge": "reports", "report_every": 0.1},
        link_s=lambda _a, _b, size: 0.4 if size else 0.005,
    )  # fmt: skip
    seen = []

    def look(world):
        receivers = world.nodes["d1"].routing.receivers.values()
        seen.append((sum(r.backlog for r in receivers), world.nodes["d1"].tasks.unfinished))

    world.plan = [(t / 10, look) for t in range(50, 300)]
    world.run(30.0)
    told, open_tasks = np.mean(seen, axis=0)
    assert told == pytest.approx(open_tasks, rel=0.15)
    assert all(r.unacked == 0 for r in world.nodes["d1"].routing.receivers.values())


def test_a_silent_node_does_not_stop_the_plan():
    world = three_stages(policy="ga", parameters={"generations": 5}, seed=9, plan=[(7.0, lambda w: w.kill("a3"))])
    world.run(20.0)
    slots = [d for d in world.decisions if d.node == "d1"]
    assert slots[-1].offload["a3"] == 0
    assert world.all_completed


def test_policies_as_people_write_them():
    assert parse_policy("dto-ee") == ("dto-ee", {})
    assert parse_policy("dto-ee:adapt_thresholds=false,most_rounds=8,stop_gap=0.1") == (
        "dto-ee", {"adapt_thresholds": False, "most_rounds": 8, "stop_gap": 0.1}
    )  # fmt: skip
    assert parse_policy("my/own.py:Mine:a=x") == ("my/own.py:Mine", {"a": "x"})
    with pytest.raises(InputError, match="'threshold' is not of the form key=value"):
        parse_policy("dto-ee:threshold")


MINE = """
import numpy as np
from node_agent.policies.base import ProportionalPolicy

class Mine(ProportionalPolicy):
    def weights(self, prospect):
        return 1 / prospect.link_s
"""


def test_a_policy_of_the_users_own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(MINE)
    world = three_stages(policy=f"{file}:Mine", parameters={"threshold": 0.5}, seed=1)
    world.run(10.0)
    assert {d.threshold for d in world.decisions} == {0.5, None}
    assert world.all_completed


def test_the_example_of_a_users_policy():
    example = Path(__file__).parents[3] / "topologies/policies/nearest_first.py"
    world = three_stages(
        policy=f"{example}:NearestFirst", parameters={"sharpness": 2.0}, seed=1,
        link_s=lambda a, b, _size: 0.02 if "a1" in (a, b) else 0.01,
    )  # fmt: skip
    world.run(10.0)
    last = [d for d in world.decisions if d.node == "d1"][-1]
    assert last.offload == pytest.approx({"a1": 1 / 9, "a2": 4 / 9, "a3": 4 / 9}, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (MINE, "Other", "has no class 'Other'"),
        ("class Mine: pass", "Mine", "is no policy: it lacks"),
        ("1 / 0", "Mine", "fails: ZeroDivisionError: division by zero"),
        ("class Mine(:", "Mine", "fails: SyntaxError"),
        (MINE + "    parameters_type = 3", "Mine", "is no msgspec.Struct"),
        (MINE + "    def __init__(self): pass", "Mine", "__init__(self) (line 8 of "),
    ],
)
def test_what_is_wrong_with_a_users_policy_is_said(tmp_path, text, name, said):
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        make_policy(f"{file}:{name}")
    assert said in str(caught.value)
    with pytest.raises(InputError, match="there is no policy file"):
        make_policy(f"{tmp_path}/nothing.py:Mine")


GREEDY = """
from node_agent.policies.base import PlainPolicy

class Mine(PlainPolicy):
    most_rounds = 4

    def move_threshold(self, view):
        assert hash(view.paths) is not None  # nothing in them can be changed
        assert all(flow > 0 for flow, _ in view.paths)
        return 0.6
"""


def test_a_users_policy_cannot_change_the_flows_that_a_server_goes_on_to_use(tmp_path):
    (tmp_path / "own.py").write_text(GREEDY)
    world = three_stages(policy=f"{tmp_path}/own.py:Mine", seed=1)
    world.run(10.0)
    assert {d.threshold for d in world.decisions if d.node.startswith("a")} == {0.6}
