"""What a message takes over links that lose or jitter frames, and how many get through: TCP, played in virtual time.

The figures are means over a simulation of one connection (`testbed.simulation`), seeded and kept, so that equal links
have equal figures.

Where nothing is lost, messages wait for the slowest of their segments only, which needs no simulation.

Decision: several links of a route are taken for one that loses, delays and jitters as much as all of them, at the rate
of the slowest; rejected: a simulation of each route as it is, which differs from route to route in what does not
matter. Loss, jitter and rate are rounded to two digits for the same reason, and between the delays of a grid the
figures are interpolated: they grow with the delay in straight lines.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np

from testbed.network.routes import Ways
from testbed.scenario import Device, Direction, Link, LinkShape, ModelChoice, PolicyChoice, Scenario, Server
from testbed.simulation.links import Links, bucket_s
from testbed.sizes import SEGMENT_BYTES
from testbed.virtual_time import Calendar
from testbed.wording import milliseconds, percent

MESSAGES = 1000
SATURATED_MESSAGES, SATURATED_BYTES = 800, 16384  # of which the first half does not count: a first window is luck
GAP_S = 0.3  # from one message's arrival to the next at low load: longer than what repairs a lost acknowledgement
DELAY_STEP = 1.25  # from one delay of the grid to the next
LEAST_DELAY_S = 1e-4
ANSWER_BYTES = 64  # what a receiver sends back for each message
SEED = 1
MOST_TIME_S, MOST_ACTIONS = 1e6, 1 << 40
ROUNDING_S = 1e-9
LEAST_TIME_OUT_S = 0.2  # Linux's, in real time
MOST_FORMULA_LOSS, LOSS_STEP, LOSSY_MBIT_PER_S = 0.20, 0.05, 50.0
# What the simulation was held against live measurements for (`tests.bench.transport`), in real time.
MOST_LOSS, MOST_JITTER_S = 0.05, 0.010
LEAST_VALIDATED_S, MOST_VALIDATED_S = 0.002, 0.060
LEAST_MBIT_PER_S = 20.0
MOST_RESULT_LOSS = 1 - (1 - 0.03) ** 3
MOST_BYTES = 66 * 1024  # 64 KiB, and what frames it


@dataclass(frozen=True, slots=True)
class Transfers:
    """Messages of one size over one route: `late_s` [s] beyond a link without loss and jitter, the least first.

    `rate_per_s` messages get through where one always waits.
    """

    late_s: tuple[float, ...]
    rate_per_s: float

    @property
    def mean_late_s(self) -> float:
        """The mean of `late_s`."""
        return sum(self.late_s) / len(self.late_s)


def is_troubled(shapes: Sequence[LinkShape]) -> bool:
    """Whether one of these links loses or jitters frames."""
    return any(shape.loss > 0 or shape.jitter_s > 0 for shape in shapes)


def joined(shapes: Sequence[LinkShape]) -> LinkShape:
    """One link that does what these do in a row."""
    return LinkShape(
        rate_mbit_per_s=min(shape.rate_mbit_per_s for shape in shapes),
        delay_s=sum(shape.delay_s for shape in shapes),
        jitter_s=math.hypot(*(shape.jitter_s for shape in shapes)),
        loss=1 - math.prod(1 - shape.loss for shape in shapes),
    )


def transfers(shapes: Sequence[LinkShape], byte_count: int, time_scale: float) -> Transfers:
    """Messages of this size over these links in a row, of which one loses or jitters frames."""
    one = joined(shapes)
    if not one.loss:
        return _jittered(one, byte_count, time_scale)
    rounded = replace(
        one, rate_mbit_per_s=_rounded(one.rate_mbit_per_s), jitter_s=_rounded(one.jitter_s), loss=_rounded(one.loss)
    )
    delay_s = max(one.delay_s, LEAST_DELAY_S)
    step = math.floor(math.log(delay_s / LEAST_DELAY_S, DELAY_STEP) + 1e-9)
    low_s, high_s = (LEAST_DELAY_S * DELAY_STEP**power for power in (step, step + 1))
    share = (delay_s - low_s) / (high_s - low_s)
    low = _simulated(replace(rounded, delay_s=low_s), byte_count, time_scale)
    if share < 1e-9:
        return low
    high = _simulated(replace(rounded, delay_s=high_s), byte_count, time_scale)
    pairs = zip(low.late_s, high.late_s, strict=True)
    late_s = tuple(one + share * (other - one) for one, other in pairs)
    return Transfers(late_s, 1 / ((1 - share) / low.rate_per_s + share / high.rate_per_s))


def most_byte_per_s(shapes: Sequence[LinkShape], time_scale: float) -> float:
    """About the most that TCP gets through these links in a row [byte/s]: a formula where up to 20 % is lost.

    MSS / RTT * sqrt(3 / (2 p)) at a loss of p (Mathis et al., "The macroscopic behavior of the TCP congestion avoidance
    algorithm", 1997), less the time-outs for what is lost a second time: each costs RTO (1 + 32 p^2), as in Padhye et
    al., "Modeling TCP throughput", 1998. Where more is lost, next to nothing gets through, of which no formula tells:
    that is simulated for few, better links, which takes 0.2 s for each.
    """
    one = joined(shapes)
    rate = one.rate_mbit_per_s * 1e6 / 8
    if not one.loss:
        return rate
    if one.loss >= MOST_FORMULA_LOSS:
        delay_s = 2.0 ** math.floor(math.log2(max(one.delay_s, LEAST_DELAY_S)))
        loss = math.floor(one.loss / LOSS_STEP + 1e-9) * LOSS_STEP
        better = LinkShape(LOSSY_MBIT_PER_S, delay_s, loss=round(loss, 2))
        return min(rate, _saturated_byte_per_s(better, time_scale))
    round_trip_s = 2 * max(one.delay_s, LEAST_DELAY_S)
    time_out_s = round_trip_s + LEAST_TIME_OUT_S / time_scale
    each_s = round_trip_s * math.sqrt(2 * one.loss / 3) + one.loss**2 * time_out_s * (1 + 32 * one.loss**2)
    return min(rate, SEGMENT_BYTES / each_s)


def outside_validation(scenario: Scenario, byte_count: int) -> tuple[str, ...]:
    """The lossy and jittery links for which the simulation was not validated against live measurements, in words.

    Args:
        byte_count: size of the largest message.

    Returns:
        The first link of each kind; empty where all links are within the range, or nothing is lost or jittered.
    """
    shapes = [(ends, shape) for ends, found in _by_direction(scenario).items() for shape in found]
    troubled = {ends for ends, shape in shapes if is_troubled([shape])}
    found: dict[str, str] = {}
    for ends, shape in shapes:
        for what in _beyond(shape, scenario.time_scale) if is_troubled([shape]) else ():
            found.setdefault(what.split()[0], f"{what} ({ends[0]} - {ends[1]})")
        if shape.lull and ends in troubled:
            found.setdefault("outages", f"outages ({ends[0]} - {ends[1]})")
    if (together := _lossy_route(scenario)) is not None:
        found["route"] = together
    if troubled and byte_count > MOST_BYTES:
        found["messages"] = f"messages of {byte_count / 1024:.0f} KiB"
    return tuple(found.values())


def _by_direction(scenario: Scenario) -> dict[Direction, list[LinkShape]]:
    """All shapes that each direction of a link has during the run."""
    found: dict[Direction, list[LinkShape]] = {}
    for link in scenario.links:
        for ends, shape in zip((link.ends, link.ends[::-1]), link.shapes, strict=True):
            found.setdefault(ends, []).append(shape)
    for event in scenario.events:
        for ends, shape in event.shapes.items():
            found.setdefault(ends, []).append(shape)
    return found


def _lossy_route(scenario: Scenario) -> str | None:
    """The first route of a task on which several lossy links together lose more than was validated, in words.

    Each link counts with the most that it loses during the run; one that loses too much alone is named itself. Results
    are small, and were validated over three links of 3 %: their routes count from there on.
    """
    losses = {ends: max(shape.loss for shape in shapes) for ends, shapes in _by_direction(scenario).items()}
    if not any(losses.values()):
        return None
    ways = Ways(scenario)
    tasks = ((sender, name) for sender, names in scenario.offload_to.items() for name in names)
    results = ((server.name, device.name) for server in scenario.servers for device in scenario.devices)
    for pairs, most in ((tasks, MOST_LOSS), (results, MOST_RESULT_LOSS)):
        for sender, receiver in pairs:
            lost = [loss for ends in _steps(scenario, ways, sender, receiver) if (loss := losses[ends])]
            together = 1 - math.prod(1 - loss for loss in lost)
            if len(lost) > 1 and max(lost) <= MOST_LOSS and together > most + ROUNDING_S:
                return f"loss {percent(together, '.2g')} together ({sender} to {receiver})"
    return None


def _steps(scenario: Scenario, ways: Ways, sender: str, receiver: str) -> Iterator[tuple[str, str]]:
    """(sending end, receiving end) of each link from one to the other."""
    for vertex, number in ways.hops(sender, receiver):
        ends = scenario.links[number].ends
        yield ends if ends[0] == vertex else ends[::-1]


def _beyond(shape: LinkShape, time_scale: float) -> Iterator[str]:
    """The kernel's times are real ones, so that what counts of a delay, and of a rate, is the real one."""
    delay_s, jitter_s = shape.delay_s * time_scale, shape.jitter_s * time_scale
    rate = shape.rate_mbit_per_s / time_scale
    real = "" if time_scale == 1 else " in real time"
    if shape.loss > MOST_LOSS:
        yield f"loss {percent(shape.loss, 'g')}"
    if jitter_s > MOST_JITTER_S + ROUNDING_S:
        yield f"jitter {milliseconds(jitter_s, 'g')}{real}"
    if not LEAST_VALIDATED_S - ROUNDING_S <= delay_s <= MOST_VALIDATED_S + ROUNDING_S:
        yield f"delay {milliseconds(delay_s, 'g')}{real}"
    # Jitter alone holds a message up by its slowest segment, whatever the rate.
    if shape.loss and rate < LEAST_MBIT_PER_S - ROUNDING_S and not shape.lull:
        yield f"rate {rate:g} Mbit/s{real}"


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


@cache
def _simulated(shape: LinkShape, byte_count: int, time_scale: float) -> Transfers:
    clean_s = shape.delay_s + byte_count * 8e-6 / shape.rate_mbit_per_s
    spaced = _Stream(shape, byte_count, time_scale)
    late_s = sorted(taken_s - clean_s for taken_s in spaced.one_by_one())
    return Transfers(tuple(late_s), _saturated_byte_per_s(shape, time_scale) / byte_count)


@cache
def _saturated_byte_per_s(shape: LinkShape, time_scale: float) -> float:
    """What TCP gets through; waiting messages fill its segments whatever their size."""
    return _Stream(shape, SATURATED_BYTES, time_scale).saturated_per_s() * SATURATED_BYTES


@cache
def _jittered(shape: LinkShape, byte_count: int, time_scale: float) -> Transfers:
    """What the order of the segments costs a message that meets no other, as `Links` and the relay have it."""
    byte_per_s = shape.rate_mbit_per_s * 1e6 / 8
    sizes = np.full(-(-byte_count // SEGMENT_BYTES), float(SEGMENT_BYTES))
    sizes[-1] = byte_count - sizes[:-1].sum()
    needs_s = sizes / byte_per_s
    ends_s = needs_s.cumsum()
    released_s = np.maximum(0.0, ends_s - bucket_s(shape, time_scale))
    # The same deviations for each segment, in another order for each: their mean is exactly zero.
    spread = [NormalDist().inv_cdf((number + 0.5) / MESSAGES) for number in range(MESSAGES)]
    generator = np.random.default_rng(SEED)
    drawn = np.column_stack([generator.permutation(spread) for _ in sizes])
    behind_s = needs_s[::-1].cumsum()[::-1]  # transmission of a segment and all behind it
    due_s = released_s + np.maximum(0.0, shape.delay_s + shape.jitter_s * drawn) + behind_s
    late_s = np.sort(due_s.max(1)) - ends_s[-1] - shape.delay_s
    return Transfers(tuple(late_s.tolist()), byte_per_s / byte_count)


class _Stream:
    """Messages from one node to another over one link."""

    def __init__(self, shape: LinkShape, byte_count: int, time_scale: float) -> None:
        self._agenda = Calendar()
        self._links = Links(_scenario(shape, time_scale), self._agenda, [])
        self._byte_count = byte_count
        self._rate_mbit_per_s = shape.rate_mbit_per_s
        self._there = self._links.connect("device", "server", self._arrived)
        self._back = self._links.connect("server", "device", lambda _: None)
        self._taken_s: list[float] = []
        self._next_after_s: float | None = None

    def one_by_one(self) -> list[float]:
        """What each of MESSAGES takes that is sent when the one before it is long through [s].

        Those that do not come through in any time count as the longest that did.
        """
        self._next_after_s = GAP_S
        self._send(None)
        self._agenda.run(MOST_TIME_S, MOST_ACTIONS)
        longest_s = max(self._taken_s, default=MOST_TIME_S)
        return self._taken_s + [longest_s] * (MESSAGES - len(self._taken_s))

    def saturated_per_s(self) -> float:
        """How many messages a second get through where the next one always waits."""
        for _ in range(SATURATED_MESSAGES):
            self._send(None)
        self._agenda.run(MOST_TIME_S, MOST_ACTIONS)
        arrived, half = len(self._taken_s), SATURATED_MESSAGES // 2
        if arrived < SATURATED_MESSAGES:  # next to nothing gets through
            return max(1, arrived) / MOST_TIME_S
        # What waits behind a loss comes all at once.
        at_link_rate_s = half * self._byte_count * 8e-6 / self._rate_mbit_per_s
        return half / max(self._taken_s[-1] - self._taken_s[half - 1], at_link_rate_s)

    def _send(self, _: object) -> None:
        self._links.send(self._there, self._byte_count, self._agenda.now_s)

    def _arrived(self, sent_s: object) -> None:
        assert isinstance(sent_s, float)
        now_s = self._agenda.now_s
        self._taken_s.append(now_s - sent_s)
        self._links.send(self._back, ANSWER_BYTES, None)
        if self._next_after_s is not None and len(self._taken_s) < MESSAGES:
            self._agenda.at(now_s + self._next_after_s, self._send, None)


def _scenario(shape: LinkShape, time_scale: float) -> Scenario:
    return Scenario(
        name="one link", seed=SEED, duration_s=1.0, warm_up_s=0.0, slot_s=1.0, time_scale=time_scale, compute="paced",
        arrivals="poisson", model=ModelChoice("", (1,)), policy=PolicyChoice(""), devices=(Device("device", 1.0),),
        servers=(Server("server", 1, 1.0),), switches=(), links=(Link(("device", "server"), shape),), offload_to={},
        events=(),
    )  # fmt: skip
