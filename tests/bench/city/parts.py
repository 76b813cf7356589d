"""Parts of a task's time at a saturated server that nothing paces: the profile of `throughput`.

Each part is a few functions of the agent, wrapped by a clock. Time inside a part that runs inside another counts once,
for the inner one. The clocks themselves add about 1 us for each call.
"""

import time
from collections.abc import Callable
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

WARM_UP_TASKS = 1000
REST = "rest of the agent's loop"

Times = dict[str, float]  # part -> time of a task [us]


class PartClock:
    """Adds up the time in each part."""

    def __init__(self) -> None:
        self._spent_ns: dict[str, int] = {}
        self._counted_ns: dict[str, int] = {}  # until the last task began
        self._inner_ns = [0]  # of each open call: the time in calls inside it
        self._began_ns = self._until_ns = 0
        self._tasks = -WARM_UP_TASKS

    def task(self) -> None:
        """Count a task that begins now; the counts start after WARM_UP_TASKS."""
        self._until_ns = time.perf_counter_ns()
        if self._tasks == 0:
            self._began_ns = self._until_ns
            self._spent_ns.clear()
        self._counted_ns = self._spent_ns.copy()
        self._tasks += 1

    def watch(self, part: str, owner: Any, *names: str) -> None:
        """Count the time in these functions of `owner` for `part`."""
        for name in names:
            setattr(owner, name, self._timed(part, getattr(owner, name)))

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            began_ns = time.perf_counter_ns()
            self._inner_ns.append(0)
            try:
                return function(*arguments, **named)
            finally:
                spent_ns = time.perf_counter_ns() - began_ns
                inner_ns = self._inner_ns.pop()
                self._spent_ns[part] = self._spent_ns.get(part, 0) + spent_ns - inner_ns
                self._inner_ns[-1] += spent_ns

        return timed

    def times_us(self) -> Times:
        """Return the time of a task by part, the rest last. Raises RuntimeError if too few tasks were served."""
        tasks = self._tasks - 1  # the last one has begun only
        if tasks < WARM_UP_TASKS:
            raise RuntimeError(f"{tasks} tasks are too few for a profile")
        times_us = {part: spent_ns / tasks / 1e3 for part, spent_ns in self._counted_ns.items()}
        return {**times_us, REST: (self._until_ns - self._began_ns) / tasks / 1e3 - sum(times_us.values())}


def watched(serve: Callable[..., None], pipe: Connection, *arguments: object) -> None:
    """Run the process of an agent, `serve(*arguments)`, with clocks; put its times into the pipe when it has ended."""
    from node_agent.core.machine import NodeStateMachine
    from node_agent.core.story import Story
    from node_agent.models.networks.hosted import NetworkSubModel
    from node_agent.process import agent
    from node_agent.process.executor import PacedExecutor
    from node_agent.process.transport import Transport

    clock = PartClock()
    clock.watch("sub-model", NetworkSubModel, "infer")
    clock.watch("priority and clocks around it", PacedExecutor, "start")
    clock.watch("sending through ZeroMQ", Transport, "send")
    clock.watch("polling and receiving", agent.Agent, "_woken_by")
    clock.watch("polling and receiving", Transport, "receive_all")
    clock.watch("encoding and decoding", agent, "encode", "as_sent", "decode")
    clock.watch("state machine", NodeStateMachine, "handle")
    clock.watch("story", Story, "add")
    start = PacedExecutor.start

    def counted(*given: Any) -> None:
        clock.task()
        start(*given)

    setattr(PacedExecutor, "start", counted)  # noqa: B010 - as in `watch`
    serve(*arguments)
    pipe.send(clock.times_us())
