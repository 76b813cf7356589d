"""The policies of the suite: the flagship, its family, and every rival, each with its own and with equal thresholds."""

from pathlib import Path
from typing import NamedTuple

from node_agent.policies import policy_defaults, policy_names
from tests.bench.hindsight import at_threshold, best_threshold

FLAGSHIP = "dto-ee"
FAMILY = (FLAGSHIP, "dto-ee-static", "dto-ee-2c", "fixed-threshold", "first-exit", "no-early-exit")
SHOWN = (FLAGSHIP, "dto-ee-static", "dto-ee-2c")  # of the family: the others fix its thresholds
BY_HINDSIGHT = "shortest-expected-delay"  # also gets the threshold that is best in hindsight
HINDSIGHT_SEEDS = (7001, 7002)  # no comparison takes these
THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Entrant(NamedTuple):
    """A policy in the suite.

    Attributes:
        name: in results.
        own: its text with the thresholds of its own choice; None if it has no place in that comparison.
        fixed: its text with all thresholds at 0.8; None if it has no place in that comparison.
    """

    name: str
    own: str | None
    fixed: str | None


def family() -> list[Entrant]:
    """The flagship and its two forerunners."""
    return [Entrant(name, name, f"{name}:adapt_thresholds=false") for name in SHOWN]


def rivals(topology: Path) -> list[Entrant]:
    """Every policy outside the family of dto-ee, and one of them with the threshold that is best in hindsight.

    Args:
        topology: for the threshold that is best there in hindsight.
    """
    found = []
    for name in policy_names():
        if name not in FAMILY:
            adapts = "adapt_thresholds" in policy_defaults()[name]
            found.append(Entrant(name, name, f"{name}:adapt_thresholds=false" if adapts else name))
    best = at_threshold(BY_HINDSIGHT, best_threshold(topology, BY_HINDSIGHT, HINDSIGHT_SEEDS, THRESHOLDS))
    found.append(Entrant(f"{BY_HINDSIGHT}, best threshold", best, None))
    return found
