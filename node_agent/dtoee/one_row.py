"""DTO-O for one offloader, on plain numbers: every node runs it once a round.

`offloader` explains the update. The tests play it for all rows of a network at once
(`tests/node_agent/dtoee/sweeps.py`) and compare the two.

Decision 017: nodes compute on plain numbers, not arrays (docs/decisions/017-plain-numbers.md).
"""

import math
from collections.abc import Sequence

from node_agent.dtoee.offloader import LEAST_MEAN_S, MOST_ON_FLOORS, TINY, Momentum, Scale, StepRule

Living = Sequence[bool]


def at_rest(receivers: int, rule: StepRule) -> Momentum[list[float], float]:
    """Zero momentum for a row over `receivers` receivers, as at the start of a slot, when all prices have jumped."""
    still = [0.0] * receivers
    return Momentum(still, still, rule.first_step)


def shift(
    row: Sequence[float], momentum: Momentum[list[float], float], delta_s: Sequence[float], alive: Living,
    rule: StepRule, *, stale: bool = False, scale: Scale[list[float], float] | None = None,
) -> tuple[list[float], Momentum[list[float], float]]:  # fmt: skip
    """The row after one DTO-O step, and its momentum.

    Args:
        row: the row before, K numbers.
        momentum: its state after the step before.
        delta_s: marginal costs D'_j + Omega_j [s], K numbers; entries of dead receivers are ignored.
        alive: True for living receivers, K of them, at least one True; dead ones get probability 0.
        rule: constants of the update.
        stale: True if a price is older than one round.
        scale: only the update "gallager" needs it.

    Returns:
        The row, K numbers that sum to one, with the least share of `restrict` at every living receiver; its momentum.

    Raises:
        ValueError: the update is "gallager" and `scale` is None.
    """
    row = restrict(row, alive, rule.floor)
    mean = max(LEAST_MEAN_S, sum([p * delta for p, delta in zip(row, delta_s, strict=True) if p > 0]))
    gradient = [(delta - mean) / mean if living else 0.0 for delta, living in zip(delta_s, alive, strict=True)]
    agreement = sum([p * now * before for p, now, before in zip(row, gradient, momentum.gradient, strict=True)])
    step, beta = momentum.step, rule.momentum
    if agreement < 0:
        step = max(rule.least_step, step * rule.shrink)
    elif agreement > 0 or any(momentum.gradient):
        step = min(rule.largest_step, step * 1.1)
    taken = step
    if stale:
        taken, beta = min(step, rule.stale_step), 0.0
    if rule.update == "gallager":
        if scale is None:
            raise ValueError("the update 'gallager' needs a scale")
        moved, velocity = _to_the_cheapest(row, delta_s, alive, taken, scale), [0.0] * len(row)
    else:
        kept = min(rule.kept, beta) if agreement < 0 else beta
        velocity = [kept * v - taken * g for v, g in zip(momentum.velocity, gradient, strict=True)]
        ahead = velocity
        if rule.look_ahead:
            ahead = [beta * v - taken * g for v, g in zip(velocity, gradient, strict=True)]
        moved = [
            p * math.exp(-1.0 if change < -1.0 else 1.0 if change > 1.0 else change)
            for p, change in zip(row, ahead, strict=True)
        ]
    return restrict(moved, alive, rule.floor), Momentum(velocity, gradient, step)


def restrict(row: Sequence[float], alive: Living, floor: float) -> list[float]:
    """`offloader.restrict` of one row, in plain numbers: K numbers that sum to one.

    >>> restrict([0.5, 0.5, 0.0], [True, False, True], 0.02)
    [0.9803921568627451, 0.0, 0.0196078431372549]
    """
    living = row if all(alive) else [p if lives else 0.0 for p, lives in zip(row, alive, strict=True)]
    least = min(floor, MOST_ON_FLOORS / max(1, sum(alive))) * max(TINY, sum(living))
    lifted = [(p if p > least else least) if lives else 0.0 for p, lives in zip(living, alive, strict=True)]
    total = sum(lifted)
    return [p / total for p in lifted]


def _to_the_cheapest(
    row: Sequence[float], delta_s: Sequence[float], alive: Living, step: float, scale: Scale[list[float], float]
) -> list[float]:
    """The row after Gallager's move, before the floor: mass goes from dearer receivers to the cheapest one."""
    cheapest = min((j for j, lives in enumerate(alive) if lives), key=delta_s.__getitem__)
    leaving, bent = scale.leaving_per_s, scale.curvature_s2
    moved = [
        min(p, step * (delta - delta_s[cheapest]) / max(TINY, leaving * (curvature + bent[cheapest]))) if lives else 0.0
        for p, delta, curvature, lives in zip(row, delta_s, bent, alive, strict=True)
    ]
    after = [p - less for p, less in zip(row, moved, strict=True)]
    after[cheapest] += sum(moved)
    return after
