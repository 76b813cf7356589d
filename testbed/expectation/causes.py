"""The causes of delay by the machine: the late steps of a run, summed by process or link.

A late step points to the process that should have taken it. For a message that was received late, the cause may be the
relay, the sender (a thread of its process sends messages), the receiver, or the link. The rules, in this order:

1. A process that is known to have stood still meanwhile is the cause.
2. A message between two nodes at one place crosses no link: its receiver is the cause.
3. If messages to three or more receivers were late at one instant, the relay is the cause.
4. If messages from two or more senders to one receiver were late at one instant, the receiver is the cause.
5. Otherwise a link is: on a way over several links, the one that explains most lateness and carried little on time.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, assert_never

from testbed.expectation.steps import Lateness
from testbed.expectation.world import Path

LATE_S = 0.002  # real time; several times the noise of a quiet machine
TOGETHER_S = 0.020  # real time in which a process that runs again takes the messages that have come meanwhile
RELAY = "the relay"  # the relay's name among processes; no node can have it
MESSAGES = ("transfer", "return")  # the steps that are messages
NEARLY_ALL = 0.98  # share of a cause's lateness that defines its time span
SHARED = 0.9  # if one link carried this share of the lateness that ended together, the link is the cause
FEWEST_CHAINED = 3  # messages close behind others, needed to estimate the rate of a link
Kind = Literal["relay", "agent", "link"]


@dataclass(frozen=True, slots=True)
class Stall:
    """A span [emulated s] in which a process did not run though it had to; `process` is a node or RELAY."""

    process: str
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that held up `tasks` tasks by `late_s` in all, nearly all of it from `from_s` to `until_s` [emulated s].

    `what` is a node for an agent, (sender, receiver) for a link, and empty for the relay.
    """

    kind: Kind
    what: tuple[str, ...]
    late_s: float
    tasks: int
    from_s: float
    until_s: float
    carried_mbit_per_s: float | None = None  # of a link: the rate at which it carried the late messages

    @property
    def name(self) -> str:
        """The cause in words."""
        match self.kind:
            case "relay":
                return "the relay"
            case "agent":
                return f"the agent of {self.what[0]}"
            case "link":
                return f"the link from {self.what[0]} to {self.what[1]}"
            case _:
                assert_never(self.kind)


def causes_of(
    steps: Sequence[Lateness],
    stalls: Sequence[Stall],
    *,
    time_scale: float,
    relayed: bool,
    legs: Callable[[Path], Sequence[Path]] = lambda path: (path,),
) -> list[Cause]:
    """Return the causes of lateness, the costliest first.

    Args:
        steps: all steps, late or not.
        stalls: spans in which processes are known to have stood still.
        time_scale: real seconds per emulated second.
        relayed: True if a relay delays the frames; it might have stopped.
        legs: returns the links (from, to) on the way from a sender to a receiver.
    """
    found = [step for step in steps if step.late_s > LATE_S / time_scale]
    into: dict[str, set[Path]] = defaultdict(set)  # by receiver, the last links of its messages' ways
    for step in steps:
        if step.step in MESSAGES and (way := legs(_path(step))):
            into[step.path[-1]].add(way[-1])
    named = _Naming(found, stalls, time_scale=time_scale, relayed=relayed, legs=legs, into=into)
    charged: dict[tuple[Kind, tuple[str, ...]], list[Lateness]] = defaultdict(list)
    of_links: list[Lateness] = []
    for step in found:
        kind, what = named.cause(step)
        if kind == "link":
            of_links.append(step)
        else:
            charged[kind, what].append(step)
    for link, its in _by_link(of_links, steps, legs).items():
        charged["link", link] = its
    causes = []
    for (kind, what), its in charged.items():
        grave = _gravest(its)
        causes.append(Cause(
            kind, what,
            late_s=sum(step.late_s for step in its),
            tasks=len({step.task for step in its}),
            from_s=min(step.at_s - step.late_s for step in grave),
            until_s=max(step.at_s for step in grave),
            carried_mbit_per_s=_carried_mbit_per_s(its) if kind == "link" else None,
        ))  # fmt: skip
    return sorted(causes, key=lambda cause: -cause.late_s)


def _gravest(steps: Sequence[Lateness]) -> list[Lateness]:
    """Return the steps that make up nearly all of the lateness; they define its time span."""
    ordered = sorted(steps, key=lambda step: -step.late_s)
    left_s = NEARLY_ALL * sum(step.late_s for step in ordered)
    grave = []
    for step in ordered:
        grave.append(step)
        left_s -= step.late_s
        if left_s <= 0:
            break
    return grave


