"""The explanation of a run: what limits it, what that costs, and when it happened."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from node_agent.errors import InputError
from testbed.breakdown.fairness import fairness_fields
from testbed.breakdown.parts import PartSums
from testbed.explain.explained_run import ExplainedRun, read_explained
from testbed.explain.groups import Groups, groups_of
from testbed.explain.places import WaitingPlace, places_of
from testbed.scenario import Scenario

LEAST_SHARE = 0.10  # of the mean delay that tasks must wait at a place for it to be a bottleneck
MOST_OF_IT = 0.8  # of the waiting, that the span in which it happened holds
SHORT_SHARE = 0.6  # of the counted time; a longer span is the whole run
LEAD_SLOTS = 2.0  # an event counts as in the span if it came at most so many slots before

Working = Literal["service", "transfer", "return"]


@dataclass(frozen=True, slots=True)
class WaitingSpan:
    """The shortest span of slots that holds most of a place's waiting.

    Attributes:
        from_s: its start [s].
        until_s: its end [s].
        share: the share of the waiting that it holds, 0 to 1.
        events: what the scenario changed in it or shortly before, in words.
    """

    from_s: float
    until_s: float
    share: float
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a run.

    Attributes:
        run_directory: of the run.
        topology: its name.
        policy: the policy's label.
        simulated: true for a simulation.
        tasks: number of counted tasks.
        unsplit: counted tasks whose delay could not be split, in runs of earlier versions.
        lost: number of lost tasks, which are in no figure here.
        mean_s: mean delay of the counted tasks [s].
        parts_s: mean of each part [s], by name.
        bottleneck: the place where tasks waited longest, if that is at least LEAST_SHARE of the mean delay; else None.
        span: when most of that waiting happened; None without a bottleneck, or if it went on all the time.
        longest: without a bottleneck, the longest part among service, transfer and way back; else None.
        places: all places, the one with the longest waiting first.
        groups: mean parts by group.
        fairness: as in summary.json.
    """

    run_directory: Path
    topology: str
    policy: str
    simulated: bool
    tasks: int
    unsplit: int
    lost: int
    mean_s: float
    parts_s: Mapping[str, float]
    bottleneck: WaitingPlace | None
    span: WaitingSpan | None
    longest: Working | None
    places: Sequence[WaitingPlace]
    groups: Groups
    fairness: Mapping[str, object]


def explain(path: Path) -> Explanation:
    """Explain where the time of a recorded run went.

    Args:
        path: a run directory of a live or simulated run.

    Raises:
        InputError: this is no run directory, an input has changed since the run, or no task was counted.
    """
    return explanation_of(read_explained(path))


def explanation_of(run: ExplainedRun) -> Explanation:
    """Explain a run. Raises InputError if no counted task could be split."""
    sums, delays = PartSums(), []
    for task, split in run.counted:
        sums.add(split.parts)
        delays.append((task.device, task.delay_s or 0.0))
    completed = sum(task.delay_s is not None and task.created_s >= run.scenario.warm_up_s for task in run.tasks)
    if not sums.tasks:
        hint = "it was recorded by an earlier version" if completed else "no task completed after the warm-up"
        raise InputError(f"{run.path}: no delay to explain", hint=hint)
    places = places_of(run)
    first = places[0] if places and places[0].share >= LEAST_SHARE else None
    parts_s = dict(sums.means())
    working: tuple[Working, ...] = ("service", "transfer", "return")
    longest: Working = max(working, key=lambda part: parts_s[part])
    return Explanation(
        run_directory=run.path,
        topology=run.scenario.name,
        policy=run.scenario.policy.label,
        simulated=run.simulated,
        tasks=sums.tasks,
        unsplit=completed - sums.tasks,
        lost=sum(task.status == "lost" for task in run.tasks),
        mean_s=sum(parts_s.values()),
        parts_s=parts_s,
        bottleneck=first,
        span=None if first is None else _span_of(first, run.scenario),
        longest=longest if first is None else None,
        places=places,
        groups=groups_of(run),
        fairness=fairness_fields(delays),
    )


def _span_of(place: WaitingPlace, scenario: Scenario) -> WaitingSpan | None:
    """Return the shortest span of slots with MOST_OF_IT of a place's waiting; None if it is nearly the whole run."""
    if not place.by_slot_s:
        return None
    first, last = min(place.by_slot_s), max(place.by_slot_s)
    waited_s = [place.by_slot_s.get(slot, 0.0) for slot in range(first, last + 1)]
    wanted_s = MOST_OF_IT * sum(waited_s)
    best: tuple[int, int, float] | None = None
    begin, held_s = 0, 0.0
    for end, each_s in enumerate(waited_s):
        held_s += each_s
        while held_s - waited_s[begin] >= wanted_s:
            held_s -= waited_s[begin]
            begin += 1
        if held_s >= wanted_s and (best is None or end - begin < best[1] - best[0]):
            best = begin, end, held_s
    assert best is not None
    slot_s = scenario.slot_s
    from_s, until_s = (first + best[0]) * slot_s, (first + best[1] + 1) * slot_s
    if until_s - from_s > SHORT_SHARE * (scenario.duration_s - scenario.warm_up_s):
        return None
    lead_s = LEAD_SLOTS * slot_s
    events = tuple(
        f"{event.in_words()} at {event.at_s:g} s"
        for event in scenario.incidents
        if from_s - lead_s <= event.at_s <= until_s
    )
    return WaitingSpan(from_s, min(until_s, max(scenario.duration_s, from_s)), best[2] / sum(waited_s), events)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as an object for JSON; times in seconds."""
    content = asdict(explanation)
    content["run_directory"] = str(explanation.run_directory)
    return content
