"""The data plane of an edge server: a FIFO queue, one sub-model, an early exit, and the next hop."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from node_agent.core.changes import WatchedServiceTime
from node_agent.core.config import NodeConfig
from node_agent.core.device import ack_wait_s
from node_agent.core.estimators import ArrivalVariability, ServiceTime
from node_agent.core.events import ComputeFinished, TimerKey
from node_agent.core.offloading.neighbour import Receiver
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState, TestbedError, refuse_negative
from node_agent.exit_criteria import CRITERIA, score_of
from node_agent.wire import Ack, ExitAnswer, Handover, Hop, Result, Task, Tensor

MOST_CONFIDENCE = 1.001  # a float32 softmax may round above one


@dataclass(slots=True)
class QueuedTask:
    """A task waiting or in service."""

    task: Task
    tensor: Tensor
    received_s: float


@dataclass(frozen=True, slots=True)
class ServedTask:
    """A task that the sub-model has answered."""

    task: Task
    outcome: ComputeFinished
    score: float  # of the answer by the exit criterion, 0 to 1
    received_s: float
    started_s: float
    finished_s: float

    def hop(self, node: str, sent_s: float, failed: Sequence[Handover] = ()) -> Hop:
        """Return the record of this server's part that travels with the task or its result."""
        late_s = self.outcome.late_s
        return Hop(node, self.received_s, self.started_s, self.finished_s, sent_s, late_s, tuple(failed))


@dataclass(slots=True)
class ForwardedTask:
    """A task that was sent on, kept until it is acknowledged."""

    served: ServedTask
    activation: Tensor
    receiver: Receiver
    attempt: int
    sent_s: float = 0.0
    failed: list[Handover] = field(default_factory=list)  # earlier handovers, which no receiver answered

    def validate(self, sequence: int, last_sequence: int) -> None:
        """Raise InvalidState unless `sequence` was used and no receiver was tried twice."""
        part = f"forwarded task {self.served.task.task_id}"
        if not 1 <= sequence <= last_sequence or self.attempt < 1:
            raise InvalidState(part, f"message {sequence} of {last_sequence}, attempt {self.attempt}")
        tried = [*(handover.receiver for handover in self.failed), self.receiver.name]
        if len(set(tried)) != len(tried):
            raise InvalidState(part, f"tried {tried}, one of them twice")


