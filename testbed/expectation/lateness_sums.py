"""Lateness summed by path and by node: how much longer all steps together took than the model says.

Over links with loss or jitter a single step is off by chance, and the sum over many steps is near zero.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.expectation.steps import Lateness

MOST_KEPT = 50  # paths, and nodes, that summary.json names; what the others add up to stands beside them


@dataclass(frozen=True, slots=True)
class LateSum:
    """The steps of one path (sender, receiver), or of one node, or of `places` of them together.

    `late_s` is the sum of their lateness, early steps counted as negative: divided by `steps` it is how much longer a
    step took on average. `worst_s` is the latest one.
    """

    where: tuple[str, ...]
    late_s: float
    worst_s: float
    steps: int
    places: int = 1

    def as_dict(self) -> dict[str, object]:
        """For summary.json."""
        place: dict[str, object] = {"places": self.places}
        if self.where:
            place = {"path": list(self.where)} if len(self.where) > 1 else {"node": self.where[0]}
        return {**place, "late_s": self.late_s, "worst_s": self.worst_s, "steps": self.steps}


@dataclass(frozen=True, slots=True)
class LatenessSums:
    """All steps of a run: by path the messages, by node the rest (offering, queue, service, sending).

    Each list starts with the place that is furthest from its model.
    """

    paths: Sequence[LateSum] = ()
    nodes: Sequence[LateSum] = ()

    @classmethod
    def of(cls, steps: Iterable[Lateness]) -> "LatenessSums":
        """Sum the lateness of every step, late or early."""
        by_place: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for step in steps:
            by_place[step.path].append(step.late_s)
        sums = [LateSum(where, sum(late_s), max(late_s), len(late_s)) for where, late_s in by_place.items()]
        sums.sort(key=lambda each: (-abs(each.late_s), each.where))
        return cls([each for each in sums if len(each.where) > 1], [each for each in sums if len(each.where) == 1])

    def as_dict(self) -> dict[str, object]:
        """The `lateness` of summary.json.

        `paths` and `nodes` hold at most MOST_KEPT places each; `other_paths` and `other_nodes` are the sums over the
        rest, None if there is none.
        """
        return {
            "paths": [each.as_dict() for each in self.paths[:MOST_KEPT]],
            "other_paths": _together(self.paths[MOST_KEPT:]),
            "nodes": [each.as_dict() for each in self.nodes[:MOST_KEPT]],
            "other_nodes": _together(self.nodes[MOST_KEPT:]),
        }


def _together(sums: Sequence[LateSum]) -> dict[str, object] | None:
    if not sums:
        return None
    late_s, worst_s = sum(each.late_s for each in sums), max(each.worst_s for each in sums)
    return LateSum((), late_s, worst_s, sum(each.steps for each in sums), len(sums)).as_dict()
