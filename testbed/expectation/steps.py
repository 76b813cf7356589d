"""Every step of every task compared with the model, from the recorded state at its beginning."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from node_agent.wire import Handover
from testbed.expectation.world import ExactNetwork, ExactWorld, Path
from testbed.record.task_line import HopLine, TaskLine

Step = Literal["offering", "transfer", "queue", "service", "sending", "return"]


@dataclass(frozen=True, slots=True)
class Lateness:
    """A step of a task that ended at `at_s`, `late_s` later than in the model (earlier, if negative).

    `path` is (sender, receiver) for a transfer or a return, and (node,) for a step at one node. `sent_s` is the time at
    which a transfer or a return was sent, or a service began. `size_bytes` is the size of a message.
    """

    task: int
    step: Step
    path: tuple[str, ...]
    at_s: float
    late_s: float
    sent_s: float = 0.0
    size_bytes: int = 0

    @property
    def expected_s(self) -> float:
        """The time that a transfer, a return or a service should have taken [s]."""
        return self.at_s - self.late_s - self.sent_s


@dataclass(frozen=True, slots=True)
class Steps:
    """Every step of every completed task, and the times [s] at which failed offers should have arrived."""

    late: list[Lateness]
    failed: dict[tuple[int, Handover], float]


def steps_of(world: ExactWorld, tasks: Sequence[TaskLine]) -> Steps:
    """Judge all steps of the completed tasks.

    Over links with loss or jitter a single step may deviate by chance; only many steps together mean something.
    """
    completed = [task for task in tasks if task.completed_s is not None and task.hops]
    steps = _transfers(world, completed)
    steps.late.extend(_at_servers(world, completed))
    for task in completed:
        if task.offers:
            first_s = task.offers[0].sent_s
            steps.late.append(Lateness(task.id, "offering", (task.device,), first_s, first_s - task.created_s))
    return steps


def _transfers(world: ExactWorld, tasks: Sequence[TaskLine]) -> Steps:
    """Send every message at its recorded time, and compare its arrival with the recorded one."""
    network = ExactNetwork(world.scenario)
    late: list[Lateness] = []
    arrivals: dict[tuple[int, Handover], float] = {}

    def judge(task: TaskLine, step: Step, path: Path, size_bytes: int, sent_s: float, received_s: float) -> None:
        def seen(arrival_s: float) -> None:
            # A message that waits in its connection until the receiver is up counts as sent that much later.
            waited_s = world.taken_s(path[1], arrival_s) - arrival_s
            late_s = received_s - arrival_s - waited_s
            late.append(Lateness(task.id, step, path, received_s, late_s, sent_s + waited_s, size_bytes))

        network.send_at(sent_s, path, size_bytes, seen)

    def came_to_nothing(task: TaskLine, sender: str, offer: Handover, size_bytes: int) -> None:
        def seen(expected_s: float) -> None:
            arrivals[task.id, offer] = expected_s

        network.send_at(offer.sent_s, (sender, offer.receiver), size_bytes, seen)

    for task in tasks:
        used: set[Handover] = set()
        for way in task.ways:
            nodes = (task.device, *(hop.node for hop in way))
            offer = task.offer_of(way)
            sent_s = task.created_s if offer is None else offer.sent_s
            if offer is not None:
                used.add(offer)
            for number, hop in enumerate(way):
                path, size_bytes = (nodes[number], hop.node), world.task_bytes(nodes[: number + 1], task.sample)
                judge(task, "transfer", path, size_bytes, sent_s, hop.received_s)
                for failed in hop.failed:
                    came_to_nothing(task, hop.node, failed, world.task_bytes(nodes[: number + 2], task.sample))
                sent_s = hop.sent_s
            path, size_bytes = (nodes[-1], task.device), world.result_bytes(nodes)
            if way is task.hops and task.completed_s is not None:
                judge(task, "return", path, size_bytes, sent_s, task.completed_s)
            else:  # the record has no time of return for a result that came second
                network.send_at(sent_s, path, size_bytes, _ignored)
        for failed in task.offers:
            if failed not in used:
                came_to_nothing(task, task.device, failed, world.task_bytes((task.device,), task.sample))
    network.run()
    late += _unanswered(world, tasks, arrivals)
    return Steps(late, arrivals)


def _unanswered(
    world: ExactWorld, tasks: Sequence[TaskLine], arrivals: Mapping[tuple[int, Handover], float]
) -> Iterator[Lateness]:
    """Yield handovers that failed though they should have been answered in time; they are late until the next one."""
    for task in tasks:
        for sender, failed, last_s in (
            (task.device, task.offers[:-1], task.offers[-1].sent_s if task.offers else 0.0),
            *((hop.node, hop.failed, hop.sent_s) for hop in task.hops),
        ):
            next_s = [*(each.sent_s for each in failed[1:]), last_s]
            for offer, until_s in zip(failed, next_s, strict=False):  # empty if nothing failed
                arrival_s = arrivals.get((task.id, offer))
                if offer.taken:
                    continue  # its fate beyond that receiver is unknown
                if arrival_s is not None and not world.had_to_fail(sender, offer, until_s, arrival_s):
                    path = (sender, offer.receiver)
                    yield Lateness(task.id, "transfer", path, until_s, until_s - arrival_s, offer.sent_s)


def _ignored(_: float) -> None:
    pass


def _at_servers(world: ExactWorld, tasks: Sequence[TaskLine]) -> list[Lateness]:
    """Judge queue, service and sending of every task, in the order in which each server took the tasks."""
    served: dict[str, list[tuple[TaskLine, HopLine]]] = {}
    for task in tasks:
        for way in task.ways:
            for hop in way:
                served.setdefault(hop.node, []).append((task, hop))
    found = []
    for server, each in served.items():
        free_s = float("-inf")
        for task, hop in sorted(each, key=lambda one: one[1].started_s):
            left_s = hop.failed[0].sent_s if hop.failed else hop.sent_s
            for step, was_s, expected_s in (
                ("queue", hop.started_s, max(hop.received_s, free_s)),
                ("service", hop.finished_s, world.served_by_s(server, hop.started_s, task.sample)),
                ("sending", left_s, hop.finished_s),
            ):
                began_s = hop.started_s if step == "service" else 0.0
                late_s = was_s - expected_s
                found.append(Lateness(task.id, step, (server,), was_s, late_s, began_s))  # type: ignore[arg-type]
            free_s = hop.finished_s
    return found