class ServerTasks:
    """Serves tasks one at a time. A task with a confident answer exits; any other goes to the next stage."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._criterion = CRITERIA[config.criterion]
        self._routing = routing
        self._outbox = outbox
        self._queue: deque[QueuedTask] = deque()
        self._held: set[tuple[str, int]] = set()  # tasks waiting or in service: device, number
        self._serving: QueuedTask | None = None
        self._calibrating = False
        self._started_s = 0.0
        # By the number of the message. Task and attempt would not do: a device that offers a task again counts its own
        # attempts, so that two messages with one task and attempt may be under way.
        self._forwarded: dict[int, ForwardedTask] = {}
        self._sequence = 0
        estimator = WatchedServiceTime if routing.policy.continuous else ServiceTime
        self.service = estimator(config.declared_rate_per_s)
        self.arrivals = ArrivalVariability()
        self.arrived = self.served = self.exits = self.forwards = self.overruns = 0
        self.work_flop = self.served_s = 0.0  # of the tasks whose service ended
        self._served_at_last_calibration = 0

    @property
    def backlog(self) -> int:
        """Tasks waiting or in service."""
        return len(self._queue) + (self._serving is not None)

    @property
    def arrival_variability(self) -> float:
        """Variability a of the arrivals by which waiting is priced; at least 1 if offloaders choose by fresh queues.

        Such offloaders make arrivals even by avoiding queues. The prices are those of the plan that they improve upon,
        in which tasks arrive at random: then their choice is the first step of policy iteration (`dtoee.queue_state`).
        """
        measured = self.arrivals.variability
        return max(1.0, measured) if self._routing.policy.fresh else measured

    @property
    def work_s(self) -> float:
        """Unfinished work of the tasks waiting or in service, by the measured mean service time [s].

        A task in service for longer than the mean, by e, is expected to need e more.
        """
        left_s = 0.0
        if self._serving is not None:
            left_s = abs(1 / self.service.rate_per_s() - (self._outbox.now_s - self._started_s))
        return left_s + len(self._queue) / self.service_rate_per_s

    @property
    def in_service_s(self) -> float | None:
        """Time that the present task has been in service [s]; None if there is none."""
        return self._outbox.now_s - self._started_s if self._serving is not None else None

    @property
    def service_rate_per_s(self) -> float:
        """Measured service rate [task/s]; a task that is in service for longer than the mean lowers it."""
        in_service_s = self._outbox.now_s - self._started_s if self._serving is not None else 0.0
        return self.service.rate_per_s(in_service_s)

    @property
    def computing(self) -> bool:
        """True while the sub-model runs, on a task or to measure its speed."""
        return self._serving is not None or self._calibrating

    def busy_s(self) -> float:
        """Return the time in service of tasks since the start [s], that of a service under way included."""
        return self.served_s + (self._outbox.now_s - self._started_s if self._serving is not None else 0.0)

    def receive(self, peer: str, task: Task, tensor: Tensor, received_s: float) -> None:
        """Take over and acknowledge a task that arrived from an offloader at `received_s` [s]."""
        if (task.device, task.task_id) not in self._held:  # else it was offered again while it waits here
            self.arrived += 1
            self.arrivals.arrived(received_s, self.service.rate_per_s())
            self._held.add((task.device, task.task_id))
            self._queue.append(QueuedTask(task, tensor, received_s))
        self._outbox.send_data(peer, Ack(task.task_id, task.sequence, received_s, self.backlog, self.work_s))
        self._serve_next()

    def calibrate_if_idle(self) -> None:
        """Measure this server's speed, if no task has done so since the last call.

        Without this, a server that others avoid because it was slow could not notice that it is fast again. A task that
        arrives meanwhile does not wait: the measurement is abandoned, and the task measures the speed.
        """
        idle = self._serving is None and not self._calibrating and not self._queue
        if idle and self.served == self._served_at_last_calibration and self._config.input_form is not None:
            form = self._config.input_form.usual
            self._calibrating, self._started_s = True, self._outbox.now_s
            self._outbox.compute(Tensor(form, bytes(form.byte_count)))
        self._served_at_last_calibration = self.served

    def finish(self, event: ComputeFinished) -> None:
        """Take the sub-model's answer: its task exits here or goes to the next stage.

        Raises:
            TestbedError: the confidence is no probability.
        """
        now_s = self._outbox.now_s
        duration_s = now_s - self._started_s
        self.overruns += event.overrun
        if not 0 <= event.confidence <= MOST_CONFIDENCE:  # NaN fails this, too
            raise TestbedError(
                f"the sub-model of stage {self._config.stage} answered with a confidence of {event.confidence}",
                hint="its numbers overflow: use activation: float32, or another model",
            )
        if self._calibrating:
            self._calibrating = False
            self.service.reset(duration_s)
        elif self._serving is not None:
            queued, self._serving = self._serving, None
            self._held.discard((queued.task.device, queued.task.task_id))
            self.served_s += duration_s
            self.service.observe(duration_s)
            self.served += 1
            self.work_flop += event.work_flop
            score = self._score(queued.task, event)
            self._dispatch(ServedTask(queued.task, event, score, queued.received_s, self._started_s, now_s))
        self._serve_next()

    def can_judge(self, task: Task) -> bool:
        """True if a task carries the answers of earlier exits that the exit criterion needs."""
        return self._criterion.of_one_exit or len(task.answers) == self._config.stage - 1

    def _score(self, task: Task, outcome: ComputeFinished) -> float:
        """Return the score of an answer by the exit criterion, 0 to 1."""
        if self._criterion.of_one_exit:
            return outcome.confidence
        passed = [(answer.confidence, answer.prediction) for answer in task.answers]
        return score_of(self._criterion, passed, outcome.confidence, outcome.prediction, self._config.stages)

    def _serve_next(self) -> None:
        if self._calibrating and self._queue:
            self._calibrating = False
            self._outbox.stop_computing()
        if self._serving is None and self._queue:
            self._serving = self._queue.popleft()
            self._started_s = self._outbox.now_s
            self._outbox.compute(self._serving.tensor)

    def _dispatch(self, served: ServedTask) -> None:
        activation, receiver = served.outcome.activation, None
        if activation is not None and self._routing.policy.prices_exits:
            receiver = self._routing.choose()
        threshold = self._routing.task_threshold(receiver)
        if activation is None or threshold is None or served.score >= threshold:
            self._exit(served)
            return
        receiver = receiver or self._routing.choose()
        if receiver is None:
            self._exit(served, forced=True)
            return
        self.forwards += 1
        self._forward(ForwardedTask(served, activation, receiver, served.task.attempt))

    def _exit(self, served: ServedTask, *, failed: Sequence[Handover] = (), forced: bool = False) -> None:
        self.exits += 1
        if forced:
            self._outbox.note("forced-exit", f"task {served.task.task_id}: no receiver answers")
        result = Result(
            task_id=served.task.task_id,
            attempt=served.task.attempt,
            prediction=served.outcome.prediction,
            confidence=min(1.0, served.score),
            exit_stage=self._config.stage,
            forced=forced,
            hops=(*served.task.hops, served.hop(self._config.name, self._outbox.now_s, failed)),
        )
        self._outbox.send_data(served.task.device, result)

    def _forward(self, item: ForwardedTask) -> None:
        task, now_s = item.served.task, self._outbox.now_s
        self._sequence = sequence = self._sequence + 1
        hops = (*task.hops, item.served.hop(self._config.name, now_s, item.failed))
        answers = task.answers
        if not self._criterion.of_one_exit:
            outcome = item.served.outcome
            answers = (*answers, ExitAnswer(outcome.prediction, min(1.0, outcome.confidence)))
        message = Task(task.task_id, task.device, item.attempt, sequence, now_s, hops, item.activation.form, answers)
        item.sent_s = now_s
        item.receiver.set_out(now_s)
        self._forwarded[sequence] = item
        self._outbox.send_data(item.receiver.name, message, item.activation)
        self._outbox.timer(("ack", sequence), ack_wait_s(self._config, item.receiver))

    def acknowledged(self, peer: str, ack: Ack) -> None:
        """Take an acknowledgement of the next stage: forget the task."""
        item = self._forwarded.get(ack.sequence)
        if item is None or (item.receiver.name, item.served.task.task_id) != (peer, ack.task_id):
            return  # the task was given up, or the message is from before a restart of this server
        del self._forwarded[ack.sequence]
        item.receiver.link.observe_task(ack.received_s - item.sent_s)
        item.receiver.settle(item.sent_s, ack)
        self._outbox.cancel(("ack", ack.sequence))

    def timer(self, key: TimerKey) -> None:
        """Send a task that was not acknowledged to another receiver; if there is none, it exits here."""
        item = self._forwarded.pop(int(key[1]), None)
        if item is None:
            return
        item.receiver.settle(item.sent_s)
        self._routing.lost_contact(item.receiver, f"task {item.served.task.task_id} not acknowledged")
        item.failed.append(Handover(item.receiver.name, item.sent_s))
        receiver = self._routing.choose(avoid={each.receiver for each in item.failed})
        if receiver is None:
            self._exit(item.served, failed=item.failed, forced=True)
            return
        item.receiver = receiver
        item.attempt += 1
        self._forward(item)

    def validate(self) -> None:
        """Raise InvalidState unless held tasks are queued or in service, and each forwarded one has its timer."""
        refuse_negative(
            "tasks", served=self.served, exits=self.exits, forwards=self.forwards, overruns=self.overruns,
            served_s=self.served_s, work_flop=self.work_flop,
        )  # fmt: skip
        self.service.validate()
        self.arrivals.validate()
        waiting = [(queued.task.device, queued.task.task_id) for queued in self._queue]
        if self._serving is not None:
            waiting.append((self._serving.task.device, self._serving.task.task_id))
        if sorted(waiting) != sorted(self._held):
            raise InvalidState("tasks", f"{waiting} are in the queue or served, but {sorted(self._held)} are held")
        if self.arrived != self.served + self.backlog:
            raise InvalidState("tasks", f"{self.arrived} arrived, but {self.served} served + {self.backlog} held")
        if self.served > self.exits + self.forwards:
            raise InvalidState("tasks", f"{self.served} served, but {self.exits} exits + {self.forwards} forwarded")
        if self._calibrating if self._serving is not None else self._queue:
            state = f"serving: {self._serving is not None}, measuring: {self._calibrating}"
            raise InvalidState("tasks", f"{state}, {len(self._queue)} in the queue")
        for sequence, item in self._forwarded.items():
            item.validate(sequence, self._sequence)
        self._outbox.validate_timers(("ack",), {("ack", sequence) for sequence in self._forwarded})
        self._routing.validate(Counter(item.receiver.name for item in self._forwarded.values()))