def _by_link(
    late: Sequence[Lateness], steps: Sequence[Lateness], legs: Callable[[Path], Sequence[Path]]
) -> dict[Path, list[Lateness]]:
    """Charge late messages to links: first to the link that explains most lateness, then to the next."""
    left = list(late)
    charged: dict[Path, list[Lateness]] = {}
    if not left:
        return charged
    from_s, until_s = min(step.at_s - step.late_s for step in left), max(step.at_s for step in left)
    passed: dict[Path, int] = defaultdict(int)  # all messages over each link during that time
    for step in steps:
        if step.step in MESSAGES and from_s <= step.at_s <= until_s:
            for leg in legs(_path(step)):
                passed[leg] += 1
    while left:
        over: dict[Path, list[Lateness]] = defaultdict(list)
        for step in left:
            for leg in legs(_path(step)):
                over[leg].append(step)
        link = max(over, key=lambda leg: sum(step.late_s for step in over[leg]) * len(over[leg]) / max(1, passed[leg]))
        charged[link] = over[link]
        taken = set(map(id, over[link]))
        left = [step for step in left if id(step) not in taken]
    return charged


def _path(step: Lateness) -> Path:
    return step.path[0], step.path[-1]


def _carried_mbit_per_s(steps: Sequence[Lateness]) -> float | None:
    """Return the rate of late messages that followed one another closely: bytes of all but the first, over the time.

    None if there are too few of them.
    """
    ordered = sorted((step for step in steps if step.size_bytes), key=lambda step: step.at_s)
    chained = [
        (step.size_bytes, step.at_s - before.at_s)
        for before, step in pairwise(ordered)
        if step.sent_s < before.at_s < step.at_s
    ]
    time_s = sum(gap_s for _, gap_s in chained)
    return sum(size for size, _ in chained) * 8e-6 / time_s if len(chained) >= FEWEST_CHAINED and time_s > 0 else None


class _Naming:
    """Finds the cause of each late step."""

    def __init__(
        self,
        late: Sequence[Lateness],
        stalls: Sequence[Stall],
        *,
        time_scale: float,
        relayed: bool,
        legs: Callable[[Path], Sequence[Path]],
        into: Mapping[str, AbstractSet[Path]],
    ) -> None:
        self._legs = legs
        self._into = into
        self._together_s = TOGETHER_S / time_scale
        self._relayed = relayed
        self._stalls: dict[str, list[Stall]] = defaultdict(list)
        for stall in stalls:
            self._stalls[stall.process].append(stall)
        self._crowds = self._find_crowds([step for step in late if step.step in MESSAGES and legs(_path(step))])

    def cause(self, step: Lateness) -> tuple[Kind, tuple[str, ...]]:
        if step.step not in MESSAGES:
            return "agent", step.path
        if self._relayed and self._stalled(RELAY, step):
            return "relay", ()
        for node in reversed(step.path):  # the receiver first
            if self._stalled(node, step):
                return "agent", (node,)
        if not self._legs(_path(step)):
            return "agent", (step.path[-1],)
        crowd = self._crowds.get(id(step))
        if crowd is not None:
            return crowd
        return "link", step.path

    def _stalled(self, process: str, step: Lateness) -> bool:
        began_s, ended_s = step.at_s - step.late_s, step.at_s
        return any(
            stall.from_s - self._together_s < ended_s and began_s < stall.until_s + self._together_s
            and ended_s > stall.until_s - self._together_s
            for stall in self._stalls.get(process, ())
        )  # fmt: skip

    def _find_crowds(self, late: Sequence[Lateness]) -> dict[int, tuple[Kind, tuple[str, ...]]]:
        """Name the cause of late messages that ended together, by id of the step: the relay, or their receiver.

        If nearly all of them came over one link, they are left to that link.
        """
        found: dict[int, tuple[Kind, tuple[str, ...]]] = {}
        for crowd in _crowds(sorted(late, key=lambda step: step.at_s), self._together_s):
            receivers = {step.path[-1] for step in crowd}
            if self._relayed and len(receivers) >= 3 and not self._shares_a_link(crowd):
                found |= {id(step): ("relay", ()) for step in crowd}
                continue
            for receiver in receivers:
                mine = [step for step in crowd if step.path[-1] == receiver]
                one_way = len(self._into[receiver]) > 1 and self._shares_a_link(mine)
                if len({step.path[0] for step in mine}) >= 2 and not one_way:
                    found |= {id(step): ("agent", (receiver,)) for step in mine}
        return found

    def _shares_a_link(self, crowd: Sequence[Lateness]) -> bool:
        over: dict[frozenset[str], float] = defaultdict(float)
        for step in crowd:
            for leg in self._legs(_path(step)):
                over[frozenset(leg)] += step.late_s
        return max(over.values()) >= SHARED * sum(step.late_s for step in crowd)


def _crowds(ordered: Sequence[Lateness], together_s: float) -> list[list[Lateness]]:
    """Group steps such that each ended within `together_s` [s] of the one before."""
    crowds: list[list[Lateness]] = [[ordered[0]]] if ordered else []
    for before, step in pairwise(ordered):
        if step.at_s - before.at_s <= together_s:
            crowds[-1].append(step)
        else:
            crowds.append([step])
    return crowds
