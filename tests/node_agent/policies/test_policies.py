"""Policies: `make_policy`, and the rows, thresholds and gaps of each."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent import policies
from node_agent.core.offloading.neighbour import UNHEARD
from node_agent.dtoee.thresholds import NEVER, Onward
from node_agent.errors import InputError
from node_agent.policies import (
    check_label,
    make_policy,
    parse_policy,
    policy_defaults,
    policy_lines,
    policy_names,
)
from node_agent.policies.answers import WrongAnswer
from node_agent.policies.base import KnownReceiver, PlainPolicy, Prospect, ThresholdView, proportional
from node_agent.policies.parameters import Threshold, defaults_in_words, read_parameters
from tests.node_agent.virtual import synthetic_table

PROPORTIONAL = ("computing-first", "bandwidth-first")
UNIFORM = np.full(3, 1 / 3)


def prospect(*, alive=(True, True, True), stale=False, **columns) -> Prospect:
    """Three receivers at 10, 30 and 60 task/s, behind links of 4, 1 and 5 MB/s."""
    links = {
        "link_s": [0.01, 0.01, 0.01],
        "link_marginal_s": [0.01, 0.01, 0.01],
        "link_byte_per_s": [4e6, 1e6, 5e6],
        "sent": [0.0, 0.0, 0.0],
    }
    told = {
        "marginal_s": [0.3, 0.2, 0.1],
        "best_s": [0.1, 0.1, 0.1],
        "local_s": [0.1, 0.1, 0.1],
        "curvature_s2": [0.01, 0.01, 0.01],
        "arrival_per_s": [2.0, 2.0, 2.0],
        "service_per_s": [10.0, 30.0, 60.0],
    }
    links |= {name: column for name, column in columns.items() if name in links}
    told |= {name: column for name, column in columns.items() if name not in links}
    receivers = [
        KnownReceiver(
            name=name,
            alive=lives,
            report=msgspec.structs.replace(UNHEARD, **{figure: float(column[k]) for figure, column in told.items()}),
            **{figure: column[k] for figure, column in links.items()},
        )
        for k, (name, lives) in enumerate(zip("abc", alive, strict=True))
    ]
    return Prospect(tuple(receivers), stale, leaving_per_s=3.0)


@pytest.mark.parametrize("name", policy_names())
def test_every_policy_is_made_with_its_defaults(name):
    policy = make_policy(name)
    assert policy.first_threshold == {"no-early-exit": 1.01, "first-exit": 0.0}.get(name, 0.8)
    row = policy.update_row(UNIFORM, prospect())
    assert row.sum() == pytest.approx(1)
    assert policy.executed(row).sum() == pytest.approx(1)
    assert make_policy(name) is not policy


def test_a_policy_has_the_name_of_its_file_and_a_file_holds_one():
    found = list(policies._policies())
    assert [name for name, _ in found] == list(policy_names())  # none is lost to another in the same file
    assert len(set(policy_names())) == len(found) >= 13
    for name, kind in found:
        assert kind.__module__ == f"node_agent.policies.{name.replace('-', '_')}"


@pytest.mark.parametrize("name", policy_names())
def test_every_policy_says_what_it_does_in_one_line(name):
    line = policy_lines()[name]
    assert 20 <= len(line) <= 130
    assert line.endswith(".")
    assert "|" not in line  # it stands in a table


def test_defaults_are_shown_as_one_states_them():
    assert policy_defaults()["dto-ee-2c"]["adapt_thresholds"] == "true"
    assert policy_defaults()["no-early-exit"] == {}
    for name, parameters in policy_defaults().items():
        stated = ",".join(f"{key}={words}" for key, words in parameters.items())
        known, same = parse_policy(f"{name}:{stated}")
        kind = type(make_policy(known, same)).parameters_type
        assert read_parameters(name, same, kind) == read_parameters(name, {}, kind)

    class Odd(msgspec.Struct):
        needed: int
        threshold: Threshold = NEVER

    assert defaults_in_words(Odd) == {"needed": "", "threshold": "never"}


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no policy 'dtoee'") as caught:
        make_policy("dtoee")
    assert caught.value.exit_code == 3
    assert caught.value.hint.startswith("did you mean dto-ee? (or choose one of bandwidth-first, computing-first, ")
    with pytest.raises(InputError) as caught:
        make_policy("mine")
    assert caught.value.hint.startswith(
        "choose one of bandwidth-first, computing-first, dto-ee, dto-ee-2c, dto-ee-static, "
    )


@pytest.mark.parametrize("name", policy_names())
def test_an_unknown_parameter_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=f"policy {name} has no parameter 'treshold'") as caught:
        make_policy(name, {"treshold": 0.5})
    assert "threshold" in caught.value.hint or caught.value.hint == "it has none"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"threshold": 2.5}, "must be a confidence from 0 to 1, or never, not 2.5"),
        ({"threshold": -0.1}, "must be a confidence from 0 to 1, or never, not -0.1"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": "high"}, "must be a confidence from 0 to 1, or never, not 'high'"),
        ({"threshold": None}, "threshold"),
        ({"adapt_thresholds": 7}, "must be true or false, not 7"),
        ({"most_rounds": 0}, "must be a whole number from 1 to 1000, not 0"),
        ({"most_rounds": 2.5}, "must be a whole number from 1 to 1000, not 2.5"),
        ({"move_every": 0}, "must be a whole number from 1 to 1000, not 0"),
        ({"momentum": 1.0}, "must be a number from 0 and below 1, not 1"),
        ({"first_step": 0}, "must be a number above 0 and up to 10, not 0"),
        ({"floor": 0.1}, "must be a number above 0 and below 0.1, not 0.1"),
        ({"stop_gap": 1.01}, "must be a number from 0 to 1, not 1.01"),
        ({"hysteresis": -1}, "must be a number from 0 to 1e+06, not -1"),
        ({"update": "galager"}, "must be gallager or momentum, not 'galager'"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(parameters, said):
    with pytest.raises(InputError, match="policy dto-ee: ") as caught:
        make_policy("dto-ee", parameters)
    assert said in str(caught.value)
    assert next(iter(parameters)) in str(caught.value)


@pytest.mark.parametrize("name", sorted({*policy_names()} - {"no-early-exit", "first-exit"}))
def test_the_threshold_is_what_was_asked_for(name):
    assert make_policy(name, {"threshold": 1}).first_threshold == 1.0
    with pytest.raises(InputError, match=f"policy {name}: "):
        make_policy(name, {"threshold": 3})


def test_proportional_rows_by_hand():
    computing, bandwidth = (make_policy(name) for name in PROPORTIONAL)
    assert computing.update_row(UNIFORM, prospect()) == pytest.approx([0.1, 0.3, 0.6])
    assert bandwidth.update_row(UNIFORM, prospect()) == pytest.approx([0.4, 0.1, 0.5])
    fast_is_dead = prospect(alive=(True, True, False))
    assert computing.update_row(UNIFORM, fast_is_dead) == pytest.approx([0.25, 0.75, 0])
    assert bandwidth.update_row(UNIFORM, fast_is_dead) == pytest.approx([0.8, 0.2, 0])


@pytest.mark.parametrize("name", PROPORTIONAL)
def test_proportional_policies_settle_in_one_round_and_leave_thresholds_alone(name):
    policy = make_policy(name, {"threshold": 0.6})
    assert policy.most_rounds == 1
    assert policy.gap(UNIFORM, prospect()) <= policy.stop_gap()
    policy.start_slot()
    assert policy.move_threshold(view(threshold=0.6)) == 0.6
    assert policy.executed(UNIFORM) is UNIFORM


@given(st.lists(st.tuples(st.floats(0, 1e9), st.booleans()), min_size=1, max_size=8))
def test_a_proportional_row_sums_to_one_over_the_living(receivers):
    weights = np.array([weight for weight, _ in receivers])
    alive = np.array([living for _, living in receivers])
    if not alive.any():
        return
    if not weights.any():
        with pytest.raises(WrongAnswer):
            proportional(weights, alive)
        return
    row = proportional(weights, alive)
    assert row.sum() == pytest.approx(1)
    assert (row[~alive] == 0).all()
    assert (row >= 0).all()
    if not weights[alive].any():  # all that is positive belongs to the dead
        assert row[alive] == pytest.approx(1 / alive.sum())


def test_the_first_row_of_dto_ee_follows_the_speeds_not_the_prices():
    policy = make_policy("dto-ee")
    first = policy.update_row(UNIFORM, prospect(marginal_s=[9.0, 1.0, 5.0]))
    assert first == pytest.approx([0.1, 0.3, 0.6])


def test_dto_ee_moves_towards_the_cheaper_receivers():
    policy = make_policy("dto-ee")
    first = policy.update_row(UNIFORM, prospect())
    second = policy.update_row(first, prospect())
    assert second.sum() == pytest.approx(1)
    assert second[2] > first[2]
    assert second[0] < first[0]
    row = second
    for _ in range(100):
        row = policy.update_row(row, prospect())
    assert policy.executed(row) == pytest.approx([0, 0, 1])


def test_dto_ee_keeps_its_row_between_slots():
    policy = make_policy("dto-ee")
    policy.start_slot()  # before there is a row
    row = policy.update_row(policy.update_row(UNIFORM, prospect()), prospect())
    policy.start_slot()
    level = prospect(marginal_s=[0.2, 0.2, 0.2])
    assert policy.update_row(row, level) == pytest.approx(row, abs=1e-4)  # equal prices: no reason to move


@pytest.mark.parametrize("name", ["dto-ee", "ngto"])
def test_a_step_starts_from_the_row_that_the_node_has(name):
    """A policy keeps its momentum, the node its row, which a central plan or a lost receiver may have changed."""
    policy = make_policy(name)
    policy.update_row(UNIFORM, prospect())
    for row in ([0.8, 0.1, 0.1], [0.1, 0.1, 0.8]):
        policy.start_slot()
        level = prospect(marginal_s=[0.2] * 3, service_per_s=[30.0] * 3, stale=True)
        assert policy.update_row(np.array(row), level) == pytest.approx(row, abs=0.05)


def test_dto_ee_leaves_dead_receivers_out_and_takes_them_back():
    policy = make_policy("dto-ee")
    fast_is_dead = prospect(alive=(True, True, False))
    row = policy.update_row(UNIFORM, fast_is_dead)
    assert row == pytest.approx([0.25, 0.75, 0])
    assert policy.update_row(row, fast_is_dead)[2] == 0
    for _ in range(20):
        row = policy.update_row(row, prospect())
    assert row[2] > 0.5


def test_dto_ee_steps_shorter_on_stale_prices():
    moves = []
    for stale in (False, True):
        policy = make_policy("dto-ee")
        row = policy.update_row(UNIFORM, prospect())
        moves.append(policy.update_row(row, prospect(stale=stale))[2] - 0.6)
    assert 0 < moves[1] < moves[0]


def test_the_executed_row_is_without_what_only_the_floor_keeps():
    policy = make_policy("dto-ee", {"floor": 0.01})
    assert policy.executed(np.array([0.01, 0.09, 0.9])) == pytest.approx([0, 0.09 / 0.99, 0.9 / 0.99])
    assert policy.executed(np.array([0.02, 0.08, 0.9]))[0] == 0  # a factor of two still counts as the floor
    assert policy.executed(np.array([0.03, 0.07, 0.9])) == pytest.approx([0.03, 0.07, 0.9])
    assert policy.executed(np.array([1.0])) == pytest.approx([1.0])


def test_the_gap_is_the_share_that_an_ideal_plan_could_save():
    policy = make_policy("dto-ee", {"stop_gap": 0.05})
    priced = prospect(link_marginal_s=[0.1, 0.2, 0.3], marginal_s=[0.9, 0.8, 0.7], best_s=[0.7, 0.2, 0.4])
    # Every receiver costs 1 s as planned; the cheapest ideal one 0.4 s.
    assert policy.gap(UNIFORM, priced) == pytest.approx(0.6)
    without_the_best = prospect(
        link_marginal_s=[0.1, 0.2, 0.3], marginal_s=[0.9, 0.8, 0.7], best_s=[0.7, 0.2, 0.4], alive=(True, False, True)
    )
    assert policy.gap(UNIFORM, without_the_best) == pytest.approx(0.3)
    assert policy.stop_gap() == 0.05


def view(*, threshold=0.8, local_s=0.05) -> ThresholdView:
    """The view of a stage-1 server of two stages, with receivers that cost `local_s`."""
    onward = Onward(
        np.array([1.0]), np.array([0.01]), np.array([local_s]), np.array([0.0]), np.array([0.001]), (((1.0, ()),),)
    )
    return ThresholdView(synthetic_table(2), 1, ((5.0, ()),), 5.0, onward, threshold)


def test_thresholds_move_by_what_accuracy_is_worth():
    keen = make_policy("dto-ee", theta_s=100.0)
    hasty = make_policy("dto-ee", {"hysteresis": 0}, theta_s=0.0)
    assert keen.move_threshold(view()) > 0.8
    assert hasty.move_threshold(view()) < 0.8
    still = make_policy("dto-ee", {"adapt_thresholds": False}, theta_s=100.0)
    assert still.move_threshold(view()) == 0.8
    sluggish = make_policy("dto-ee", {"hysteresis": 1000.0}, theta_s=100.0)
    assert sluggish.move_threshold(view()) == 0.8


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('the moon is full')", "ValueError: the moon is full"),
        ("return {}['no such key']", "KeyError: 'no such key'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise TypeError", "TypeError: "),
    ],
)
def test_a_constructor_that_fails_is_told(tmp_path, body, said):
    base = "from node_agent.policies.base import PlainPolicy\n\n\nclass Mine(PlainPolicy):\n"
    (tmp_path / "mine.py").write_text(f"{base}    def __init__(self, parameters, theta_s):\n        {body}\n")
    with pytest.raises(InputError) as caught:
        make_policy(f"{tmp_path}/mine.py:Mine")
    assert str(caught.value) == f"policy {tmp_path}/mine.py:Mine cannot be made: {said}"


def test_a_policy_file_without_a_class_is_told_which_it_holds(tmp_path):
    base = "from node_agent.policies.base import PlainPolicy\n\n\nclass Other:\n    pass\n"
    (tmp_path / "mine.py").write_text(base + "class Near(PlainPolicy):\n    pass\nclass Far(Near):\n    pass\n")
    for name in ("mine.py", "mine.py:"):
        with pytest.raises(InputError, match=r"mine\.py names no class: state it as file\.py:Class") as caught:
            make_policy(f"{tmp_path}/{name}")
        assert caught.value.hint == "it holds Near, Far"
    with pytest.raises(InputError, match="has no class 'Fra'") as caught:
        make_policy(f"{tmp_path}/mine.py:Fra")
    assert caught.value.hint == "it holds Near, Far"
    assert isinstance(make_policy(f"{tmp_path}/mine.py:Near"), PlainPolicy)
    (tmp_path / "gone.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError, match=r"gone\.py fails: SystemExit: 3"):
        make_policy(f"{tmp_path}/gone.py:Mine")


def test_an_empty_list_of_parameters_is_none():
    assert parse_policy("dto-ee:") == parse_policy("dto-ee") == ("dto-ee", {})
    assert type(make_policy("dto-ee:")) is type(make_policy("dto-ee"))


def test_dto_ee_is_settled_once_its_gap_is_small_or_falls_no_further():
    policy = make_policy("dto-ee", {"stop_gap": 0.05})
    falling = [0.8, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert not any(policy.settled(falling[: played + 1]) for played in range(len(falling)))
    assert policy.settled([0.8, 0.05])
    assert not policy.settled([0.8, 0.6, 0.05, 0.1])  # a small gap counts while it is small
    assert not policy.settled([0.6, 0.4, 0.52, 0.48])  # far from good
    assert policy.settled([0.3, 0.2, 0.26, 0.24])
    assert policy.settled([0.3, 0.2, 0.26, 0.24, 0.1])  # what is noise once is taken for noise for the slot
    policy.start_slot()
    assert not policy.settled([0.3])
    assert not make_policy("dto-ee", {"stop_gap": 0}).settled([0.3, 0.2, 0.26, 0.24])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed-threshold:threshold=0.1,threshold=0.9", "states threshold twice"),
        ("uniform:label=a,label=b", "states label twice"),
    ],
)
def test_a_parameter_is_stated_once(text, message):
    with pytest.raises(InputError, match=message):
        parse_policy(text)


def test_a_label_may_not_be_the_name_of_another_policy():
    with pytest.raises(InputError, match=r"policy dto-ee: uniform is the name of another policy"):
        check_label("dto-ee", {}, "uniform")
    check_label("dto-ee", {}, "dto-ee")
    check_label("dto-ee", {}, "Uniform, nearly".replace(",", ""))
