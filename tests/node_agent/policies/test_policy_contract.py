"""The contract of policies: faults of a class are reported when it is loaded, wrong answers when it is used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.errors import InputError
from node_agent.policies import answers, make_policy, policy_names
from node_agent.policies.answers import WrongAnswer
from node_agent.policies.base import PlainPolicy, proportional
from node_agent.policies.checked import CheckedPolicy, PolicyFailed
from node_agent.policies.contract import ARGUMENTS, ATTRIBUTES, CENTRAL_METHODS, LATER, METHODS, check_class
from node_agent.problem import Place, Problem
from node_agent.wire import Assignment
from tests.node_agent.policies.test_policies import UNIFORM, prospect
from tests.node_agent.virtual import World, three_stages

HEAD = """\
import numpy as np
from node_agent.policies.base import PlainPolicy, ProportionalPolicy, QueuePolicy, proportional
from node_agent.policies.ga import Ga
from node_agent.wire import Assignment

"""
ALIVE = np.array([True, True, True])


def own(tmp_path, base, body):
    """The name of a user's policy, in a file with `body` from line 7."""
    (tmp_path / "own.py").write_text(f"{HEAD}class Mine({base}):\n    {body}\n")
    return f"{tmp_path}/own.py:Mine"


def flat(**options):
    """A device with three receivers, where every task exits."""
    return World({"a1": (1, 30.0), "a2": (1, 30.0), "a3": (1, 30.0)}, {"d1": 5.0}, seed=1, **options)


def run(name):
    flat(policy=name).run(4.0)


@pytest.mark.parametrize(
    ("weights", "gave", "must"),
    [
        ("np.full(3, np.nan)", "[nan, nan, nan]", "finite"),
        ("np.array([1.0, np.inf, 1.0])", "[1.0, inf, 1.0]", "finite"),
        ("np.zeros(3)", "[0.0, 0.0, 0.0]", "at least one number above zero"),
        ("-np.ones(3)", "[-1.0, -1.0, -1.0]", "not negative"),
        ("[1.0, -1e-9, 1.0]", "[1.0, -1e-09, 1.0]", "not negative"),
        ("np.ones(1)", "[1.0]", "3 numbers"),
        ("np.ones((3, 1))", "[[1.0], [1.0], [1.0]]", "3 numbers"),
        ("1.0", "1.0", "3 numbers"),
        ("None", "None", "3 numbers"),
        ("[1.0, None, 1.0]", "[1.0, None, 1.0]", "3 numbers"),
        ("['1', '1', '1']", "['1', '1', '1']", "3 numbers"),
        ("[1j, 1j, 1j]", "[1j, 1j, 1j]", "3 numbers"),
        ("[[1.0], [1.0, 2.0], []]", "[[1.0], [1.0, 2.0], []]", "3 numbers"),
    ],
)
def test_weights_that_are_none_fail_the_run_and_never_become_uniform(tmp_path, weights, gave, must):
    name = own(tmp_path, "ProportionalPolicy", f"def weights(self, prospect):\n        return {weights}")
    with pytest.raises(PolicyFailed) as caught:
        run(name)
    assert str(caught.value) == f"policy {name}: weights (line 7) gave {gave}"
    assert must in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def update_row(self, row, prospect): return row * 0", "update_row (line 7) gave [0.0, 0.0, 0.0]"),
        ("def update_row(self, row, prospect): return row[1:]", "update_row (line 7) gave [0.33"),
        ("def update_row(self, row, prospect): return row - row.min() * 2", "update_row (line 7) gave [-0.33"),
        ("def update_row(self, row, prospect): return row * float('nan')", "update_row (line 7) gave [nan, nan, nan]"),
        ("def update_row(self, row, prospect): pass", "update_row (line 7) gave None"),
        ("def update_row(self, row, prospect): return 'even'", "update_row (line 7) gave 'even'"),
        ("def update_row(self, row, prospect): return proportional(-row, row > 0)", "weights (line 7) gave [-0.33"),
        ("def executed(self, row): return row / 2", "executed (line 7) gave [0.16"),
        ("def executed(self, row): pass", "executed (line 7) gave None"),
        ("def gap(self, row, prospect): return float('nan')", "gap (line 7) gave nan"),
        ("def gap(self, row, prospect): return row", "gap (line 7) gave [0.33"),
        ("def gap(self, row, prospect): pass", "gap (line 7) gave None"),
        ("most_rounds = 9\n    def settled(self, gaps): pass", "settled (line 8) gave None"),
        ("most_rounds = 9\n    def settled(self, gaps): return 0.0", "settled (line 8) gave 0.0"),
        ("most_rounds = 9\n    def move_threshold(self, view): return np.nan", "move_threshold (line 8) gave nan"),
        ("most_rounds = 9\n    def move_threshold(self, view): return '0.5'", "move_threshold (line 8) gave '0.5'"),
        ("most_rounds = 9\n    def move_threshold(self, view): pass", "move_threshold (line 8) gave None"),
        ("most_rounds = 9\n    def move_threshold(self, view): return -0.1", "move_threshold (line 8) gave -0.1"),
        ("status_every_s = 1.0\n    def pick(self, candidates, random): return 7", "pick (line 8) gave 7"),
        ("status_every_s = 1.0\n    def pick(self, candidates, random): return -1", "pick (line 8) gave -1"),
        ("status_every_s = 1.0\n    def pick(self, candidates, random): return 0.0", "pick (line 8) gave 0.0"),
        ("status_every_s = 1.0\n    def pick(self, candidates, random): return True", "pick (line 8) gave True"),
        ("status_every_s = 1.0\n    def pick(self, candidates, random): pass", "pick (line 8) gave None"),
        ("def start_slot(self): self.most_rounds = 2.5", "most_rounds gave 2.5"),
        ("def start_slot(self): del PlainPolicy.nothing", "start_slot raised AttributeError: "),
    ],
)  # fmt: skip
def test_every_other_answer_is_checked_where_it_is_used(tmp_path, body, said):
    name = own(tmp_path, "PlainPolicy", body)
    with pytest.raises(PolicyFailed) as caught:
        run(name) if "move_threshold" not in body else three_stages(policy=name).run(4.0)
    assert str(caught.value).startswith(f"policy {name}: {said}")
    assert caught.value.hint


