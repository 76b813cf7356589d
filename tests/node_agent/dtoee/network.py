"""Random staged networks, and a second implementation of their flows and cost, link by link, sample by sample."""

from dataclasses import replace

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import RHO_EXTENSION
from node_agent.dtoee.receiver import Overload
from node_agent.dtoee.staged import StagedNetwork, Tier
from node_agent.dtoee.thresholds import grid


def exit_table(stages: int, rows: int = 400, seed: int = 3) -> ExitTable:
    """A table of exits that get better with depth and are roughly calibrated."""
    rng = np.random.default_rng(seed)
    ease = rng.uniform(0, 1, (rows, 1)) + np.linspace(-0.1, 0.35, stages)
    confidence = np.clip(ease + rng.normal(0, 0.05, (rows, stages)), 0.05, 0.999)
    correct = rng.uniform(size=(rows, stages)) < np.clip(ease, 0.1, 0.98)
    return ExitTable(confidence, correct)


def random_network(
    seed: int, *, load: float, variability: float = 0.0, sizes=(20, 5, 4, 4), links: int | None = None,
    queued: bool = False, thresholds=None, kappa_s2=10.0, rho_max=0.9, returns=False, spread=3.0, rows=400,
):  # fmt: skip
    """A network whose stages are loaded to `load` under `thresholds`, and those thresholds (one per stage).

    `links` receivers for every node (default: all); servers within x `spread` of each other; queued links carry at
    most about half of what they could when everybody offloads alike.
    """
    rng = np.random.default_rng(seed)
    stages = len(sizes) - 1
    table = exit_table(stages, rows, seed)
    values = rng.uniform(0.5, 0.9, stages - 1) if thresholds is None else thresholds
    share, _ = table.outcome(list(values))
    device_rate = rng.uniform(1, 3, sizes[0])
    flow = device_rate.sum() * (1 - np.concatenate([[0.0], np.cumsum(share)[:-1]]))
    service, tiers = [], []
    for h, size in enumerate(sizes[1:]):
        speed = rng.uniform(1, spread, size)
        service.append(speed * flow[h] / (load * speed.sum()))
        count, k = sizes[h], min(links or size, size)
        receivers = np.stack([np.sort(rng.choice(size, k, replace=False)) for _ in range(count)])
        transfer = rng.uniform(0.002, 0.03, (count, k))
        rate = np.full((count, k), np.inf)
        if queued:
            usual = (device_rate.max() if h == 0 else flow[h] / count) / k
            rate = rng.uniform(2, 10, (count, k)) * usual * max(1, k / 2)
            transfer = transfer + 1 / rate
        tiers.append(Tier(receivers, np.ones((count, k), bool), transfer, rate))
    network = StagedNetwork(
        device_rate,
        tuple(tiers),
        tuple(service),
        tuple(np.full(len(s), variability) for s in service),
        Overload(rho_max, kappa_s2),
        table,
        tuple(rng.uniform(0.001, 0.02, len(s)) for s in service) if returns else None,
    )
    return network, network.uniform_thresholds(*values)


def complete_tier(transfer_s, link_rate_per_s=None) -> Tier:
    """Every node linked to every receiver: transfer times (n, K) [s] and, if the links queue, their rates [task/s]."""
    count, receivers = transfer_s.shape
    rate = np.full(transfer_s.shape, np.inf) if link_rate_per_s is None else link_rate_per_s
    return Tier(np.tile(np.arange(receivers), (count, 1)), np.ones((count, receivers), bool), transfer_s, rate)


def uniform_rows(network: StagedNetwork):
    """Rows with equal shares for all receivers."""
    return tuple(tier.exists / tier.exists.sum(-1, keepdims=True) for tier in network.tiers)


def spread_thresholds(network: StagedNetwork, seed: int):
    """A threshold of its own for every server."""
    rng = np.random.default_rng(seed)
    return tuple(rng.choice(grid(network.table, h + 1), len(s)) for h, s in enumerate(network.service_per_s[:-1]))


def with_missing_links(network: StagedNetwork, seed: int) -> StagedNetwork:
    """The same network with a third of the links gone, but one left to every node."""
    rng = np.random.default_rng(seed)
    tiers = []
    for tier in network.tiers:
        exists = rng.uniform(size=tier.exists.shape) < 0.67
        exists[np.arange(len(exists)), rng.integers(0, exists.shape[1], len(exists))] = True
        tiers.append(replace(tier, exists=exists))
    return replace(network, tiers=tuple(tiers))


def random_rows(network: StagedNetwork, seed: int):
    rng = np.random.default_rng(seed)
    rows = []
    for tier in network.tiers:
        weight = rng.exponential(size=tier.exists.shape) * tier.exists
        rows.append(weight / weight.sum(-1, keepdims=True))
    return tuple(rows)


def queue_by_definition(arrival: float, service: float, variability: float) -> float:
    """Mean number in the system by Pollaczek-Khinchine, extended; a second form, from the textbook's formula in rho."""

    def tasks(phi: float) -> float:
        rho = phi / service
        return rho + (1 + variability) / 2 * rho**2 / (1 - rho)

    joint, slack = RHO_EXTENSION * service, 1 - RHO_EXTENSION
    if arrival <= joint:
        return tasks(arrival)
    slope = (1 + (1 + variability) / 2 * (1 / slack**2 - 1)) / service  # rho (2 - rho) = 1 - (1 - rho)^2
    curvature = (1 + variability) / slack**3 / service**2
    return tasks(joint) + slope * (arrival - joint) + curvature * (arrival - joint) ** 2 / 2


def loop_evaluation(network: StagedNetwork, rows, thresholds):
    """Cost [task], accuracy, and arrival rates, by walking every sample along every link."""
    table, samples = network.table, len(network.table)
    arriving = [[np.zeros(samples) for _ in s] for s in network.service_per_s]
    cost, right = 0.0, 0.0

    def send(node: int, leaving, h: int) -> float:
        tier, total = network.tiers[h], 0.0
        for k in range(tier.receivers.shape[1]):
            if tier.exists[node, k]:
                part = leaving * rows[h][node, k]
                arriving[h][tier.receivers[node, k]] += part
                flow, rate = float(part.sum()), float(tier.link_rate_per_s[node, k])
                total += flow * float(tier.transfer_s[node, k])
                if np.isfinite(rate):
                    total += queue_by_definition(flow, rate, 0.0) - flow / rate
        return total

    for i, rate in enumerate(network.device_rate_per_s):
        cost += send(i, np.full(samples, rate / samples), 0)
    for h, service in enumerate(network.service_per_s):
        last = h == network.stages - 1
        for j in range(len(service)):
            here = arriving[h][j]
            phi = float(here.sum())
            cost += queue_by_definition(phi, float(service[j]), float(network.variability[h][j]))
            over = max(0.0, phi - network.overload.rho_max * service[j])
            cost += network.overload.kappa_s2 / 2 * over**2
            exits = np.ones(samples, bool) if last else table.confidence[:, h] >= thresholds[h][j]
            right += float(here[exits] @ table.correct[exits, h])
            if network.return_s is not None:
                cost += float(here[exits].sum()) * network.return_s[h][j]
            if not last:
                cost += send(j, np.where(exits, 0.0, here), h + 1)
    arrivals = [np.array([a.sum() for a in stage]) for stage in arriving]
    return cost, right / network.total_rate_per_s, arrivals
