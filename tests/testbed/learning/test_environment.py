"""The environment is the simulation itself: equal choices give equal runs, and it leaves nothing behind."""

import gc
import subprocess
import sys
import tempfile
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from node_agent.errors import InputError
from node_agent.policies import make_policy
from node_agent.policies.observation import FIGURES
from testbed.learning.environment import OffloadingEnv, _Rewards
from testbed.simulation.failure import NodeFailed
from testbed.virtual_time import Calendar
from tests.testbed.simulated import lines, simulate
from tests.testbed.small import SMALL

SED = "shortest-expected-delay"
EMPTY_PLACE = 7  # of the eight; no node here has more than three receivers


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    gc.collect()
    assert [thread.name for thread in threading.enumerate() if thread.name == "simulation"] == []
    assert list(folder.iterdir()) == []


def episode(env, choose, **reset):
    """All observations, rewards and infos of an episode; `choose` gets the environment and the info."""
    observation, info = env.reset(**reset)
    seen, done = [(observation, 0.0, info)], False
    while not done:
        observation, reward, done, truncated, info = env.step(choose(env, info))
        assert not truncated
        seen.append((observation, reward, info))
    return seen


def test_it_keeps_the_rules_of_gymnasium(small):
    env = OffloadingEnv(small, duration_s=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    env.close()


def value_s(tasks, theta_s):
    return sum(theta_s * task["correct"] - task["delay_s"] for task in tasks)


@pytest.mark.parametrize("policy", [SED, "two-choices", "dto-ee-2c"])
def test_an_empty_place_gives_the_run_that_simulate_gives(tmp_path, small, policy):
    outcome = simulate(tmp_path / "plain", SMALL, policy=policy, seed=5)
    env = OffloadingEnv(small, policy=policy)
    seen = episode(env, lambda *_: EMPTY_PLACE, options={"run_seed": 5})
    tasks = lines(outcome, "tasks.jsonl")
    assert sum(reward for _, reward, _ in seen) == pytest.approx(value_s(tasks, 2.0), abs=1e-9)
    assert sum(info["ended"] for *_, info in seen) == len(tasks) == outcome.summary["tasks"]["completed"]
    # Each task crosses one hop with a choice: stage 2 has a single server.
    assert len(seen) - 1 == len(tasks)
    assert {info["stage"] for *_, info in seen[:-1]} == {0}


def test_a_policy_outside_gives_the_run_of_the_policy_inside(tmp_path, small):
    outcome = simulate(tmp_path / "plain", SMALL, policy=SED, seed=6)
    policy = make_policy(SED)
    env = OffloadingEnv(small, policy="join-shortest-queue")
    seen = episode(env, lambda env, _: policy.pick(env.decision.candidates, None), options={"run_seed": 6})
    assert sum(reward for _, reward, _ in seen) == pytest.approx(value_s(lines(outcome, "tasks.jsonl"), 2.0), abs=1e-9)


def test_choices_matter(small):
    totals = [
        sum(reward for _, reward, _ in episode(OffloadingEnv(small), lambda *_, place=place: place, seed=1))
        for place in (0, 1, EMPTY_PLACE)
    ]
    assert totals[2] > max(totals[:2])


def test_seeds_repeat_a_sequence_of_episodes(small):
    def two_episodes(seed):
        env, dice = OffloadingEnv(small, duration_s=4.0), np.random.default_rng(3)
        return [episode(env, lambda *_: dice.integers(2), seed=one) for one in (seed, None)]

    first, again, other = two_episodes(1), two_episodes(1), two_episodes(2)
    for one, same in zip(first, again, strict=True):
        assert [reward for _, reward, _ in one] == [reward for _, reward, _ in same]
        assert all((a == b).all() for (a, *_), (b, *_) in zip(one, same, strict=True))
    assert len({each[0][2]["seed"] for each in (*first, *other)}) == 4


def test_an_observation_holds_its_candidates_and_then_zeros(small):
    env = OffloadingEnv(small, receivers=3)
    observation, info = env.reset(seed=1)
    assert info["action_mask"].tolist() == [1, 1, 0]
    places = observation.reshape(3, len(FIGURES))
    assert places[:, 0].tolist() == [1, 1, 0]
    assert not places[2].any()
    env.close()
    *_, (observation, _, info) = episode(env, lambda *_: 0, seed=1)
    assert not observation.any()
    assert not info["action_mask"].any()
    assert info["node"] is None


def test_with_too_few_places_the_nearest_candidates_are_shown(tmp_path):
    path = tmp_path / "three.yaml"
    path.write_text(
        SMALL.replace("  near-2:", "  far: {stage: 1, capacity: 0.3 GFLOP/s}\n  near-2:").replace(
            "links:\n",
            "links:\n  - {from: cam, to: far, rate: 20 Mbit/s, delay: 400 ms}\n"
            "  - {from: far, to: core, rate: 20 Mbit/s, delay: 1 ms}\n",
        )
    )
    env = OffloadingEnv(path, receivers=2)
    _, info = env.reset(seed=1)
    assert len(env.decision.candidates) == 3
    assert info["action_mask"].tolist() == [1, 1]
    taken = []
    # Both places lead past the far server, wherever it stands among the candidates.
    original = env._run.advance
    env._run.advance = lambda choice: (taken.append(env.decision.candidates[choice].link_s), original(choice))[1]
    for place in (0, 1, 0, 1):
        env.step(place)
    assert max(taken) < 0.1
    env.close()


def test_topologies_may_be_drawn_for_each_episode():
    asked = []

    def text(seed):
        asked.append(seed)
        return SMALL.replace("rate: 5 /s", f"rate: {1 + seed % 3} /s")

    env = OffloadingEnv(text, duration_s=4.0)
    seeds = [env.reset(seed=each)[1]["seed"] for each in (1, None, None)]
    assert asked == seeds
    env.close()


@pytest.mark.parametrize("steps", [0, 5])
def test_an_episode_that_is_given_up_ends_its_thread(small, steps):
    env = OffloadingEnv(small)
    env.reset(seed=1)
    for _ in range(steps):
        env.step(0)
    del env  # without close


def test_a_closed_environment_says_so_and_can_begin_again(small):
    env = OffloadingEnv(small, duration_s=3.0)
    for _ in range(2):
        env.reset(seed=1)
        env.close()
        env.close()
        with pytest.raises(InputError, match="the episode is over"):
            env.step(0)


BROKEN = """
from node_agent.policies.base import QueuePolicy

class Broken(QueuePolicy):
    def update_row(self, row, prospect):
        raise RuntimeError("a fault of its own")
"""


def test_a_failure_of_a_node_reaches_the_caller(tmp_path, small):
    (tmp_path / "broken.py").write_text(BROKEN)
    env = OffloadingEnv(small, policy=f"{tmp_path / 'broken.py'}:Broken")
    with pytest.raises(NodeFailed, match="update_row raised RuntimeError: a fault of its own"):
        episode(env, lambda *_: 0, seed=1)


def test_impossible_wishes_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="leave nothing to choose"):
        OffloadingEnv(small, receivers=1)
    with pytest.raises(InputError, match="does not choose by queues"):
        OffloadingEnv(small, policy="uniform").reset(seed=1)
    (tmp_path / "lone.yaml").write_text("\n".join(each for each in SMALL.splitlines() if "to: near-2" not in each)
                                        .replace("from: [near-1, near-2]", "from: near-1")
                                        .replace("  near-2: {stage: 1, capacity: 0.3 GFLOP/s}\n", ""))  # fmt: skip
    with pytest.raises(InputError, match="no node of small has anything to choose"):
        OffloadingEnv(tmp_path / "lone.yaml").reset(seed=1)


def test_what_a_task_is_worth():
    rewards = _Rewards(Calendar(9.0), theta_s=3.0)
    for status, delay_s, correct in (("completed", 0.5, True), ("completed", 0.25, False), ("lost", None, None),
                                     ("refused", None, None)):  # fmt: skip
        rewards.task(SimpleNamespace(status=status, delay_s=delay_s, correct=correct, created_s=7.0))
    assert rewards.take() == (3.0 - 0.5 - 0.25 - 2.0, 4)
    assert rewards.take() == (0.0, 0)


def test_without_gymnasium_it_says_how_to_get_it():
    code = "import sys; sys.modules['gymnasium'] = None; import testbed.learning.environment"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "EnvironmentLacking: gymnasium is needed for environments" in done.stderr
