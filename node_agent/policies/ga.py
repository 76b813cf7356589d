"""GA: a genetic algorithm on one node plans the offloading and the thresholds of all.

A genome holds every offloader's weights over its receivers (a row is proportional to them) and the index of one
threshold per early stage. Fitness is the objective: mean delay minus theta times accuracy. It is computed with DTO-EE's
queueing model, from the rates and links that the nodes reported, for the whole population at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, overload_penalty, queue_cost
from node_agent.dtoee.receiver import Overload
from node_agent.dtoee.thresholds import grid
from node_agent.policies.base import PlainPolicy
from node_agent.policies.parameters import Threshold
from node_agent.problem import Problem
from node_agent.wire import Assignment

TOURNAMENT = 3
ELITE = 2
MUTATED_SHARE, MUTATION_SIZE = 0.1, 0.15  # share of the genes, and standard deviation of the number added to each
THRESHOLD_MUTATION = 0.2  # probability that a threshold moves one step on its grid
BLEND = 0.25  # a child lies up to this share of its parents' distance beyond one of them
# Planning time per weight of a genome, generation and member of the population [s].
# Decision 022: planning is charged by a constant, not by the clock (docs/decisions/022-charged-planning.md).
SECONDS_PER_GENE = 60e-9
LEAST_PLANNING_S = 0.02


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters that a topology may set."""

    threshold: Threshold = 0.8  # until the first plan arrives, and always if thresholds do not adapt
    adapt_thresholds: bool = True
    population: Annotated[int, Meta(ge=4, le=1000)] = 50
    generations: Annotated[int, Meta(ge=1, le=10000)] = 100
    seed: Annotated[int, Meta(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class Layers:
    """The network as dense matrices: stage h = 1..H has n_h servers, stage 0 has n_0 devices.

    Stage h stands at index h of `names`, and at index h - 1 of the other lists; these begin with stage 1, or the links
    into it.
    """

    names: list[list[str]]  # per stage 0..H
    arrival_per_s: Array  # of the devices [task/s], (n_0,)
    service_per_s: list[Array]  # per stage 1..H [task/s], each (n_h,)
    variability: list[Array]  # per stage 1..H, each (n_h,)
    exists: list[NDArray[np.bool_]]  # (n_(h-1), n_h)
    link_s: list[Array]  # transfer times [s], (n_(h-1), n_h)
    back_s: Array  # time of a result from stage 1 to each device [s], (n_0, n_1)
    return_s: list[Array]  # mean time of a result to its device [s], per stage 1..H; stage 1 uses `back_s` instead


@dataclass(slots=True)
class Population:
    """P genomes: weights >= 0 per tier (P, n_(h-1), n_h), and threshold indices (P, H - 1)."""

    weights: list[Array]
    indices: NDArray[np.int64]

    def take(self, chosen: NDArray[np.int64]) -> "Population":
        """These members, in this order."""
        return Population([tier[chosen] for tier in self.weights], self.indices[chosen])


class Ga(PlainPolicy):
    """A genetic algorithm on one server plans for all nodes, thresholds included; collecting and planning take time.

    It plans once a slot from the collected states. The best genome of a slot is a member of the next slot's population.
    """

    parameters_type = Parameters
    central = True

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        self.parameters = parameters
        self.first_threshold = parameters.threshold
        self._theta_s = theta_s
        self._best: tuple[list[list[str]], Population] | None = None  # and the nodes it was for

    def planning_s(self, problem: Problem) -> float:
        """Planning time [emulated s], in proportion to the work: genes times population times generations."""
        genes = sum(len(place.receivers) for place in problem.places.values())
        work = genes * self.parameters.population * self.parameters.generations
        return max(LEAST_PLANNING_S, SECONDS_PER_GENE * work)

    def plan(self, problem: Problem, table: ExitTable) -> dict[str, Assignment]:
        """The best genome's rows and thresholds, by node; empty while a whole stage has not reported."""
        layers = layers_of(problem)
        if layers is None:
            return {}
        search = Search(layers, table, self.parameters, self._theta_s, seed=problem.slot)
        known = self._best is not None and self._best[0] == layers.names
        best = search.run(self._best[1] if self._best is not None and known else None)
        self._best = layers.names, best
        return search.assignments(best, problem.slot)


def layers_of(problem: Problem) -> Layers | None:
    """The part of the network that has reported its state; None while no node of some stage has."""
    names = [
        [name for name, place in problem.places.items() if place.stage == stage and name in problem.states]
        for stage in range(problem.stages + 1)
    ]
    if not all(names):
        return None
    exists, link_s = [], []
    for upper, lower in pairwise(names):
        links = np.full((len(upper), len(lower)), np.nan)
        for i, offloader in enumerate(upper):
            for j, receiver in enumerate(lower):
                if receiver in problem.places[offloader].receivers:
                    links[i, j] = problem.states[offloader].link_s.get(receiver, 0.0)
        exists.append(~np.isnan(links))
        link_s.append(np.nan_to_num(links))

    def column(stage: int, field: str) -> Array:
        return np.array([getattr(problem.states[name], field) for name in names[stage]], dtype=np.float64)

    servers = range(1, problem.stages + 1)
    return Layers(
        names,
        column(0, "rate_per_s"),
        [np.maximum(column(stage, "rate_per_s"), 1e-6) for stage in servers],
        [column(stage, "variability") for stage in servers],
        exists,
        link_s,
        np.array([[problem.states[device].back_s.get(server, 0.0) for server in names[1]] for device in names[0]]),
        [column(stage, "return_s") for stage in servers],
    )


class Search:
    """A run of the genetic algorithm."""

    def __init__(self, layers: Layers, table: ExitTable, parameters: Parameters, theta_s: float, *, seed: int) -> None:
        self._layers = layers
        self._table = table
        self._parameters = parameters
        self._theta_s = theta_s
        self._random = np.random.default_rng([parameters.seed, seed])
        self._grids = [grid(table, stage) for stage in range(1, table.stages)]
        if not parameters.adapt_thresholds:
            self._grids = [np.array([parameters.threshold]) for _ in self._grids]
        self._overload = Overload()
        self._outcomes: dict[tuple[int, ...], tuple[list[float], float]] = {}

    def run(self, best: Population | None) -> Population:
        """The best member found, as a population of one; `best` joins the first population unless it is None."""
        population = self._first(best)
        cost = self.cost(population)
        for _ in range(self._parameters.generations):
            children = self._children(population, cost)
            order = np.argsort(cost)[:ELITE]
            for mine, theirs in zip(children.weights, population.weights, strict=True):
                mine[:ELITE] = theirs[order]
            children.indices[:ELITE] = population.indices[order]
            population, cost = children, self.cost(children)
        return population.take(np.argsort(cost)[:1])

    def cost(self, population: Population) -> Array:
        """Mean delay, penalty included, minus theta times accuracy [s], shape (P,)."""
        outcomes = [self._outcome(tuple(row)) for row in population.indices.tolist()]
        remaining = np.array([ratios for ratios, _ in outcomes])  # (P, H), stage 1 first
        accuracy = np.array([share for _, share in outcomes])
        layers = self._layers
        leaving = np.broadcast_to(layers.arrival_per_s, (len(accuracy), len(layers.arrival_per_s)))
        total = np.zeros(len(accuracy))
        for index, row in enumerate(self.rows(population)):
            flow = leaving[:, :, None] * row
            phi = flow.sum(axis=1)
            service_per_s = layers.service_per_s[index]
            queue = queue_cost(phi, service_per_s, layers.variability[index])
            penalty = overload_penalty(phi, service_per_s, self._overload.rho_max, self._overload.kappa_s2)
            total += (flow * layers.link_s[index]).sum(axis=(1, 2)) + (queue.tasks + penalty.tasks).sum(axis=1)
            back = phi @ layers.return_s[index] if index else (flow * layers.back_s).sum(axis=(1, 2))
            total += (1 - remaining[:, index]) * back
            leaving = phi * remaining[:, index, None]
        return np.asarray(total / max(layers.arrival_per_s.sum(), 1e-9) - self._theta_s * accuracy)

    def rows(self, population: Population) -> list[Array]:
        """Offloading probabilities per tier (P, n_(h-1), n_h); zero where none of an offloader's receivers is known."""
        rows = []
        for weights, exists in zip(population.weights, self._layers.exists, strict=True):
            kept = np.where(exists, np.maximum(weights, 1e-9), 0.0)
            total = kept.sum(axis=2, keepdims=True)
            rows.append(kept / np.where(total > 0, total, 1.0))
        return rows

    def _outcome(self, indices: tuple[int, ...]) -> tuple[list[float], float]:
        """Remaining ratio per stage and accuracy under one threshold per early stage."""
        if indices not in self._outcomes:
            chosen = [float(points[index]) for points, index in zip(self._grids, indices, strict=True)]
            share, accuracy = self._table.outcome(chosen)
            alive = 1 - np.concatenate([[0.0], np.cumsum(share)])
            ratios = [float(after / before) if before > 1e-12 else 0.0 for before, after in pairwise(alive)]
            self._outcomes[indices] = (ratios, accuracy)
        return self._outcomes[indices]

    def _first(self, best: Population | None) -> Population:
        """Random members, a member in proportion to the servers' speeds, and the best of the last slot, if any."""
        size, layers = self._parameters.population, self._layers
        weights = [self._random.random((size, *exists.shape)) for exists in layers.exists]
        drawn = [self._random.integers(0, len(points), size) for points in self._grids]
        indices = np.column_stack(drawn) if drawn else np.zeros((size, 0), dtype=np.int64)  # of one stage: none
        for tier, service in zip(weights, layers.service_per_s, strict=True):
            tier[0] = service / service.sum()
        indices[0] = self._nearest(self._parameters.threshold)
        if best is not None:
            for tier, kept in zip(weights, best.weights, strict=True):
                tier[1] = kept[0]
            indices[1] = best.indices[0]
        return Population(weights, indices)

    def _nearest(self, threshold: float) -> list[int]:
        return [int(np.abs(points - threshold).argmin()) for points in self._grids]

    def _children(self, population: Population, cost: Array) -> Population:
        """A new generation: parents chosen by tournament, blended and mutated."""
        size, random = self._parameters.population, self._random
        entrants = random.integers(0, size, (2 * size, TOURNAMENT))
        winners = entrants[np.arange(2 * size), cost[entrants].argmin(axis=1)]
        mother, father = population.take(winners[:size]), population.take(winners[size:])
        weights = []
        for ours, theirs in zip(mother.weights, father.weights, strict=True):
            share = random.uniform(-BLEND, 1 + BLEND, ours.shape)
            child = ours + share * (theirs - ours)
            mutated = random.random(child.shape) < MUTATED_SHARE
            child[mutated] += random.normal(0.0, MUTATION_SIZE, int(mutated.sum()))
            weights.append(np.maximum(child, 0.0))
        indices = np.where(random.random(mother.indices.shape) < 0.5, mother.indices, father.indices)
        moves = random.integers(-1, 2, indices.shape) * (random.random(indices.shape) < THRESHOLD_MUTATION)
        most = np.array([len(points) - 1 for points in self._grids], dtype=np.int64)
        return Population(weights, np.clip(indices + moves, 0, most))

    def assignments(self, best: Population, slot: int) -> dict[str, Assignment]:
        """The first member's plan as assignments by node."""
        layers, told = self._layers, {}
        thresholds: Sequence[float | None] = [
            None,
            *(float(points[i]) for points, i in zip(self._grids, best.indices[0], strict=True)),
            None,
        ]
        rows = [tier[0] for tier in self.rows(best)]
        for stage, names in enumerate(layers.names):
            for i, name in enumerate(names):
                row = rows[stage][i].tolist() if stage < len(rows) else []
                shares = {other: min(1.0, p) for other, p in zip(layers.names[stage + 1], row, strict=True) if p > 0} \
                    if row else {}  # fmt: skip
                told[name] = Assignment(slot, shares, thresholds[stage])
        return told
