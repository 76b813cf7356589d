"""Bounds on the predicted delay under overload, simulated: `python -m tests.bench admission` (two minutes).

- Surge at 1.6 times its rates, without a bound and with several.
- Three overloaded networks at a bound of 600 ms, with several ways for devices to know the queues. Each figure is the
  mean of three seeds.

The figures are the same on every machine.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from node_agent.core.device import DeviceTasks
from node_agent.core.offloading import statuses
from node_agent.core.offloading.statuses import Statuses
from node_agent.wire import Status
from tests.bench.simulated import TOPOLOGIES
from tests.bench.simulations import Ask, summary_of
from tests.bench.table import AMOUNT, POSITIVE, SHARE, Row, main, row

BOUNDS = (None, "1 s", "600 ms", "400 ms")
RATE, SURGE_RATE = "rate: 2 /s", "rate: 3.2 /s"
COMPARED = "600 ms"
SEEDS = (1, 2, 3)

# Six cameras that offer 18 tasks/s to one server, which serves ten.
ONE = """
name: one
model: {name: glyphs, cut: [5], activation: float16}
policy: dto-ee
theta: 3 s
duration: 120 s
devices: {cam: {count: 6, rate: 3 /s, delay_bound: BOUND}}
servers: {only: {stage: 1, capacity: 0.488 GFLOP/s}}
links: [{from: cam, to: only, rate: 20 Mbit/s, delay: 10 ms}]
"""
# The same cameras before two stages. At the fixed thresholds, the last stage gets five times what it can serve.
DEEP = """
name: deep
model: {name: glyphs, cut: [2, 5], activation: float16}
policy: computing-first
theta: 3 s
duration: 120 s
devices: {cam: {count: 6, rate: 3 /s, delay_bound: BOUND}}
servers:
  near: {count: 2, stage: 1, capacity: 0.5 GFLOP/s}
  deep: {stage: 2, capacity: 0.1 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 10 ms}
  - {from: near, to: deep, rate: 20 Mbit/s, delay: 10 ms}
"""
CASES = ("surge at 1.6 times its rates", "one server", "a scarce last stage")
AS_IT_IS = "statuses every 0.1 s, with the delay onward"
NEVER_S = 1e9
admit, status_of = DeviceTasks.arrive, Statuses._status


def announce_all(tasks: DeviceTasks, event: Any) -> None:
    """Count refused tasks in the announced rate, too."""
    before = tasks.refused
    admit(tasks, event)
    if tasks.refused > before:
        tasks.rate.arrived(event.created_s)


def without_onward(sender: Statuses) -> Status:
    """Make a status without the delay onward, so that the one of the last report counts."""
    return replace(status_of(sender), onward_delay_s=None)


WAYS: Mapping[str, Callable[[], Any]] = {
    "no statuses: reports of rounds and acknowledgements": lambda: patch.object(statuses, "STATUS_EVERY_S", NEVER_S),
    "statuses every second, with the delay onward": lambda: patch.object(statuses, "STATUS_EVERY_S", 1.0),
    "statuses every 0.1 s, without the delay onward": lambda: patch.object(Statuses, "_status", without_onward),
    AS_IT_IS: lambda: patch.object(statuses, "STATUS_EVERY_S", statuses.STATUS_EVERY_S),
    "the same, and refused tasks are announced": lambda: patch.object(DeviceTasks, "arrive", announce_all),
}


def surge(bound: str | None) -> str:
    """The text of surge.yaml at 1.6 times its rates."""
    text = (TOPOLOGIES / "surge.yaml").read_text(encoding="utf-8")
    assert text.count(RATE) == 2
    return text.replace(RATE, SURGE_RATE if bound is None else f"{SURGE_RATE}, delay_bound: {bound}")


def rows() -> Iterator[Row]:
    """Surge at several bounds, then each network with each way of knowing the queues."""
    texts = dict(zip(CASES, (surge(COMPARED), ONE.replace("BOUND", COMPARED), DEEP.replace("BOUND", COMPARED)),
                     strict=True))  # fmt: skip
    wanted = [(surge(bound), AS_IT_IS, 1) for bound in BOUNDS]
    wanted += [(text, way, seed) for text in texts.values() for way in WAYS for seed in SEEDS]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        found = iter(list(pool.map(simulated, *zip(*wanted, strict=True))))
        for bound in BOUNDS:
            yield from rows_of(name_of(bound), [next(found)])
        for case in CASES:
            for way in WAYS:
                yield from rows_of(f"{case}, {way}", [next(found) for _ in SEEDS])


def name_of(bound: str | None) -> str:
    """The name of surge's rows at a bound."""
    return f"surge at 1.6 times its rates, {'no bound' if bound is None else f'bound {bound}'}"


def simulated(text: str, way: str, seed: int) -> Mapping[str, Any]:
    """The summary of a topology's text, simulated with one of the `WAYS`."""
    with tempfile.TemporaryDirectory() as folder, WAYS[way]():
        path = Path(folder) / "topology.yaml"
        path.write_text(text, encoding="utf-8")
        return summary_of(Ask(path, seed=seed))


def rows_of(what: str, summaries: list[Mapping[str, Any]]) -> Iterator[Row]:
    """Means over runs: delay, accuracy, goodput and refused share."""

    def mean(figure: Callable[[Mapping[str, Any]], float]) -> float:
        return sum(map(figure, summaries)) / len(summaries)

    for name in ("mean", "p95"):
        yield row(f"{what}: {name} delay", mean(lambda one: one["delay_s"][name] * 1e3), "ms", possible=POSITIVE)  # noqa: B023
    yield row(f"{what}: accuracy", mean(lambda one: one["accuracy"]), "", possible=SHARE)
    yield row(f"{what}: goodput", mean(lambda one: one["goodput"]), "", possible=SHARE)
    refused = mean(lambda one: one["tasks"]["refused"] / one["tasks"]["offered"])
    yield row(f"{what}: refused share", refused, "", possible=SHARE)
    yield row(f"{what}: lost", mean(lambda one: one["tasks"]["lost"]), "tasks", possible=AMOUNT)


if __name__ == "__main__":
    main(rows, __doc__)