def test_what_the_code_raises_is_told_with_its_line(tmp_path):
    body = "def weights(self, prospect):\n        return self.near(prospect)\n    def near(self, prospect):\n"
    name = own(tmp_path, "ProportionalPolicy", f"{body}        return np.ones(2) + prospect.link_s\n")
    with pytest.raises(PolicyFailed) as caught:
        run(name)
    assert str(caught.value).startswith(f"policy {name}: update_row raised ValueError: ")
    assert caught.value.hint == f"it was raised by {tmp_path}/own.py, line 10"


@pytest.mark.parametrize(
    ("plan", "gave"),
    [
        ("None", "None"),
        ("{'nobody': Assignment(0, {}, None)}", "'nobody'"),
        ("{'d1': {'a1': 1.0}}", "{'a1': 1.0}"),
        ("{'d1': Assignment(0, {'a1': 0.0, 'a2': 0.0}, None)}", "{'a1': 0.0, 'a2': 0.0}"),
        ("{'d1': Assignment(0, {'a1': 0.3, 'a2': 0.3}, None)}", "{'a1': 0.3, 'a2': 0.3}"),
        ("{'d1': Assignment(0, {'a1': float('nan')}, None)}", "{'a1': nan}"),
        ("{'d1': Assignment(0, {'a1': 2.0, 'a2': -1.0}, None)}", "{'a1': 2.0, 'a2': -1.0}"),
        ("{'d1': Assignment(0, {'b1': 1.0}, None)}", "{'b1': 1.0}"),
        ("{'d1': Assignment(0, {'a1': 'all'}, None)}", "{'a1': 'all'}"),
        ("{'a1': Assignment(0, {}, float('nan'))}", "nan"),
        ("{'a1': Assignment(0, {}, 3)}", "3"),
        ("{'a1': Assignment(None, {}, 0.5)}", "None"),
    ],
)
def test_a_central_plan_is_checked_where_it_is_made(tmp_path, plan, gave):
    name = own(tmp_path, "Ga", f"def plan(self, problem, table): return {plan}")
    with pytest.raises(PolicyFailed) as caught:
        three_stages(policy=name).run(4.0)
    assert str(caught.value) == f"policy {name}: plan (line 7) gave {gave}"


