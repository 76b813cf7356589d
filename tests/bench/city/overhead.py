"""Time of a hop of the city beyond the emulated time: from received to sent, less queueing and paced service.

Of each task at each server: from when the agent had it in hand (and the task before it had been served) to when it was
sent on, less the service time that the server's capacity says. Not in it: encoding and handing over to ZeroMQ, and what
ZeroMQ, the kernel and the relay add between two nodes. That is printed besides: from sent to received, less the link's
delay and the time that the bytes need at its rate.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario
from tests.bench.city.runs import CITY, completed
from tests.bench.table import AMOUNT, Row, main, row

DURATION_S, WARM_UP_S = 20.0, 2.0
SEGMENT_BYTES, FRAME_BYTES = 1448, 66  # of TCP's payload in a frame, and what comes on top of each
HEADER_BYTES = 250  # of a task's message, its hops so far included

Hop = Mapping[str, Any]
Task = Mapping[str, Any]


def overheads_s(tasks: list[Task]) -> list[float]:
    """Of every hop, the time [s] that neither queueing nor the paced service explains."""
    by_server: dict[str, list[Hop]] = defaultdict(list)
    for task in tasks:
        for hop in task["hops"]:
            by_server[hop["node"]].append(hop)
    found = []
    for hops in by_server.values():
        free_s = -1.0
        for hop in sorted(hops, key=lambda each: float(each["started_s"])):
            if hop["received_s"] > WARM_UP_S:
                paced_s = hop["finished_s"] - hop["started_s"] - hop["late_s"]
                found.append(hop["sent_s"] - max(hop["received_s"], free_s) - paced_s)
            free_s = hop["finished_s"]
    return found


def extra_link_s(tasks: list[Task], scenario: Scenario, input_bytes: tuple[int, ...]) -> list[float]:
    """Of every transfer between servers, the time [s] that neither delay nor rate of its link explains."""
    shapes = {link.ends: link.shape for link in scenario.links}
    shapes |= {(right, left): shape for (left, right), shape in shapes.items()}
    found = []
    for task in tasks:
        for stage, (sender, receiver) in enumerate(zip(task["hops"], task["hops"][1:], strict=False), start=2):
            shape = shapes[sender["node"], receiver["node"]]
            payload = input_bytes[stage - 1] + HEADER_BYTES
            sent_bytes = payload + FRAME_BYTES * -(-payload // SEGMENT_BYTES)
            emulated_s = shape.delay_s + 8e-6 * sent_bytes / shape.rate_mbit_per_s
            found.append(receiver["received_s"] - sender["sent_s"] - emulated_s)
    return found


def rows() -> Iterator[Row]:
    """One live run."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_run(CITY, out=Path(folder) / "run", duration_s=DURATION_S)
        completed(plan, SilentObserver())
        lines = (Path(folder) / "run" / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [task for task in map(json.loads, lines) if task["status"] == "completed"]
    if not tasks:
        raise RuntimeError("no task was completed: a hop has no overhead")
    scenario = plan.scenario
    profiles = plan.model.profiles(scenario.model.cut, scenario.model.activation)
    overhead_ms = 1e3 * np.array(overheads_s(tasks))
    where = f"city: overhead of a hop, {len(overhead_ms)} hops"
    yield row(f"{where}, p50", float(np.quantile(overhead_ms, 0.5)), "ms", most=0.5)
    yield row(f"{where}, p99", float(np.quantile(overhead_ms, 0.99)), "ms", most=2.0)
    extra_s = extra_link_s(tasks, scenario, tuple(each.input_bytes for each in profiles))
    extra_ms = 1e3 * np.array(extra_s)
    for share in (50, 99):
        value = float(np.percentile(extra_ms, share))
        yield row(f"city: transfer beyond the link's delay and rate, p{share}", value, "ms", possible=AMOUNT)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
