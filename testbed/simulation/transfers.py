"""Transfer times and throughput of messages over links that lose or jitter frames, from TCP in virtual time.

The figures come from a simulation of a single connection (`testbed.simulation.links`). It is seeded and cached, so that
equal links have equal figures. Without loss, a message only waits for its slowest segment, which needs no simulation.

Decision 068: a route is simulated as a single link with rounded figures (docs/decisions/068-a-route-as-one-link.md).
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
from testbed.trace.processes.poisson import Poisson
from testbed.virtual_time import Calendar
from testbed.wording import milliseconds, percent

MESSAGES = 1000  # in a simulation at low load
SATURATED_MESSAGES, SATURATED_BYTES = 800, 16384  # the first half does not count: it depends on the first window
GAP_S = 0.3  # from a message's arrival to the next one at low load: longer than the repair of a lost acknowledgement
DELAY_STEP = 1.25  # ratio of neighbouring delays of the grid
LEAST_DELAY_S = 1e-4
ANSWER_BYTES = 64  # size of the receiver's answer to each message
SEED = 1
MOST_TIME_S, MOST_ACTIONS = 1e6, 1 << 40
ROUNDING_S = 1e-9
LEAST_TIME_OUT_S = 0.2  # Linux's shortest time-out [real s]
MOST_FORMULA_LOSS, LOSS_STEP, LOSSY_MBIT_PER_S = 0.20, 0.05, 50.0
# The range in which the simulation was validated against live runs (`tests.bench.transport`), in real time.
MOST_LOSS, MOST_JITTER_S = 0.05, 0.010
LEAST_VALIDATED_S, MOST_VALIDATED_S = 0.002, 0.060
LEAST_MBIT_PER_S = 20.0
MOST_RESULT_LOSS = 1 - (1 - 0.03) ** 3
MOST_BYTES = 66 * 1024  # 64 KiB and its framing


@dataclass(frozen=True, slots=True)
class Transfers:
    """The transfers of messages of one size over one route.

    Attributes:
        late_s: times beyond those of a link without loss and jitter [s], in ascending order.
        rate_per_s: throughput if a message always waits [messages/s].
    """

    late_s: tuple[float, ...]
    rate_per_s: float

    @property
    def mean_late_s(self) -> float:
        """The mean of `late_s` [s]."""
        return sum(self.late_s) / len(self.late_s)


def is_troubled(shapes: Sequence[LinkShape]) -> bool:
    """True if one of these links loses or jitters frames."""
    return any(shape.loss > 0 or shape.jitter_s > 0 for shape in shapes)


def joined(shapes: Sequence[LinkShape]) -> LinkShape:
    """Join links in a row into one: lowest rate, sum of delays, root of summed squared jitters, joint loss."""
    return LinkShape(
        rate_mbit_per_s=min(shape.rate_mbit_per_s for shape in shapes),
        delay_s=sum(shape.delay_s for shape in shapes),
        jitter_s=math.hypot(*(shape.jitter_s for shape in shapes)),
        loss=1 - math.prod(1 - shape.loss for shape in shapes),
    )


def transfers(shapes: Sequence[LinkShape], byte_count: int, time_scale: float) -> Transfers:
    """Return the transfers of messages over links in a row, at least one of which loses or jitters frames.

    Args:
        shapes: the links of the route.
        byte_count: size of a message [bytes].
        time_scale: real seconds per emulated second.
    """
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
    """Return an upper estimate of TCP's throughput over links in a row [byte/s].

    Below a loss p of 20 %: MSS / RTT * sqrt(3 / (2 p)) (Mathis et al., "The macroscopic behavior of the TCP congestion
    avoidance algorithm", 1997), reduced by the time-outs for segments that are lost twice. Each time-out costs
    RTO (1 + 32 p^2), as in Padhye et al., "Modeling TCP throughput", 1998. From 20 % on, the formula does not hold:
    the throughput of a somewhat better link from a coarse grid is simulated instead.

    Args:
        shapes: the links of the route.
        time_scale: real seconds per emulated second.
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
    """Describe the lossy and jittery links for which the simulation was not validated against live runs.

    Args:
        scenario: the scenario.
        byte_count: size of the largest message [bytes].

    Returns:
        A text for the first link of each kind. Empty if all links are within the range, or none loses or jitters.
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
    """Return all shapes during the run of each direction of each link."""
    found: dict[Direction, list[LinkShape]] = {}
    for link in scenario.links:
        for ends, shape in zip((link.ends, link.ends[::-1]), link.shapes, strict=True):
            found.setdefault(ends, []).append(shape)
    for event in scenario.events:
        for ends, shape in event.shapes.items():
            found.setdefault(ends, []).append(shape)
    return found


def _lossy_route(scenario: Scenario) -> str | None:
    """Describe the first route on which several lossy links together lose more than was validated; None if none does.

    Each link counts with its highest loss during the run. Links that lose too much alone are left to `_beyond`. Results
    are small and were validated over three links of 3 % loss, so their routes have a higher limit.
    """
    losses = {ends: max(shape.loss for shape in shapes) for ends, shapes in _by_direction(scenario).items()}
    if not any(losses.values()):
        return None
    ways = Ways(scenario)
    tasks = ((sender, name) for sender, names in scenario.offload_to.items() for name in names)
    results = ((server.name, device.name) for server in scenario.servers for device in scenario.devices
               if server.device in (None, device.name))  # fmt: skip
    for pairs, most in ((tasks, MOST_LOSS), (results, MOST_RESULT_LOSS)):
        for sender, receiver in pairs:
            lost = [loss for ends in _steps(scenario, ways, sender, receiver) if (loss := losses[ends])]
            together = 1 - math.prod(1 - loss for loss in lost)
            if len(lost) > 1 and max(lost) <= MOST_LOSS and together > most + ROUNDING_S:
                return f"loss {percent(together, '.2g')} together ({sender} to {receiver})"
    return None


def _steps(scenario: Scenario, ways: Ways, sender: str, receiver: str) -> Iterator[tuple[str, str]]:
    """Yield (sending end, receiving end) of each link from sender to receiver."""
    for vertex, number in ways.hops(sender, receiver):
        ends = scenario.links[number].ends
        yield ends if ends[0] == vertex else ends[::-1]


def _beyond(shape: LinkShape, time_scale: float) -> Iterator[str]:
    """Describe each figure of a shape that was not validated. Limits are in real time, like the kernel's timers."""
    delay_s, jitter_s = shape.delay_s * time_scale, shape.jitter_s * time_scale
    rate = shape.rate_mbit_per_s / time_scale
    real = "" if time_scale == 1 else " in real time"
    if shape.loss > MOST_LOSS:
        yield f"loss {percent(shape.loss, 'g')}"
    if jitter_s > MOST_JITTER_S + ROUNDING_S:
        yield f"jitter {milliseconds(jitter_s, 'g')}{real}"
    if not LEAST_VALIDATED_S - ROUNDING_S <= delay_s <= MOST_VALIDATED_S + ROUNDING_S:
        yield f"delay {milliseconds(delay_s, 'g')}{real}"
    # Without loss, a message waits for its slowest segment, whatever the rate.
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
    """Return TCP's throughput [byte/s]. It holds for messages of any size, because waiting ones fill the segments."""
    return _Stream(shape, SATURATED_BYTES, time_scale).saturated_per_s() * SATURATED_BYTES


@cache
def _jittered(shape: LinkShape, byte_count: int, time_scale: float) -> Transfers:
    """Return the transfers of single messages over a jittery link that keeps its frames in order."""
    byte_per_s = shape.rate_mbit_per_s * 1e6 / 8
    sizes = np.full(-(-byte_count // SEGMENT_BYTES), float(SEGMENT_BYTES))
    sizes[-1] = byte_count - sizes[:-1].sum()
    needs_s = sizes / byte_per_s
    ends_s = needs_s.cumsum()
    released_s = np.maximum(0.0, ends_s - bucket_s(shape, time_scale))
    # Each segment gets the same deviations in another order, so that their mean is exactly zero.
    spread = [NormalDist().inv_cdf((number + 0.5) / MESSAGES) for number in range(MESSAGES)]
    generator = np.random.default_rng(SEED)
    drawn = np.column_stack([generator.permutation(spread) for _ in sizes])
    behind_s = needs_s[::-1].cumsum()[::-1]  # transmission of a segment and all behind it
    due_s = released_s + np.maximum(0.0, shape.delay_s + shape.jitter_s * drawn) + behind_s
    late_s = np.sort(due_s.max(1)) - ends_s[-1] - shape.delay_s
    return Transfers(tuple(late_s.tolist()), byte_per_s / byte_count)


class _Stream:
    """Messages from one node to another over a single link."""

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
        """Return the transfer times of MESSAGES messages [s], each sent well after the arrival of the one before.

        Messages that never arrive count as the slowest that did.
        """
        self._next_after_s = GAP_S
        self._send(None)
        self._agenda.run(MOST_TIME_S, MOST_ACTIONS)
        longest_s = max(self._taken_s, default=MOST_TIME_S)
        return self._taken_s + [longest_s] * (MESSAGES - len(self._taken_s))

    def saturated_per_s(self) -> float:
        """Return the throughput if a message always waits [messages/s]."""
        for _ in range(SATURATED_MESSAGES):
            self._send(None)
        self._agenda.run(MOST_TIME_S, MOST_ACTIONS)
        arrived, half = len(self._taken_s), SATURATED_MESSAGES // 2
        if arrived < SATURATED_MESSAGES:  # next to nothing gets through
            return max(1, arrived) / MOST_TIME_S
        # Messages that waited behind a loss arrive all at once: never assume more than the link's rate.
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
        arrivals=Poisson(), model=ModelChoice("", (1,)), policy=PolicyChoice(""), devices=(Device("device", 1.0),),
        servers=(Server("server", 1, 1.0),), switches=(), links=(Link(("device", "server"), shape),), offload_to={},
        events=(),
    )  # fmt: skip