@pytest.mark.parametrize("time", ["None", "-1", "float('nan')", "float('inf')"])
def test_the_planning_time_is_checked(tmp_path, time):
    name = own(tmp_path, "Ga", f"def planning_s(self, problem): return {time}")
    with pytest.raises(PolicyFailed, match=r"planning_s \(line 7\) gave"):
        run(name)


def test_a_plan_for_some_nodes_is_one():
    places = {"d": Place(0, ("a", "b")), "a": Place(1, ()), "b": Place(1, ())}
    plan = {"d": Assignment(3, {"b": 1.0}, None), "a": Assignment(3, {}, 0.5)}
    assert answers.assignments(plan, Problem(3, 1, places, {}, 2.0)) == plan
    assert answers.assignments({}, Problem(3, 1, places, {}, 2.0)) == {}


@pytest.mark.parametrize(
    ("base", "body", "said", "hint"),
    [
        ("ProportionalPolicy", "pass", "it lacks weights", "derive it"),
        ("ProportionalPolicy", "def weights(self): pass", "weights(self) (line 7 of ", "weights(self, prospect)"),
        ("PlainPolicy", "def update_row(self, row): return row", "update_row(self, row) (line 7 of ", "row, prospect)"),
        ("PlainPolicy", "gap = 3", "gap (line 7 of ", "gap(self, row, prospect)"),
        ("PlainPolicy", "stop_gap = property(lambda self: 0.1)", "stop_gap (line 7 of ", "stop_gap(self)"),
        ("PlainPolicy", "async def settled(self, gaps): return True", "settled (line 7 of ", "async"),
        ("PlainPolicy", "def executed(self, row): yield row", "executed (line 7 of ", "yield"),
        ("PlainPolicy", "central = True", "it lacks planning_s, plan", "derive it"),
        ("Ga", "def plan(self, problem): pass", "plan(self, problem) (line 7 of ", "plan(self, problem, table)"),
        ("object", "pass", "it lacks parameters_type, most_rounds", "derive it"),
        ("PlainPolicy", "most_rounds = 0", "most_rounds (line 7) gave 0", "whole number"),
        ("PlainPolicy", "most_rounds = 2.5", "most_rounds (line 7) gave 2.5", "whole number"),
        ("PlainPolicy", "move_every = None", "move_every (line 7) gave None", "whole number"),
        ("PlainPolicy", "move_turns = True", "move_turns (line 7) gave True", "whole number"),
        ("PlainPolicy", "wants_link_rates = 1", "wants_link_rates (line 7) gave 1", "True or False"),
        ("PlainPolicy", "central = None", "central (line 7) gave None", "True or False"),
        ("PlainPolicy", "status_every_s = 0", "status_every_s (line 7) gave 0", "None, or a time"),
        ("PlainPolicy", "status_every_s = float('nan')", "status_every_s (line 7) gave nan", "None, or a time"),
        ("PlainPolicy", "def stop_gap(self): pass", "stop_gap (line 7) gave None", "finite number"),
        ("PlainPolicy", "def __init__(self, parameters, theta_s): pass", "first_threshold raised AttributeError", ""),
        ("PlainPolicy", "def __init__(self, parameters, theta_s): self.first_threshold = float('nan')",
         "first_threshold gave nan", "threshold in 0..2"),
        ("PlainPolicy", "def __init__(self, parameters, theta_s): 1 / 0", "ZeroDivisionError", "own.py, line 7"),
        ("PlainPolicy", "def __init__(self, parameters): pass", "__init__(self, parameters) (line 7 of ", "theta_s)"),
        ("PlainPolicy", "def updaterow(self, row, prospect): pass", "has no updaterow (line 7 of ", "update_row"),
        ("PlainPolicy", "def startSlot(self): pass", "has no startSlot (line 7 of ", "did you mean start_slot?"),
        ("PlainPolicy", "most_round = 4", "a policy has no most_round (line 7 of ", "did you mean most_rounds?"),
        ("ProportionalPolicy", "def weight(self, prospect): pass", "a policy has no weight (line 7 of ", "weights?"),
        ("Ga", "def planing_s(self, problem): return 1.0", "a policy has no planing_s (line 7 of ", "planning_s?"),
        ("PlainPolicy", "def gap(self, prospect, row): return 0.0", "gap(self, prospect, row) (line 7 of ",
         "gap(self, row, prospect)"),
        ("PlainPolicy", "def executed(self, prospect): return 0", "would get row as prospect", "executed(self, row)"),
        ("PlainPolicy", "def update_row(self, row, prospect):\n        return row * prospect.lives",
         "update_row (line 8) reads Prospect.lives, which is now Prospect.alive", ""),
        ("PlainPolicy", "def gap(self, row, p):\n        return sum(p.deltas_s)",
         "gap (line 8) reads Prospect.deltas_s, which is now Prospect.delta_s", ""),
        ("QueuePolicy", "def pick(self, candidates, random):\n        return int(min(c.return_s for c in candidates))",
         "pick (line 8) reads Candidate.return_s, which is now Candidate.exit_return_s", ""),
    ],
)  # fmt: skip
def test_what_a_class_lacks_is_told_before_anything_runs(tmp_path, base, body, said, hint):
    with pytest.raises(InputError) as caught:
        make_policy(own(tmp_path, base, body))
    assert str(caught.value).startswith((f"{tmp_path}/own.py:Mine", f"policy {tmp_path}/own.py:Mine"))
    assert said in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "body",
    [
        "def gap(self, the_row, known): return 0.0",
        "def pick(self, candidates, dice): return 0",
        "def executed(self, row, *more, power=1): return row",
        "@staticmethod\n    def start_slot(): pass",
        "def _update_rows(self): pass",
        "def nearest(self): pass\n    power = 2.0",
        "lives = 3\n    def stop_gap(self): return float(self.lives)",
    ],
)
def test_what_works_is_not_refused(tmp_path, body):
    make_policy(own(tmp_path, "PlainPolicy", body))


