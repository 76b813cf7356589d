"""Random flow models, small enough to be checked by hand, and random plans for them."""

from itertools import pairwise

import numpy as np

from node_agent.dtoee.staged import Rows, StagedNetwork, Tier
from testbed.optimum.flow_model import NO_PENALTY, FlowModel
from tests.node_agent.virtual import synthetic_table


def random_model(seed: int, *, load: float = 0.6, sizes=(4, 3, 3, 2), link_load: float = 0.1, density=0.8) -> FlowModel:
    """A model with devices and stages of these sizes, links that queue, and `load` at each stage without exits."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(1, 3, sizes[0])
    flow = rates.sum()
    tiers = []
    for count, onward in pairwise(sizes):
        exists = rng.uniform(size=(count, onward)) < density
        exists[:, 0] |= ~exists.any(axis=1)
        receivers = np.argsort(rng.uniform(size=(count, onward)), axis=1)  # every node has its own order
        queueing = rng.uniform(1, 3, (count, onward)) * flow / count / link_load
        tiers.append(Tier(receivers, exists, rng.uniform(0.002, 0.06, (count, onward)), queueing))
    service = []
    for size in sizes[1:]:
        speed = rng.uniform(1, 3, size)
        service.append(speed * flow / (load * speed.sum()))
    network = StagedNetwork(
        device_rate_per_s=rates,
        tiers=tuple(tiers),
        service_per_s=tuple(service),
        variability=tuple(np.zeros(size) for size in sizes[1:]),
        overload=NO_PENALTY,
        table=synthetic_table(len(sizes) - 1),
    )
    names = [tuple(f"n{h}-{i}" for i in range(size)) for h, size in enumerate(sizes)]
    return FlowModel(network, tuple(names), tuple(rng.uniform(0.0, 0.03, (size, sizes[0])) for size in sizes[1:]))


def random_rows(model: FlowModel, rng: np.random.Generator, sharpness: float = 1.0) -> Rows:
    """Random rows; the greater `sharpness`, the more a row prefers one receiver."""
    rows = []
    for tier in model.network.tiers:
        weights = np.where(tier.exists, rng.gamma(1 / sharpness, size=tier.exists.shape) + 1e-9, 0.0)
        rows.append(weights / weights.sum(axis=1, keepdims=True))
    return tuple(rows)
