"""Light measurements of a network at rest: the actual delay and rate of its links."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed.network.commands import bit_per_s, bucket_bytes, queue_places, segments_at_once
from testbed.network.paths import Path
from testbed.network.probe import SMALLEST_PACKET_BYTES, ProbeArrival, Prober
from testbed.scenario import LinkShape
from testbed.sizes import ETHERNET_BYTES, FRAME_BYTES, PACKET_BYTES, SEGMENT_BYTES

Progress = Callable[[str, int, int], None]  # name of the step, number done, total
ROUNDS = 5
# New interfaces may take seconds until they pass frames: the kernel starts their queues in portions of a hundred, a
# second apart (net/core/link_watch.c).
ATTEMPTS = 8
APART_S = 0.004  # between probes that share a link, at least
PACE_S = 0.00005  # between any two probes
PATIENCE_S = 0.5  # beyond the time of the links, before a probe counts as lost
JITTER_DEVIATIONS = 5
# Loss of all probes counts as chance if its probability exceeds 1 %, that is with a loss of two fifths or more.
CHANCE_OF_SILENCE = 0.01
# Decision 036: a train is repeated if its rate is off, and in a large network only a sample of the paths gets one
# (docs/decisions/036-trains-repeated-and-sampled.md).
# The length of a train on its link is the first of TRAINS_S at which all trains together have at most FRAMES_SOON
# frames. Arrival times are exact to a tenth of a millisecond, so that a shorter train than the last gives no rate.
# Packets are full ones, except on links so slow that the packets together would take longer than TRAIN_MOST_S.
TRAINS_S = (0.03, 0.015, 0.0075, 0.005)
TRAIN_MOST_S = 0.1
TRAIN_LONGEST_S = 2.0
TRAIN_PACKETS = (8, 60)
SMALLEST_TRAIN_BYTES = 100
TRAIN_FRAMES_PER_S = 12_000  # a rate that the relay sustains with ease
FRAMES_SOON = 6000
FRAMES_IN_ALL = 6000
REPEATED_FRAMES = 2400
OFF = 0.05  # a rate further from the stated one is measured again
FEWEST_FOR_A_RATE = 5
SHORTEST_SHARE = 0.8  # of the shortest train: the span of arrivals that is needed at least


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class MeasuredPath:
    """The findings of probes on the way from a node to a neighbour, in one direction; times in real seconds.

    `measured_delay_s` is the median of the small probes without their own transmission time, None if none arrived.
    `measured_rate_mbit_per_s` is the rate (of a TCP transfer, as in the topology) at which a train of full packets
    arrived. It is None if it could not be measured: above some 130 Mbit/s, behind a short queue, if too few packets
    arrived or left in time, and on paths of a large network outside the sample. Jitter widens both; `jitter_s` is the
    deviation of the whole path.
    """

    path: tuple[str, ...]
    delay_s: float
    measured_delay_s: float | None
    rate_mbit_per_s: float
    measured_rate_mbit_per_s: float | None
    probes_sent: int
    probes_lost: int
    lossy: bool
    jitter_s: float


@dataclass(frozen=True, slots=True)
class Departure:
    """`count` packets that leave together at `at_s` after the start."""

    at_s: float
    path: int
    number: int
    count: int
    packet_bytes: int


def timetable(
    paths: Sequence[Path], wanted: Sequence[tuple[int, int, int, int, float]], pace_s: float
) -> list[Departure]:
    """Times of departure, in order, at which no two wanted departures occupy a link at the same time.

    Args:
        wanted: for each departure the index of its path, the number of its first packet, how many packets, bytes of a
            packet, and the seconds for which they occupy the path's links.
        pace_s: time between any two packets, at least.
    """
    free_s: dict[tuple[int, str], float] = {}
    pace_at_s = 0.0
    departures = []
    for index, number, count, packet_bytes, held_s in wanted:
        steps = list(zip(paths[index].links, paths[index].ends, strict=False))
        at_s = max([pace_at_s, *(free_s.get(step, 0.0) for step in steps)])
        free_s.update(dict.fromkeys(steps, at_s + held_s))
        # Only the pace delays other paths; a path that waits for its link does not.
        pace_at_s += pace_s * count
        departures.append(Departure(at_s, index, number, count, packet_bytes))
    return sorted(departures, key=lambda departure: departure.at_s)


def travel(
    prober: Prober,
    paths: Sequence[Path],
    departures: Sequence[Departure],
    shapes: Mapping[int, LinkShape],
) -> Iterator[ProbeArrival]:
    """Send the probes of a timetable, and yield arrivals until all have come or the rest counts as lost."""
    due_s = longest_s(paths, departures, shapes)
    waiting = {(each.path, each.number + i) for each in departures for i in range(each.count)}
    silent = {each.path for each in departures}
    begin_s = time.monotonic()
    ahead = list(reversed(departures))
    end_s = departures[-1].at_s + due_s if departures else 0.0
    while waiting and (now_s := time.monotonic() - begin_s) < end_s + PATIENCE_S:
        if now_s > end_s + 0.1 * PATIENCE_S and all(
            paths[index].lossy(shapes) and (index not in silent or silence_is_chance(paths[index], shapes))
            for index in {index for index, _ in waiting}
        ):
            return  # the missing ones were lost, as the topology allows
        while ahead and ahead[-1].at_s <= now_s:
            each = ahead.pop()
            ends = paths[each.path].ends
            for i in range(each.count):
                prober.send(ends[0], ends[-1], path=each.path, number=each.number + i, packet_bytes=each.packet_bytes)
        rest_s = ahead[-1].at_s - now_s if ahead else 0.02
        for arrival in prober.arrivals(max(0.0, min(rest_s, 0.02))):
            # Late arrivals of an earlier timetable have other numbers.
            if (arrival.path, arrival.number) in waiting:
                waiting.remove((arrival.path, arrival.number))
                silent.discard(arrival.path)
                yield arrival


def longest_s(paths: Sequence[Path], departures: Sequence[Departure], shapes: Mapping[int, LinkShape]) -> float:
    """The most seconds that any of these departures may take over the links as they are."""
    times_s = [
        paths[each.path].delay_s(shapes)
        + JITTER_DEVIATIONS * paths[each.path].jitter_s(shapes)
        + paths[each.path].transmission_s(each.packet_bytes, shapes) * each.count
        for each in departures
    ]
    return max(times_s, default=0.0)


def silence_is_chance(path: Path, shapes: Mapping[int, LinkShape]) -> bool:
    """True if the topology's loss makes the loss of the probes of all rounds likely enough to be chance."""
    return path.loss(shapes) ** ROUNDS > CHANCE_OF_SILENCE


