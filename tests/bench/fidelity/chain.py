"""A small live run whose delays nothing but the emulation can change: one server a stage, fixed thresholds."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario
from tests.bench.city.runs import completed
from tests.hogs import hogs

FAST_GFLOP_PER_S = 3.0  # a task takes this machine a third of its emulated time: lost processor time soon shows
SLOW_GFLOP_PER_S = 1.0  # a tenth: it hardly ever does
CHAIN = """
name: chain
model: {{name: glyphs, cut: [3, 5]}}
policy: computing-first
time_scale: {time_scale}
slot: 2 s
duration: {duration_s} s
warm_up: 2 s
seed: 1
devices:
  cam: {{count: 4, rate: {rate_per_s} /s}}
servers:
  near: {{stage: 1, capacity: {capacity} GFLOP/s}}
  core: {{stage: 2, capacity: {capacity} GFLOP/s}}
links:
  - {{from: cam, to: near, rate: 20 Mbit/s, delay: 20 ms}}
  - {{from: near, to: core, rate: 30 Mbit/s, delay: 10 ms}}
"""


class _Hogged(SilentObserver):
    """Keeps the machine busy from the moment at which the run starts."""

    def __init__(self, stack: ExitStack, normal: int, realtime: int) -> None:
        self._stack, self._normal, self._realtime = stack, normal, realtime

    def started(self, scenario: Scenario, offered: int) -> None:  # noqa: ARG002 - the observer's signature
        self._stack.enter_context(hogs(self._normal, realtime=self._realtime))


def summary_of(
    *, duration_s: float, gflop_per_s: float, time_scale: float = 1.0, hogs: int = 0, realtime: bool = False
) -> Mapping[str, Any]:
    """The summary of one live run beside `count` busy loops; with `realtime` also one a processor above everything.

    The servers, of `gflop_per_s` each, are as busy at every speed.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        topology = Path(folder) / "topology.yaml"
        topology.write_text(CHAIN.format(
            time_scale=time_scale, duration_s=duration_s, capacity=gflop_per_s, rate_per_s=4 * gflop_per_s
        ))  # fmt: skip
        observer = _Hogged(stack, hogs, (os.cpu_count() or 1) if realtime else 0)
        return completed(plan_run(topology, out=Path(folder) / "run"), observer)
