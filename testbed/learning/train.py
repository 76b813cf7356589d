"""Train the policy `learned` in the environment: `.venv/bin/python -m testbed.learning.train --out weights.npz`.

Evolution strategies (Salimans et al. 2017) with antithetic pairs: weights w + sigma e and w - sigma e play the same
random network with the same arrivals, and the step goes towards the better one. The gain of a pair is relative,

    (R+ - R-) / (|R+| + |R-|) ,

with the return R per task; in the random networks accuracy is worth next to nothing, so that R is minus the mean delay.
Every pair has a network of its own. Steps are Adam's (Kingma and Ba 2015); the result is the mean of the later weights.

Needs the extra `rl`.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Final, NamedTuple

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.errors import TestbedError
from node_agent.policies.observation import FIGURES
from node_agent.policies.scorer import Scorer
from testbed.learning.environment import OffloadingEnv
from testbed.learning.networks import random_network

PLACES: Final = 4  # as many receivers as a node of a random network has at most
DEVIATIONS: Final = Scorer(  # of the tried weights; the steps are in proportion
    weights=np.array(0.05), log_tau=np.array(0.3)
)
STEP: Final = 0.15  # Adam's, in deviations
DECAYS: Final = (0.9, 0.99)  # Adam's
TINY: Final = 1e-8  # Adam's
MOST_GAIN: Final = 0.05  # of a pair: an overloaded network must not outweigh all others
PROOF_SEED: Final = 900_000_000  # of the first network that judges the result; training never sees it
PROOF_NETWORKS: Final = 24

Play = Callable[[Sequence["Trial"]], list[float]]


class Trial(NamedTuple):
    """An episode: weights as `Scorer.vector`, and the seed of the network and its arrivals."""

    vector: Array
    seed: int


class Progress(NamedTuple):
    """The state of the training after an iteration."""

    iteration: int  # from 1
    gain: float  # mean relative gain of the better half of a pair
    mean: Array  # mean of the weights since the first half, as `Scorer.vector`


def return_of(trial: Trial) -> float:
    """The return per task of an episode [s]."""
    env, scorer, dice = _environment(), Scorer.of(trial.vector), random.Random(trial.seed)
    observation, info = env.reset(options={"run_seed": trial.seed})
    total, ended, done = 0.0, 0, False
    while not done:
        figures = observation.reshape(PLACES, len(FIGURES))[: int(info["action_mask"].sum())]
        observation, reward, done, _, info = env.step(scorer.choose(figures.astype(np.float64), dice))
        total, ended = total + reward, ended + int(info["ended"])
    return total / max(1, ended)


@cache
def _environment() -> OffloadingEnv:
    return OffloadingEnv(random_network, receivers=PLACES)


def train(play: Play, *, iterations: int, pairs: int, seed: int) -> Iterator[Progress]:
    """Train from the weights of shortest-expected-delay; yield the progress after each iteration.

    Args:
        play: returns the return of each of several episodes.
        iterations: number of steps.
        pairs: number of antithetic pairs, and networks, of a step.
        seed: draws networks and deviations.
    """
    dice = np.random.default_rng(seed)
    weights = Scorer.shortest().vector
    sigma = Scorer(
        *(np.full(part.shape, each) for part, each in zip(Scorer.shortest(), DEVIATIONS, strict=True))
    ).vector
    mean, first, second = weights.copy(), np.zeros_like(weights), np.zeros_like(weights)
    kept = 0
    for iteration in range(1, iterations + 1):
        tried = dice.normal(size=(pairs, len(weights)))
        networks = dice.integers(PROOF_SEED, size=pairs).tolist()
        trials = [
            Trial(weights + sign * sigma * one, network)
            for one, network in zip(tried, networks, strict=True)
            for sign in (1, -1)
        ]
        gains = np.array(gains_of(play(trials)))
        slope = gains @ tried / pairs
        first = DECAYS[0] * first + (1 - DECAYS[0]) * slope
        second = DECAYS[1] * second + (1 - DECAYS[1]) * slope**2
        usual = np.sqrt(second / (1 - DECAYS[1] ** iteration)) + TINY
        weights = weights + STEP * sigma * first / (1 - DECAYS[0] ** iteration) / usual
        if 2 * iteration > iterations:
            kept += 1
            mean = mean + (weights - mean) / kept
        else:
            mean = weights
        yield Progress(iteration, float(np.abs(gains).mean()), mean)


def gains_of(returns: Sequence[float]) -> list[float]:
    """The relative gain of the first of each pair, from the returns of the pairs [s], one pair after the other."""
    found = []
    for one, other in zip(returns[::2], returns[1::2], strict=True):
        scale = max(TINY, abs(one) + abs(other))
        found.append(min(MOST_GAIN, max(-MOST_GAIN, (one - other) / scale)))
    return found


def proof(play: Play, vector: Array, networks: int) -> tuple[float, float]:
    """The mean share of the delay that these weights save against shortest-expected-delay, and its standard error.

    Both play the same networks, which training never saw.
    """
    rival = Scorer.shortest()._replace(log_tau=np.array(-20.0)).vector
    seeds = range(PROOF_SEED, PROOF_SEED + networks)
    returns = play([Trial(weights, seed) for seed in seeds for weights in (vector, rival)])
    saved = [1 - ours / theirs for ours, theirs in zip(returns[::2], returns[1::2], strict=True)]
    return fmean(saved), stdev(saved) / len(saved) ** 0.5


@contextmanager
def _player(jobs: int) -> Iterator[Play]:
    """A function that plays episodes, in this process or in several."""
    if jobs == 1:
        yield lambda trials: [return_of(trial) for trial in trials]
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield lambda trials: list(pool.map(return_of, trials))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge the result on networks of its own, and write the weights; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.learning.train", description="Train the policy `learned`.")
    parser.add_argument("--out", type=Path, required=True, help="the npz file of the weights")
    parser.add_argument("--iterations", type=int, default=40, help="number of steps")
    parser.add_argument("--pairs", type=int, default=12, help="pairs of episodes of a step")
    parser.add_argument("--seed", type=int, default=1, help="draws networks and tried weights")
    parser.add_argument("--jobs", type=int, default=1, help="episodes at a time")
    asked = parser.parse_args(arguments)
    began_s = time.monotonic()
    try:
        with _player(asked.jobs) as play:
            vector = Scorer.shortest().vector
            for done in train(play, iterations=asked.iterations, pairs=asked.pairs, seed=asked.seed):
                vector = done.mean
                print(f"{done.iteration} of {asked.iterations}: pairs differ by {done.gain:.2%}", flush=True)
            saved, error = proof(play, vector, PROOF_NETWORKS)
    except TestbedError as error_met:
        print(f"error: {error_met}\nhint: {error_met.hint}", file=sys.stderr)
        return error_met.exit_code
    minutes = (time.monotonic() - began_s) / 60
    command = f"--iterations {asked.iterations} --pairs {asked.pairs} --seed {asked.seed}"
    Scorer.of(vector).save(
        asked.out, made_by=f"python -m testbed.learning.train {command}", minutes=round(minutes, 1),
        saved=saved, standard_error=error,
    )  # fmt: skip
    print(f"saves {saved:.2%} (standard error {error:.2%}) of the delay of shortest-expected-delay on "
          f"{PROOF_NETWORKS} networks; {minutes:.1f} min; weights in {asked.out}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