def measure(
    paths: Sequence[Path], shapes: Mapping[int, LinkShape], prober: Prober, progress: Progress = no_progress
) -> list[MeasuredPath]:
    """Send small probes over each path, then trains of full packets.

    Args:
        shapes: shapes of the links in real time, by the number of a link's direction (`paths.direction`).
        progress: called with a name of the step, the number of paths done and their total.

    Returns:
        A result for each path, in the same order.
    """
    times_s = _times_s(paths, shapes, prober, progress)
    rates = _rates(paths, shapes, prober, progress)
    return [
        MeasuredPath(
            path=path.ends,
            delay_s=path.delay_s(shapes),
            measured_delay_s=(
                statistics.median(times_s[index]) - path.transmission_s(SMALLEST_PACKET_BYTES, shapes)
                if times_s[index]
                else None
            ),
            rate_mbit_per_s=path.rate_mbit_per_s(shapes),
            measured_rate_mbit_per_s=rates.get(index),
            probes_sent=ROUNDS,
            probes_lost=ROUNDS - len(times_s[index]),
            lossy=path.lossy(shapes),
            jitter_s=path.jitter_s(shapes),
        )
        for index, path in enumerate(paths)
    ]


def _times_s(
    paths: Sequence[Path], shapes: Mapping[int, LinkShape], prober: Prober, progress: Progress
) -> list[list[float]]:
    """Seconds that ROUNDS small probes took over each path, from its first attempt without a missing probe."""
    times_s: list[list[float]] = [[] for _ in paths]
    missing = list(range(len(paths)))
    for attempt in range(ATTEMPTS):
        rounds = [
            (index, attempt * ROUNDS + number, 1, SMALLEST_PACKET_BYTES, _held_s(paths[index], shapes))
            for number in range(ROUNDS)
            for index in missing
        ]
        for index in missing:
            times_s[index] = []
        done = len(paths) - len(missing)
        for arrival in travel(prober, paths, timetable(paths, rounds, PACE_S), shapes):
            times_s[arrival.path].append(arrival.one_way_s)
            if len(times_s[arrival.path]) == ROUNDS:
                done += 1
                progress("delays measured", done, len(paths))
        missing = [index for index in missing if not _enough(times_s[index], paths[index], shapes)]
        if not missing:
            break
    return times_s


