"""Differences between live and simulated decisions, and the gap to the optimum that each run certifies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node_agent.records import DecisionRecord
from testbed.agree.recorded_pair import Recorded
from testbed.agree.resampling import ComparedFigure, Floats, Single, Values, compare_values, mean_of, taken
from testbed.expectation.verdict import YOUNG_SLOTS

BySlot = Mapping[int, DecisionRecord]
Distance = Callable[[DecisionRecord, DecisionRecord], float | None]


@dataclass(frozen=True, slots=True)
class Apart:
    """The difference of decisions (0..1), and for comparison, by how much they change within a run.

    A difference of probabilities is the mean over the receivers.
    """

    apart: Single  # mean over slots of the absolute difference between live and simulated
    live_moves: float | None  # mean absolute change from one slot to the next in the live runs
    simulated_moves: float | None  # the same in the simulated runs


@dataclass(frozen=True, slots=True)
class NodeDecisions:
    """The differences of a node, or of all nodes together."""

    node: str  # its name, or `all`
    slots: int  # number of slots in which it decided in both runs, over all repeats
    probabilities: Apart | None  # offloading probabilities (0..1); None if it has none
    thresholds: Apart | None  # thresholds (0..1); None if it has none


@dataclass(frozen=True, slots=True)
class Decisions:
    """The differences of all nodes together, and of each node."""

    every: NodeDecisions  # all nodes together; each slot of each node counts once
    nodes: tuple[NodeDecisions, ...]  # each node


def compare_decisions(pairs: Sequence[tuple[Recorded, Recorded]]) -> Decisions:
    """Compare the decisions of live and simulated runs; `pairs` has one (live, simulated) per repeat."""
    read = [(_by_node(live.decisions), _by_node(simulated.decisions)) for live, simulated in pairs]
    names = sorted({node for pair in read for node in pair[0].keys() & pair[1].keys()})
    return Decisions(_decisions("all", names, read), tuple(_decisions(name, [name], read) for name in names))


def gap_figures(pairs: Sequence[tuple[Recorded, Recorded]]) -> dict[str, ComparedFigure]:
    """The gap that devices certify: the share (0..1) of marginal cost that an ideal plan could save, in two figures.

    `gap_first_slots` is the mean over the first YOUNG_SLOTS slots, in which estimates are young. These are too few
    blocks to resample; its blocks are devices instead. `gap` is the mean over all slots. Both are 0 if the policy
    certifies nothing.
    """
    numbers = {
        device: number
        for number, device in enumerate(sorted({one.node for pair in pairs for run in pair for one in _gaps(run)}))
    }
    first = [tuple(_gap_values(run, numbers, YOUNG_SLOTS) for run in pair) for pair in pairs]
    every = [tuple(_gap_values(run, None, None) for run in pair) for pair in pairs]
    return {
        "gap_first_slots": compare_values("mean", "devices", [(live, simulated) for live, simulated in first]),
        "gap": compare_values("mean", "slots", [(live, simulated) for live, simulated in every]),
    }


def _gaps(run: Recorded) -> Iterator[DecisionRecord]:
    return (record for record in run.decisions if record.gap is not None)


def _gap_values(run: Recorded, numbers: Mapping[str, int] | None, before_slot: int | None) -> Values:
    """The gaps of a run. A block is a device if `numbers` are given (device -> block), else a slot."""
    counted = [record for record in _gaps(run) if before_slot is None or record.slot < before_slot]
    return Values(
        np.array([record.gap for record in counted], dtype=np.float64),
        np.array([numbers[one.node] if numbers else one.slot for one in counted], dtype=np.int64),
    )


def _by_node(decisions: Sequence[DecisionRecord]) -> Mapping[str, BySlot]:
    """The decisions by node and slot; if a node restarted within a slot, its last decision counts."""
    found: dict[str, dict[int, DecisionRecord]] = {}
    for record in decisions:
        found.setdefault(record.node, {})[record.slot] = record
    return found


def _decisions(
    name: str, nodes: Sequence[str], pairs: Sequence[tuple[Mapping[str, BySlot], Mapping[str, BySlot]]]
) -> NodeDecisions:
    slots = sum(len(live[node].keys() & simulated[node].keys()) for live, simulated in pairs for node in nodes
                if node in live and node in simulated)  # fmt: skip
    return NodeDecisions(name, slots, _apart(nodes, pairs, _offload_off), _apart(nodes, pairs, _threshold_off))


def _apart(
    nodes: Sequence[str], pairs: Sequence[tuple[Mapping[str, BySlot], Mapping[str, BySlot]]], distance: Distance
) -> Apart | None:
    apart = mean_of("slots", [_between(nodes, live, simulated, distance) for live, simulated in pairs])
    if apart.estimate is None:
        return None
    moves = []
    for side in (0, 1):
        moved = [_moves(nodes, pair[side], distance) for pair in pairs]
        moves.append(taken("mean", Values(np.concatenate(moved), np.empty(0, dtype=np.int64))))
    return Apart(apart, *moves)


def _between(
    nodes: Sequence[str], live: Mapping[str, BySlot], simulated: Mapping[str, BySlot], distance: Distance
) -> Values:
    """The differences between live and simulated decisions of these nodes, with slots as blocks."""
    values, blocks = [], []
    for node in nodes:
        ours, theirs = live.get(node, {}), simulated.get(node, {})
        for slot in sorted(ours.keys() & theirs.keys()):
            off = distance(ours[slot], theirs[slot])
            if off is not None:
                values.append(off)
                blocks.append(slot)
    return Values(np.array(values, dtype=np.float64), np.array(blocks, dtype=np.int64))


def _moves(nodes: Sequence[str], run: Mapping[str, BySlot], distance: Distance) -> Floats:
    """The change of the nodes' decisions from each slot to the next, (n,)."""
    found = []
    for node in nodes:
        records = run.get(node, {})
        for slot, record in records.items():
            if slot + 1 in records:
                found.append(distance(record, records[slot + 1]))
    return np.array([off for off in found if off is not None], dtype=np.float64)


def _offload_off(one: DecisionRecord, other: DecisionRecord) -> float | None:
    receivers = one.offload.keys() | other.offload.keys()
    if not receivers:
        return None
    return sum(abs(one.offload.get(each, 0.0) - other.offload.get(each, 0.0)) for each in receivers) / len(receivers)


def _threshold_off(one: DecisionRecord, other: DecisionRecord) -> float | None:
    if one.threshold is None or other.threshold is None:
        return None
    return abs(one.threshold - other.threshold)