def test_a_helper_may_be_like_a_method_that_the_class_has(tmp_path):
    body = "def weights(self, prospect): return self.weight()\n    def weight(self): return np.ones(3)"
    run(own(tmp_path, "ProportionalPolicy", body))


def test_an_old_name_in_a_helper_ends_the_run_with_the_new_one(tmp_path):
    body = "def weights(self, prospect): return self._of(prospect)\n    def _of(self, known): return known.link_times_s"
    name = own(tmp_path, "ProportionalPolicy", body)
    with pytest.raises(PolicyFailed) as caught:
        run(name)
    assert str(caught.value).endswith("raised AttributeError: Prospect.link_times_s is now Prospect.link_s")
    assert caught.value.hint == f"it was raised by {tmp_path}/own.py, line 8"


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("from node_agent.config import NodeConfig", "node_agent.config is now node_agent.core.config"),
        ("import node_agent.agent", "node_agent.agent is now node_agent.process.agent"),
        ("from node_agent.core.planning.central import CentralPolicy", "is now node_agent.policies.base.CentralPolicy"),
        ("from node_agent.dtoee.one_row import RowState", "node_agent.dtoee.one_row.RowState is now "),
    ],
)
def test_an_import_of_what_has_moved_is_told_with_the_new_place(tmp_path, line, new):
    (tmp_path / "own.py").write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"own\.py fails: ") as caught:
        make_policy(f"{tmp_path}/own.py:Mine")
    assert new in caught.value.hint
    assert caught.value.hint.endswith("own.py, line 1")


