"""A replay of all tasks of a run, along the ways they took, on a machine that emulates exactly."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node_agent.wire import Handover
from testbed.expectation.world import ExactNetwork, ExactWorld
from testbed.record.task_line import TaskLine, Way

DRAWS_OF_JITTER, DRAWS_OF_LOSS = 8, 4  # a draw of loss takes several times as long


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected delays [s] by task id, one mapping per draw; a single mapping if nothing is random."""

    draws: tuple[Mapping[int, float], ...]

    @property
    def mean_s(self) -> dict[int, float]:
        """The mean over the draws [s], by task id."""
        first, *others = self.draws
        return {task: (at_s + sum(draw[task] for draw in others)) / len(self.draws) for task, at_s in first.items()}


def expected_delays(
    world: ExactWorld,
    tasks: Sequence[TaskLine],
    failed: Mapping[tuple[int, Handover], float],
) -> Expected:
    """Return the delay that every completed task would have had on an exact machine.

    A task starts when the workload wanted it. If it was offered more than once, and the earlier offers had to fail
    (`ExactWorld.had_to_fail`), it starts with the offer that was taken. `failed` holds the times at which failed offers
    should have arrived, from `steps_of`.
    """
    completed = [task for task in tasks if task.completed_s is not None and task.hops]
    number = DRAWS_OF_LOSS if world.loses else DRAWS_OF_JITTER if world.is_random else 1
    return Expected(tuple(_Replay(world, completed, failed, draw).run() for draw in range(number)))


@dataclass(slots=True)
class _Passage:
    """A task in progress on one of its ways."""

    task: TaskLine
    way: Way
    nodes: tuple[str, ...]  # device first
    at: int = 0  # index in `nodes` of its place, or of the last one left


@dataclass(slots=True)
class _Server:
    """A server that serves tasks in the order of their arrival."""

    waiting: deque[_Passage] = field(default_factory=deque)
    busy: bool = False


class _Replay:
    """A replay of all tasks with one draw of loss and jitter."""

    def __init__(
        self, world: ExactWorld, tasks: Sequence[TaskLine], failed: Mapping[tuple[int, Handover], float], draw: int
    ) -> None:
        self._world = world
        self._failed = failed
        self._tasks = tasks
        self._network = ExactNetwork(world.scenario, draw=draw)
        self._servers = {server.name: _Server() for server in world.scenario.servers}
        self._delays_s: dict[int, float] = {}

    def run(self) -> dict[int, float]:
        """Run the replay; return the delay [s] by task id."""
        for task in self._tasks:
            for way in task.ways:
                passage = _Passage(task, way, (task.device, *(hop.node for hop in way)))
                self._network.agenda.at(self._begin_s(task, way), self._pass_on, passage)
        self._network.run()
        return self._delays_s

    def _begin_s(self, task: TaskLine, way: Way) -> float:
        """Return the time [s] at which a way begins.

        The way that counts begins when the workload wanted the task, unless earlier offers had to fail.
        """
        offer = task.offer_of(way)
        if offer is None:
            return task.created_s
        if way is not task.hops:
            return offer.sent_s
        earlier = [each for each in task.offers if each.sent_s < offer.sent_s]
        for each in earlier:
            if each.taken:  # a receiver took it, but no result came in time
                took_s = (task.completed_s or offer.sent_s) - offer.sent_s
                had_to_fail = self._world.had_to_fail_somewhere(each.sent_s, offer.sent_s, took_s)
            else:
                had_to_fail = self._had_to_fail(task, task.device, each, offer.sent_s)
            if had_to_fail:
                return offer.sent_s
        return task.created_s

    def _had_to_fail(self, task: TaskLine, sender: str, offer: Handover, until_s: float) -> bool:
        return self._world.had_to_fail(sender, offer, until_s, self._failed.get((task.id, offer), offer.sent_s))

    def _pass_on(self, passage: _Passage) -> None:
        """Send the task to the next server of its way, or, from the last one, its result to the device."""
        done = passage.nodes[: passage.at + 1]
        if passage.at < len(passage.way):
            size_bytes = self._world.task_bytes(done, passage.task.sample)
            path = (done[-1], passage.nodes[passage.at + 1])
            self._network.send(path, size_bytes, lambda at_s: self._arrive(passage, at_s))
        elif passage.way is passage.task.hops:
            size_bytes = self._world.result_bytes(done)
            self._network.send((done[-1], passage.task.device), size_bytes, lambda at_s: self._end(passage, at_s))

    def _arrive(self, passage: _Passage, at_s: float) -> None:
        """Receive the task; if the node is down, the message waits in the sender's connection until it is up."""
        taken_s = self._world.taken_s(passage.nodes[passage.at + 1], at_s)
        if taken_s > at_s:
            self._network.agenda.at(taken_s, self._come, passage)
        else:
            self._come(passage)

    def _come(self, passage: _Passage) -> None:
        passage.at += 1
        server = self._servers[passage.nodes[passage.at]]
        server.waiting.append(passage)
        if not server.busy:
            self._serve(passage.nodes[passage.at])

    def _serve(self, name: str) -> None:
        server = self._servers[name]
        server.busy = bool(server.waiting)
        if server.busy:
            agenda, passage = self._network.agenda, server.waiting.popleft()
            agenda.at(self._world.served_by_s(name, agenda.now_s, passage.task.sample), self._served, passage)

    def _served(self, passage: _Passage) -> None:
        name, hop = passage.nodes[passage.at], passage.way[passage.at - 1]
        held_s = 0.0
        if hop.failed and any(self._had_to_fail(passage.task, name, each, hop.sent_s) for each in hop.failed):
            held_s = hop.sent_s - hop.finished_s  # until a receiver answered
        agenda = self._network.agenda
        agenda.at(agenda.now_s + held_s, self._pass_on, passage)
        self._serve(name)

    def _end(self, passage: _Passage, at_s: float) -> None:
        self._delays_s[passage.task.id] = at_s - passage.task.created_s
