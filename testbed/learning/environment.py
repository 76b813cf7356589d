"""Offloading as a Gymnasium environment over virtual time: the real nodes in the real simulation, one choice a step.

Needs the extra `rl`: `.venv/bin/python -m pip install gymnasium`. docs/learning.md describes the environment for users.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.policies import make_policy
from node_agent.policies.observation import FIGURES, LARGEST, observe, shown
from testbed.learning.paused import Decision, PausedRun
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.plan import Plan
from testbed.run.planning import plan_run
from testbed.virtual_time import Calendar

try:
    import gymnasium
except ImportError as error:
    hint = ".venv/bin/python -m pip install gymnasium (the extra `rl`)"
    raise EnvironmentLacking("gymnasium is needed for environments", hint=hint) from error

Observation = npt.NDArray[np.float32]
RECEIVERS = 8  # places for candidates in an observation
MOST_SEED = 2**31


class OffloadingEnv(gymnasium.Env[Observation, np.int64]):
    """A whole simulated run is an episode, and a choice of a receiver for one task at one node is a step.

    All nodes share the environment: consecutive steps may belong to different nodes, as `info["node"]` says. Nodes with
    one living receiver have no choice, and ask nothing.

    Observation: an array (receivers * F,), see `node_agent.policies.observation`: F numbers from 0 to 10 for each
    candidate, then zeros. It holds what the node itself knows, not the true state of the network.

    Action: the place of the chosen candidate, 0 to receivers - 1. `info["action_mask"]` (receivers,) has 1 where there
    is a candidate. If an action names an empty place, the policy of the run chooses.

    Reward: the tasks that have ended since the last step, each with theta times 1 if its answer is right, minus its
    delay, in seconds. A lost task has minus the time until it was lost, a refused one has 0. So the sum over an episode
    is the number of tasks times the utility, if none is lost.

    An episode ends (`terminated`) when all tasks have ended; it is never truncated. The last observation is all zeros.

    >>> env = OffloadingEnv("topologies/quickstart.yaml", duration_s=3.0)
    >>> observation, info = env.reset(seed=1)
    >>> observation.shape, info["node"], info["action_mask"].tolist()
    ((64,), 'east-2', [1, 1, 1, 0, 0, 0, 0, 0])
    >>> env.close()
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as gymnasium.Env declares it

    def __init__(
        self,
        topology: str | Path | Callable[[int], str],
        *,
        policy: str = "shortest-expected-delay",
        receivers: int = RECEIVERS,
        duration_s: float | None = None,
    ) -> None:
        """Prepare the environment; nothing runs before `reset`.

        Args:
            topology: the topology file, or a function that returns the text of a topology from the seed of an episode.
            policy: sets thresholds and rows, and chooses where the environment does not ask. It must choose by queues.
            receivers: places for candidates, from 2. A node with more candidates shows those of the least predicted
                delay.
            duration_s: length of the workload [emulated s]; None means the topology's own.

        Raises:
            InputError: `policy` does not choose by queues, or `receivers` is too small.
        """
        if receivers < 2:
            raise InputError(f"{receivers} places for receivers leave nothing to choose", hint="at least 2")
        self._topology = topology
        self._policy = policy
        self._receivers = receivers
        self._duration_s = duration_s
        self._run: PausedRun | None = None
        self._agenda = Calendar()
        self._rewards = _Rewards(self._agenda)
        self._decision: Decision | None = None
        self.observation_space = gymnasium.spaces.Box(0.0, LARGEST, shape=(receivers * len(FIGURES),), dtype=np.float32)
        self.action_space = gymnasium.spaces.Discrete(receivers)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new episode, and run to its first choice.

        Args:
            seed: seeds the sequence of episodes; each one draws the seed of its run from it.
            options: `run_seed` sets the seed of this episode's run itself, as `simulate --seed` does.

        Returns:
            The first observation, and the info: `seed` of the run, `node` and its `stage` (0: a device), `time_s`
            (emulated), `action_mask`, and `ended`, the number of tasks that have ended since the last step.

        Raises:
            InputError: topology or policy cannot be used, or the run offers no choice at all.
            TestbedError: the run failed.
        """
        super().reset(seed=seed)
        self.close()
        drawn = int(self.np_random.integers(MOST_SEED))
        self._seed = int((options or {}).get("run_seed", drawn))
        plan = self._plan(self._seed)
        self._agenda = Calendar()
        self._rewards = _Rewards(self._agenda, plan.scenario.theta_s)
        self._run = PausedRun(plan, self._rewards, self._agenda)
        self._decision = self._run.advance()
        if self._decision is None:
            hint = "it needs tasks, and a node with two receivers"
            raise InputError(f"no node of {plan.scenario.name} has anything to choose", hint=hint)
        _, ended = self._rewards.take()
        return self._observation(), self._info(ended)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Send the task to the candidate at place `action`, and run to the next choice.

        Returns:
            Observation, reward [s], `terminated`, False, and the info as `reset` describes it.

        Raises:
            InputError: `reset` has not been called, or the episode is over.
            TestbedError: the run failed.
        """
        if self._run is None or self._decision is None:
            raise InputError("there is nothing to choose: the episode is over", hint="call reset() first")
        places = shown(self._decision.candidates, self._receivers)
        self._decision = self._run.advance(places[int(action)] if 0 <= int(action) < len(places) else None)
        reward, ended = self._rewards.take()
        return self._observation(), reward, self._decision is None, False, self._info(ended)

    def close(self) -> None:
        """End the episode under way."""
        if self._run is not None:
            self._run.close()
        self._run = self._decision = None

    @property
    def decision(self) -> Decision | None:
        """The choice to make now, with all candidates; None if there is none."""
        return self._decision

    def _plan(self, seed: int) -> Plan:
        if not callable(self._topology):
            return self._plan_of(Path(self._topology), seed)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "topology.yaml"
            file.write_text(self._topology(seed), encoding="utf-8")
            return self._plan_of(file, seed)

    def _plan_of(self, topology: Path, seed: int) -> Plan:
        plan = plan_run(topology, seed=seed, policy=self._policy, duration_s=self._duration_s, make_directory=False)
        chosen = plan.scenario.policy
        if make_policy(chosen.name, chosen.parameters).status_every_s is None:
            hint = "for example shortest-expected-delay, or dto-ee-2c"
            raise InputError(f"policy {self._policy} does not choose by queues, task by task", hint=hint)
        return plan

    def _observation(self) -> Observation:
        if self._decision is None:
            return np.zeros(self.observation_space.shape or 0, dtype=np.float32)
        return observe(self._decision.candidates, self._receivers).astype(np.float32)

    def _info(self, ended: int) -> dict[str, Any]:
        decision = self._decision
        places = () if decision is None else shown(decision.candidates, self._receivers)
        return {
            "seed": self._seed,
            "node": None if decision is None else decision.node,
            "stage": None if decision is None else decision.stage,
            "time_s": self._agenda.now_s,
            "action_mask": _mask(places, self._receivers),
            "ended": ended,
        }


def _mask(places: Sequence[int], receivers: int) -> npt.NDArray[np.int8]:
    return (np.arange(receivers) < len(places)).astype(np.int8)


class _Rewards(SilentObserver):
    """Adds up the rewards of the tasks that end."""

    def __init__(self, agenda: Calendar, theta_s: float = 0.0) -> None:
        self._agenda = agenda
        self._theta_s = theta_s
        self._sum_s = 0.0
        self._ended = 0

    def task(self, line: TaskLine) -> None:
        self._ended += 1
        if line.delay_s is not None:
            self._sum_s += self._theta_s * bool(line.correct) - line.delay_s
        elif line.status == "lost":
            self._sum_s -= self._agenda.now_s - line.created_s

    def take(self) -> tuple[float, int]:
        """Return the sum [s] and the number of tasks since the last call."""
        taken = self._sum_s, self._ended
        self._sum_s, self._ended = 0.0, 0
        return taken