def _enough(found: Sequence[float], path: Path, shapes: Mapping[int, LinkShape]) -> bool:
    """True if no probe is missing, or the topology's loss explains the missing ones."""
    return len(found) == ROUNDS or (path.lossy(shapes) and (bool(found) or silence_is_chance(path, shapes)))


def _held_s(path: Path, shapes: Mapping[int, LinkShape]) -> float:
    """Seconds for which a small probe has the links of its path to itself."""
    return max(APART_S, 3 * path.jitter_s(shapes), 2 * path.transmission_s(SMALLEST_PACKET_BYTES, shapes))


@dataclass(frozen=True, slots=True)
class Train:
    """`count` packets for a path (its index) that leave together; its slowest link spaces them out by `gap_s`."""

    path: int
    count: int
    packet_bytes: int
    gap_s: float


def _rates(
    paths: Sequence[Path], shapes: Mapping[int, LinkShape], prober: Prober, progress: Progress
) -> dict[int, float]:
    """The measured rates, in Mbit/s, by the path's index.

    A train whose rate is off, or that was spoilt, is sent again, and the better one counts. A rate that is off and
    cannot be measured again within REPEATED_FRAMES is left out.
    """
    trains = chosen_trains(paths, shapes)
    first_number = ATTEMPTS * ROUNDS
    first = _run_trains(trains, paths, shapes, prober, first_number, progress)
    stated = {train.path: paths[train.path].rate_mbit_per_s(shapes) for train in trains}

    def error(train: Train, found: Mapping[int, float]) -> float:
        return abs(found[train.path] / stated[train.path] - 1) if train.path in found else float("inf")

    doubtful = [train for train in trains if error(train, first) > OFF and paths[train.path].jitter_s(shapes) == 0]
    # Trains that gave a rate come first, the worst of all at the front.
    doubtful.sort(key=lambda train: (train.path not in first, -error(train, first)))
    again, frames = [], 0
    for train in doubtful:
        frames += train.count
        if frames <= REPEATED_FRAMES:
            again.append(train)
    second = _run_trains(again, paths, shapes, prober, first_number + TRAIN_PACKETS[1])
    found = dict(first)
    for train in doubtful:
        found.pop(train.path, None)
        if train.path in second:
            better = first if error(train, first) < error(train, second) else second
            found[train.path] = better[train.path]
    return found


def chosen_trains(paths: Sequence[Path], shapes: Mapping[int, LinkShape]) -> list[Train]:
    """A train for each path that can have one; in a large network for a part of them, spread evenly."""
    trains: list[Train] = []
    total = 0
    for train_s in TRAINS_S:
        made = [_train(index, path, shapes, train_s) for index, path in enumerate(paths)]
        trains = [train for train in made if train is not None]
        total = sum(train.count for train in trains)
        if total <= FRAMES_SOON:
            break
    chosen, taken, offered = [], 0, 0
    for train in trains:
        offered += train.count
        if (taken + train.count) * total <= offered * min(total, FRAMES_IN_ALL):
            chosen.append(train)
            taken += train.count
    return chosen


