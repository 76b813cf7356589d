"""A simulated run under the eyes of a bench: the state of its nodes at chosen times, and the bytes of its messages."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from node_agent.core.offloading.routing import Routing
from node_agent.dtoee.queueing import Array
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.observer import SilentObserver
from testbed.run.plan import Plan
from testbed.simulation.links import Connection, Direction, Links
from testbed.simulation.processor import paced
from testbed.simulation.simulator import ACTIONS_AT_ONCE, LOOK_EVERY_S, SimulatedRun
from testbed.virtual_time import Calendar

Look = Callable[[SimulatedRun, float], None]  # is shown the run and the emulated time [s]


def watched(plan: Plan, look: Look, *, every_s: float) -> None:
    """Simulate a run as `Simulation` does, and call `look` every `every_s` [emulated s]; it must change nothing.

    The run directory gets the records, but no summary.
    """
    agenda = Calendar()
    recorder = plan.recorder(flush_lines=False)
    bookkeeping = Bookkeeping(plan.scenario, plan.arrivals, recorder, SilentObserver())
    course = SimulatedRun(plan, agenda, bookkeeping, paced, stories=False)

    def again(at_s: float) -> None:
        look(course, at_s)
        if at_s + every_s <= plan.scenario.duration_s:
            agenda.at(at_s + every_s, again, at_s + every_s)

    try:
        course.measure_links()
        course.start()
        agenda.at(every_s, again, every_s)
        while not bookkeeping.finished(agenda.now_s):
            agenda.run(agenda.now_s + LOOK_EVERY_S, ACTIONS_AT_ONCE)
        course.end()
    finally:
        bookkeeping.close(agenda.now_s)
        recorder.finish(None, "completed")
        plan.release()


def row_in_force(routing: Routing) -> Array:
    """The probabilities by which a node's tasks are spread now, (K,), in the order of its receivers."""
    return routing.policy.executed(routing.row)


class Traffic:
    """Control messages and their bytes on each direction of a link, since `clear`."""

    def __init__(self) -> None:
        self.messages: Counter[Direction] = Counter()
        self.sent_bytes: Counter[Direction] = Counter()

    def clear(self) -> None:
        """Forget what was counted."""
        self.messages.clear()
        self.sent_bytes.clear()


@contextmanager
def counted_traffic() -> Iterator[Traffic]:
    """Counts the control messages of all simulations of this process in this context."""
    traffic, send = Traffic(), Links.send

    def counted(links: Links, connection: Connection, size_bytes: int, message: object) -> None:
        if connection.urgent:
            traffic.messages.update(connection.legs)
            for leg in connection.legs:
                traffic.sent_bytes[leg] += size_bytes
        send(links, connection, size_bytes, message)

    with patch.object(Links, "send", counted):
        yield traffic
