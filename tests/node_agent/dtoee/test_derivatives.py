"""Slopes and curvatures of every cost against central differences of the function one order below, to 1e-5."""

import numpy as np
import pytest

from node_agent.dtoee.queueing import RHO_EXTENSION, link_cost, overload_penalty, queue_cost

RHO_MAX = 0.9
STEP = 1e-6  # of the service rate: truncation errors fall with its square, rounding errors grow with its inverse
KINKS = (RHO_EXTENSION, RHO_MAX)  # where the next derivative jumps


def loads(seed: int, count: int = 2000) -> np.ndarray:
    """Loads up to 1.1, none within a step of a kink."""
    drawn = np.random.default_rng(seed).uniform(0.02, 1.1, count)
    return drawn[np.min([np.abs(drawn - kink) for kink in KINKS], axis=0) > 10 * STEP]


@pytest.mark.parametrize("kind", ["M/D/1", "M/M/1", "between", "even", "link", "penalty"])
def test_derivatives(kind):
    rho = loads(sum(map(ord, kind)))
    service = np.random.default_rng(7).uniform(0.5, 200.0, len(rho))

    def cost(phi):
        if kind == "link":
            return link_cost(phi, 0.01 + 1 / service, service)
        if kind == "penalty":
            return overload_penalty(phi, service, RHO_MAX, 50.0)
        if kind == "even":
            return queue_cost(phi, service, 0.2, 0.3)
        return queue_cost(phi, service, {"M/D/1": 0.0, "M/M/1": 1.0, "between": 0.4}[kind])

    phi, step = rho * service, STEP * service
    here, below, above = cost(phi), cost(phi - step), cost(phi + step)
    slope = (above.tasks - below.tasks) / (2 * step)
    curvature = (above.slope_s - below.slope_s) / (2 * step)
    scale = np.maximum(np.abs(here.slope_s), 1e-9)
    assert np.max(np.abs(slope - here.slope_s) / scale) < 1e-5
    bent = np.abs(here.curvature_s2) > 0
    assert bent.any()
    relative = np.abs(curvature - here.curvature_s2)[bent] / here.curvature_s2[bent]
    assert np.max(relative) < 1e-5
    assert np.allclose(curvature[~bent], 0, atol=1e-9)
