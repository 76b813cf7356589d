"""The data plane of an end device: it owns each task until the result is back, and publishes its end exactly once."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from node_agent.core.changes import WatchedArrivalRate
from node_agent.core.config import NodeConfig
from node_agent.core.estimators import ArrivalRate
from node_agent.core.events import TaskArrived, TimerKey
from node_agent.core.offloading.neighbour import Receiver
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState, refuse_negative
from node_agent.records import RepeatRecord, TaskRecord, lost_task, refused_task
from node_agent.wire import Ack, Handover, Result, Task, Tensor

RATE_WINDOW_SLOTS = 4  # window of the arrival rate, in slots
DELAY_WEIGHT = 0.1  # weight of a new result in the usual delay
RESULT_PATIENCE = 4.0  # wait for a result at least this many times the usual delay


@dataclass(slots=True)
class OwnedTask:
    """A task that its device has offered, until its result is back or it is lost."""

    task_id: int
    sample: int
    created_s: float
    lateness_s: float
    tensor: Tensor
    predicted_delay_s: float | None
    attempts: int = 0
    receiver: Receiver | None = None
    sequence: int = 0  # of the message that offered it last
    taken_over: bool = True  # `receiver` has acknowledged it, or it is given up there
    sent_s: float = 0.0
    offers: list[Handover] = field(default_factory=list)  # all so far, in order

    def validate(self, last_sequence: int, most_attempts: int) -> None:
        """Raise InvalidState unless the task was offered, and its last offer went to its receiver."""
        part = f"task {self.task_id}"
        if not 1 <= self.attempts <= most_attempts or not 1 <= self.sequence <= last_sequence:
            numbers = f"attempt {self.attempts} of at most {most_attempts}, message {self.sequence} of {last_sequence}"
            raise InvalidState(part, f"{numbers}")
        last, now_at = self.offers[-1:], self.receiver.name if self.receiver is not None else None
        if len(self.offers) != self.attempts or [offer.receiver for offer in last] != [now_at]:
            raise InvalidState(part, f"offered {self.attempts} times, last to {now_at}, but {self.offers} are kept")


class DeviceTasks:
    """Offers tasks and waits for their results; offers a task again if an acknowledgement or a result fails to come."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._outbox = outbox
        self._owned: dict[int, OwnedTask] = {}
        estimator = WatchedArrivalRate if routing.policy.continuous else ArrivalRate
        self.rate = estimator(config.declared_rate_per_s, RATE_WINDOW_SLOTS * config.slot_s)
        self._completed: set[int] = set()
        self._usual_delay_s = 0.0
        self._sequence = 0
        self.arrived = 0
        self.completed = 0
        self.lost = 0
        self.refused = 0
        self.duplicates = 0

    @property
    def unfinished(self) -> int:
        """Tasks without a result yet."""
        return len(self._owned)

    def arrive(self, event: TaskArrived) -> None:
        """Offer a task that the workload wants, or refuse it if its predicted delay exceeds the device's bound.

        The receiver is chosen first, and the delay is predicted for it. A receiver that has not reported, or does not
        answer, gets the task. A task that was admitted is never refused later, however often it is offered again.

        Decision 095: the announced rate is that of the admitted tasks, and receivers report their queues to devices
        that have a bound (docs/decisions/095-admission-by-predicted-delay.md).
        """
        self.arrived += 1
        lateness_s, bound_s = self._outbox.now_s - event.created_s, self._config.delay_bound_s
        receiver = self._choose(())
        predicted_s = (
            None
            if bound_s is None
            else receiver.predicted_delay_s(self._outbox.now_s, fresh=self._routing.policy.fresh)
        )
        if bound_s is not None and predicted_s is not None and predicted_s > bound_s:
            self.refused += 1
            self._outbox.publish(
                refused_task(
                    event.task_id, self._config.name, event.sample, event.created_s, lateness_s, predicted_s, bound_s
                )
            )
            return
        self.rate.arrived(self._outbox.now_s)
        task = OwnedTask(event.task_id, event.sample, event.created_s, lateness_s, event.tensor, predicted_s)
        self._owned[task.task_id] = task
        self._offer(task, receiver)

    def acknowledged(self, peer: str, ack: Ack) -> None:
        """Take an acknowledgement: the receiver has taken the task over."""
        task = self._owned.get(ack.task_id)
        if task is None or task.receiver is None or (peer, ack.sequence) != (task.receiver.name, task.sequence):
            return  # nobody waits for it, or it answers an earlier attempt, whose time of sending is no longer known
        if task.taken_over:
            return  # acknowledged already
        task.offers[-1] = Handover(task.receiver.name, task.sent_s, taken=True)
        task.receiver.link.observe_task(ack.received_s - task.sent_s)
        self._settle(task, ack)
        self._outbox.cancel(("ack", task.task_id))

    def result(self, result: Result) -> None:
        """Take a result. The first one completes the task; later ones are published as repeats."""
        task = self._owned.pop(result.task_id, None)
        if task is None:
            if result.task_id in self._completed:
                self.duplicates += 1
                self._outbox.publish(RepeatRecord(result.task_id, result.hops))
            return
        self.completed += 1
        self._settle(task)
        self._completed.add(result.task_id)
        self._usual_delay_s += DELAY_WEIGHT * (self._outbox.now_s - task.created_s - self._usual_delay_s)
        self._forget_timers(task)
        self._outbox.publish(
            TaskRecord(
                id=task.task_id,
                device=self._config.name,
                sample=task.sample,
                prediction=result.prediction,
                exit_stage=result.exit_stage,
                created_s=task.created_s,
                completed_s=self._outbox.now_s,
                status="completed",
                reason=None,
                attempts=max(task.attempts, result.attempt),  # servers may have offered it again, too
                lateness_s=task.lateness_s,
                forced_exit=result.forced,
                hops=result.hops,
                offers=tuple(task.offers),
                predicted_delay_s=task.predicted_delay_s,
            )
        )

    def timer(self, key: TimerKey) -> None:
        """Offer a task again whose acknowledgement or result is overdue; after the last attempt it is lost."""
        task = self._owned.get(int(key[1]))
        if task is None:
            return
        self._settle(task)
        if key[0] == "ack" and task.receiver is not None:
            self._routing.lost_contact(task.receiver, f"task {task.task_id} not acknowledged")
        if task.attempts >= self._config.max_attempts:
            self._lose(task)
        else:
            self._offer(task, self._choose({task.receiver.name} if task.receiver else ()))

    def _choose(self, avoid: Collection[str]) -> Receiver:
        return self._routing.choose(avoid) or self._routing.any_receiver()

    def _offer(self, task: OwnedTask, receiver: Receiver) -> None:
        task.receiver, task.sent_s, task.taken_over = receiver, self._outbox.now_s, False
        receiver.set_out(task.sent_s)
        task.offers.append(Handover(receiver.name, task.sent_s))
        task.attempts += 1
        self._sequence += 1
        task.sequence = self._sequence
        message = Task(task.task_id, self._config.name, task.attempts, task.sequence, task.sent_s, (), task.tensor.form)
        self._outbox.send_data(receiver.name, message, task.tensor)
        self._outbox.timer(("ack", task.task_id), ack_wait_s(self._config, receiver))
        self._outbox.timer(("result", task.task_id), self._result_wait_s())

    def _settle(self, task: OwnedTask, ack: Ack | None = None) -> None:
        """Stop counting the task as on its way to its receiver."""
        if task.receiver is not None and not task.taken_over:
            task.taken_over = True
            task.receiver.settle(task.sent_s, ack)

    def _result_wait_s(self) -> float:
        """Return the wait for a result [s]. It grows with the usual delay, so that overload does not cause repeats."""
        return max(self._config.timeouts.result_s, RESULT_PATIENCE * self._usual_delay_s)

    def _lose(self, task: OwnedTask) -> None:
        del self._owned[task.task_id]
        self.lost += 1
        self._forget_timers(task)
        waited_s = self._outbox.now_s - task.created_s
        self._outbox.publish(
            lost_task(
                task.task_id,
                self._config.name,
                task.sample,
                task.created_s,
                f"no result after {task.attempts} attempts in {waited_s:.1f} s",
                attempts=task.attempts,
                lateness_s=task.lateness_s,
            )
        )

    def validate(self) -> None:
        """Raise InvalidState unless every task is in exactly one place: owned, completed, lost or refused.

        An owned task has been acknowledged by its receiver or is counted there as under way, and has its timers set.
        """
        refuse_negative(
            "tasks", duplicates=self.duplicates, lost=self.lost, refused=self.refused, usual_delay_s=self._usual_delay_s
        )
        self.rate.validate(self._outbox.now_s)
        if self.refused and self._config.delay_bound_s is None:
            raise InvalidState("tasks", f"{self.refused} refused without a bound")
        ended = self.completed + self.lost + self.refused
        if self.arrived != ended + len(self._owned) or self.completed != len(self._completed):
            ends = (
                f"{self.completed} completed ({len(self._completed)} known) + {self.lost} lost + {self.refused} refused"
            )
            raise InvalidState("tasks", f"{self.arrived} arrived, but {ends} + {len(self._owned)} owned")
        if both := self._owned.keys() & self._completed:
            raise InvalidState("tasks", f"{sorted(both)} are owned and completed")
        for task in self._owned.values():
            task.validate(self._sequence, self._config.max_attempts)
        under_way = [task for task in self._owned.values() if not task.taken_over]
        wanted = {("result", number) for number in self._owned} | {("ack", task.task_id) for task in under_way}
        self._outbox.validate_timers(("ack", "result"), wanted)
        self._routing.validate(Counter(task.receiver.name for task in under_way if task.receiver is not None))

    def _forget_timers(self, task: OwnedTask) -> None:
        self._outbox.cancel(("ack", task.task_id))
        self._outbox.cancel(("result", task.task_id))


def ack_wait_s(config: NodeConfig, receiver: Receiver) -> float:
    """Return the wait for an acknowledgement [s]. It grows with the link's time: a slow link must not seem dead."""
    return max(config.timeouts.ack_s, 8 * receiver.link.transfer_s)