def test_the_line_of_a_file_that_fails_is_told(tmp_path):
    (tmp_path / "own.py").write_text("import math\n\nlimit = math.sqrt(-1)\n")
    with pytest.raises(InputError, match=r"own\.py fails: ValueError") as caught:
        make_policy(f"{tmp_path}/own.py:Mine")
    assert caught.value.hint == f"it was raised by {tmp_path}/own.py, line 3"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_parameter_that_is_no_number_is_refused_by_name(tmp_path, value):
    (tmp_path / "own.py").write_text(
        f"{HEAD}from node_agent.policies.base import FixedThreshold\n\nclass Parameters(FixedThreshold, frozen=True):\n"
        "    sharpness: float = 1.0\n\nclass Mine(PlainPolicy):\n    parameters_type = Parameters\n"
    )
    name = f"{tmp_path}/own.py:Mine"
    assert isinstance(make_policy(name, {"sharpness": 3}), PlainPolicy)
    with pytest.raises(InputError, match="sharpness is") as caught:
        make_policy(name, {"sharpness": value})
    assert caught.value.hint == "a parameter must be a finite number"


@pytest.mark.parametrize("name", policy_names())
def test_every_policy_of_ours_keeps_the_contract(name):
    check_class(name, type(make_policy(name)))
    checked = CheckedPolicy(make_policy(name), name)
    checked.verify()
    checked.start_slot()
    for lives in ((True, True, True), (True, False, True), (False, False, True)):
        known = prospect(alive=lives)
        row = checked.update_row(np.array(lives) / sum(lives), known)
        assert row[~known.alive] == pytest.approx(0)
        assert checked.executed(row).sum() == pytest.approx(1)
        assert isinstance(checked.settled([checked.gap(row, known)]), bool)


def test_weights_say_nothing_of_dead_receivers():
    alive = np.array([True, True, False])
    assert proportional(np.array([1.0, 3.0, np.nan]), alive).tolist() == [0.25, 0.75, 0]
    assert proportional(np.array([0.0, 0.0, 2.0]), alive).tolist() == [0.5, 0.5, 0]  # all that is positive is dead
    with pytest.raises(WrongAnswer, match="weights gave"):
        proportional(np.array([0.0, 0.0, np.nan]), alive)


@given(st.lists(st.floats(0, 1.7e308), min_size=1, max_size=8).filter(any))
def test_great_weights_do_not_overflow(weights):
    row = proportional(np.array(weights), np.ones(len(weights), dtype=bool))
    assert row.sum() == pytest.approx(1)
    assert weights[row.argmax()] == pytest.approx(max(weights))


def test_unmeasured_links_are_taken_alike_and_tasks_to_the_dead_change_no_row():
    bandwidth = make_policy("bandwidth-first")
    unmeasured = prospect(link_byte_per_s=[0.0, 0.0, 5e6], alive=(True, True, False))
    assert bandwidth.update_row(UNIFORM, unmeasured).tolist() == [0.5, 0.5, 0]
    queues, row = make_policy("join-shortest-queue"), np.array([0.2, 0.8, 0.0])
    assert queues.update_row(row, prospect(sent=[0, 0, 7], alive=(True, True, False))).tolist() == [0.2, 0.8, 0.0]
    assert queues.update_row(row, prospect(sent=[3, 1, 7], alive=(True, True, False))).tolist() == [0.75, 0.25, 0.0]


IN_PLACE = """def update_row(self, row, prospect):
        row[:] = 0.0
        row[2] = 1.0
        return row
    def gap(self, row, prospect):
        row[:] = -5.0
        return 0.0
    def executed(self, row):
        self.seen = row
        return row"""


