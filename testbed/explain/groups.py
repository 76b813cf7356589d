"""Mean parts of delays by group: by exit, device, slot, stage and server."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from testbed.breakdown.parts import PART_NAMES, PartSums
from testbed.explain.explained_run import ExplainedRun

Key = TypeVar("Key", bound=Hashable)
AT_SERVER = ("transfer", "link_wait", "queueing", "service")


@dataclass(frozen=True, slots=True)
class Group:
    """The mean parts of the delays of a group of counted tasks.

    Attributes:
        name: of the group.
        tasks: number of its counted tasks.
        mean_s: mean delay [s]; for a stage or a server, from the sending to the end of service.
        parts_s: mean of each part [s], by name.
    """

    name: str
    tasks: int
    mean_s: float
    parts_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups: by `exits` (stage), `devices`, `slots` (start in seconds), `stages` and `servers`."""

    exits: tuple[Group, ...]
    devices: tuple[Group, ...]
    slots: tuple[Group, ...]
    stages: tuple[Group, ...]
    servers: tuple[Group, ...]


def groups_of(run: ExplainedRun) -> Groups:
    """Return the mean parts of all groups of a run."""
    slot_s = run.scenario.slot_s
    exits: dict[int, PartSums] = defaultdict(PartSums)
    devices: dict[str, PartSums] = defaultdict(PartSums)
    slots: dict[int, PartSums] = defaultdict(PartSums)
    stages: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    servers: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for task, split in run.counted:
        parts = split.parts
        exits[task.exit_stage or 0].add(parts)
        devices[task.device].add(parts)
        slots[int(task.created_s / slot_s)].add(parts)
        for stage, hop in enumerate(split.hops, start=1):
            there = hop.transfer_s, hop.link_wait_s, hop.queueing_s, hop.service_s
            stages[stage].append(there)
            servers[hop.node].append(there)
    order = {server.name: place for place, server in enumerate(run.scenario.servers)}
    return Groups(
        exits=_whole(exits, lambda stage: f"stage {stage}", sorted(exits)),
        devices=_whole(devices, str, sorted(devices, key=lambda name: -_mean_s(devices[name]))),
        slots=_whole(slots, lambda slot: f"{slot * slot_s:g}", sorted(slots)),
        stages=_at_servers(stages, lambda stage: f"stage {stage}", sorted(stages)),
        servers=_at_servers(servers, str, sorted(servers, key=order.__getitem__)),
    )


def _mean_s(sums: PartSums) -> float:
    return sum(sums.sums_s) / sums.tasks


def _whole(sums: Mapping[Key, PartSums], name: Callable[[Key], str], order: Iterable[Key]) -> tuple[Group, ...]:
    return tuple(Group(name(key), sums[key].tasks, _mean_s(sums[key]), dict(sums[key].means())) for key in order)


def _at_servers(
    found: Mapping[Key, list[tuple[float, ...]]], name: Callable[[Key], str], order: Iterable[Key]
) -> tuple[Group, ...]:
    groups = []
    for key in order:
        means_s = [sum(each) / len(found[key]) for each in zip(*found[key], strict=True)]
        groups.append(Group(name(key), len(found[key]), sum(means_s), dict(zip(AT_SERVER, means_s, strict=True))))
    return tuple(groups)


assert set(AT_SERVER) <= set(PART_NAMES)
