"""Lateness summed by path and by node: how much longer all steps together took than in the model.

Over links with loss or jitter a single step deviates by chance, but the sum over many steps is near zero.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.expectation.steps import Lateness

MOST_KEPT = 50  # paths, and nodes, that summary.json names; the others are summed


@dataclass(frozen=True, slots=True)
class LateSum:
    """The summed lateness of one path (sender, receiver), of one node, or of `places` of them together.

    `late_s` sums the lateness of `steps` steps, early ones counted as negative; divided by `steps` it is the mean
    lateness of a step. `worst_s` is the lateness of the latest step.
    """

    where: tuple[str, ...]
    late_s: float
    worst_s: float
    steps: int
    places: int = 1

    def as_dict(self) -> dict[str, object]:
        """Return the entry of summary.json."""
        place: dict[str, object] = {"places": self.places}
        if self.where:
            place = {"path": list(self.where)} if len(self.where) > 1 else {"node": self.where[0]}
        return {**place, "late_s": self.late_s, "worst_s": self.worst_s, "steps": self.steps}


@dataclass(frozen=True, slots=True)
class LatenessSums:
    """The lateness of all steps of a run: messages by path, the rest (offering, queue, service, sending) by node.

    Each list starts with the place that deviates most.
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
        """Return the `lateness` of summary.json.

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