def _train(index: int, path: Path, shapes: Mapping[int, LinkShape], train_s: float) -> Train | None:
    """A train of about this length; None if it would be too short to give a rate, or would take too long."""
    bit_s = min(bit_per_s(shapes[way]) for way in path.directions)
    fewest, most = TRAIN_PACKETS
    # All packets must fit into the queue and bucket of each link.
    room = min(
        bucket_bytes(shape) // FRAME_BYTES + queue_places(shape, segments_at_once(shape))
        for shape in (shapes[way] for way in path.directions)
    )
    count = min(most, room, max(fewest, math.ceil(train_s * bit_s / (FRAME_BYTES * 8)) + 1))
    packet_bytes = max(SMALLEST_TRAIN_BYTES, min(PACKET_BYTES, int(TRAIN_MOST_S * bit_s / 8 / max(1, count))))
    gap_s = (packet_bytes + ETHERNET_BYTES) * 8 / bit_s
    if not TRAINS_S[-1] <= (count - 1) * gap_s <= TRAIN_LONGEST_S:
        return None
    return Train(index, count, packet_bytes, gap_s)


def _run_trains(
    trains: Sequence[Train],
    paths: Sequence[Path],
    shapes: Mapping[int, LinkShape],
    prober: Prober,
    first_number: int,
    progress: Progress = no_progress,
) -> dict[int, float]:
    """Send these trains; return the measured rates, in Mbit/s, by the path's index."""
    came: dict[int, list[ProbeArrival]] = {train.path: [] for train in trains}
    packets, done = {train.path: train.count for train in trains}, 0
    wanted = [
        (
            train.path,
            first_number,
            train.count,
            train.packet_bytes,
            # Long enough for a train that its slowest link has spread; before that link it may be shorter.
            paths[train.path].transmission_s(train.packet_bytes, shapes) * (train.count + 2),
        )
        for train in trains
    ]
    for arrival in travel(prober, paths, timetable(paths, wanted, 1 / TRAIN_FRAMES_PER_S), shapes):
        came[arrival.path].append(arrival)
        if len(came[arrival.path]) == packets[arrival.path]:
            done += 1
            progress("rates measured", done, len(trains))
    found = {}
    for train in trains:
        # Over several links a missing packet may or may not have left a gap: no rate then.
        if len(came[train.path]) == train.count or len(paths[train.path].links) == 1:
            rate = arrival_rate_mbit_per_s(came[train.path], train)
            if rate is not None:
                found[train.path] = rate
    return found


def arrival_rate_mbit_per_s(came: Sequence[ProbeArrival], train: Train) -> float | None:
    """The rate of a train (that of a TCP transfer), in Mbit/s: a line through all arrivals, not only the two ends.

    Packets that were lost before their transmission leave no gap, so the order of arrival counts, not the number. None
    if too few arrived, or if one left so late that the link may have waited for it.
    """
    if len(came) < FEWEST_FOR_A_RATE or (len(came) - 1) * train.gap_s < SHORTEST_SHARE * TRAINS_S[-1]:
        return None
    in_order = sorted(came, key=lambda arrival: arrival.number)
    begin_ns, gap_ns = in_order[0].sent_ns, train.gap_s * 1e9
    if any(arrival.sent_ns - begin_ns > rank * gap_ns for rank, arrival in enumerate(in_order)):
        return None
    times_ns = sorted(arrival.received_ns for arrival in came)
    ns_per_packet = statistics.linear_regression(range(len(times_ns)), [each - times_ns[0] for each in times_ns]).slope
    frame_bytes = train.packet_bytes + ETHERNET_BYTES
    return frame_bytes * 8e3 / ns_per_packet * SEGMENT_BYTES / FRAME_BYTES if ns_per_packet > 0 else None