def test_a_row_that_is_changed_in_place_counts_at_once_and_only_where_it_is_given(tmp_path):
    """Tasks follow the new row, not draws from the array before it was changed."""
    world = flat(policy=own(tmp_path, "PlainPolicy", IN_PLACE))
    world.run(12.0)
    assert world.nodes["d1"].routing.row.tolist() == [0, 0, 1]
    later = [task.hops[0].node for task in world.tasks if task.created_s > 1.0]
    assert set(later) == {"a3"}


def test_what_a_row_gives_to_the_dead_goes_to_the_living(tmp_path):
    constant = "def update_row(self, row, prospect): return [0.5, 0.3, 0.2]"
    world = flat(policy=own(tmp_path, "PlainPolicy", constant), plan=[(4.0, lambda w: w.kill("a1"))])
    world.run(20.0)
    assert world.decisions[-1].offload == pytest.approx({"a1": 0, "a2": 0.6, "a3": 0.4})


def test_a_row_that_has_nothing_for_the_living_is_wrong(tmp_path):
    first = own(tmp_path, "PlainPolicy", "def update_row(self, row, prospect): return [1, 0, 0]")
    world = flat(policy=first, plan=[(4.0, lambda w: w.kill("a1"))])
    with pytest.raises(PolicyFailed, match=r"update_row \(line 7\) gave \[1.0, 0.0, 0.0\]") as caught:
        world.run(20.0)
    assert "a receiver that lives" in caught.value.hint


def test_the_genetic_algorithm_plans_for_a_single_stage():
    world = flat(policy="ga", parameters={"generations": 5})
    world.run(10.0)
    assert world.nodes["d1"].routing.row.tolist() != [1 / 3, 1 / 3, 1 / 3]
    assert world.all_completed


def test_a_policy_reads_back_what_it_states():
    checked = CheckedPolicy(make_policy("dto-ee-2c", {"report_every": 0.25, "most_rounds": 7}), "dto-ee-2c")
    assert (checked.most_rounds, checked.status_every_s, checked.central) == (7, 0.25, False)
    checked.unchecked.most_rounds = 0
    with pytest.raises(PolicyFailed, match="policy dto-ee-2c: most_rounds gave 0") as caught:
        assert checked.most_rounds
    assert caught.value.hint == "it must give a whole number from 1 on"


def test_values_are_shown_short_and_on_one_line():
    assert answers.shown(np.arange(9)) == "[0, 1, 2, 3, 4, 5, 6, 7, ...]"
    assert "\n" not in answers.shown("a\nb")
    assert len(answers.shown("x" * 1000)) < 100
    assert answers.shown(np.float64(0.5)) == "0.5"


def test_a_class_without_later_members_gets_those_of_the_base(tmp_path):
    stated = sorted({*ATTRIBUTES, *METHODS} - {"first_threshold", *LATER})
    body = "\n    ".join(f"{member} = PlainPolicy.{member}" for member in stated)
    name = own(tmp_path, "object", f"{body}\n    def __init__(self, parameters, theta_s): self.first_threshold = 0.8")
    policy = make_policy(name)
    assert (policy.fresh, policy.choices, policy.continuous, policy.message_share) == (False, 0, False, 0.01)
    row = np.array([0.6, 0.4])
    assert CheckedPolicy(policy, name).react(row, None).tolist() == row.tolist()
    run(name)


def test_parameters_without_a_field_for_knowledge_ask_for_reports(tmp_path):
    fields = "[('threshold', float, 0.8), ('report_every', float, 0.1)]"
    policy = make_policy(
        own(tmp_path, "QueuePolicy", f"parameters_type = __import__('msgspec').defstruct('Own', {fields})")
    )
    assert (policy.status_every_s, policy.fresh) == (0.1, False)


def test_every_member_of_the_protocol_is_checked():
    """A member added to the protocol must pass through the checks as well."""
    assert {*ATTRIBUTES, *METHODS, *CENTRAL_METHODS} - {"parameters_type"} <= set(vars(CheckedPolicy))
    methods = {name for name in ATTRIBUTES if callable(getattr(PlainPolicy, name, None))}
    assert methods - {"parameters_type"} <= set(ARGUMENTS)
