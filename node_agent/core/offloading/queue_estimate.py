"""The unfinished work at a receiver, as an offloader estimates it: last stated, then brought up to date.

The receiver states its unfinished work in acknowledgements, reports and statuses. The latest statement counts, by the
time of making. Since then the work has fallen by service, risen by the announced arrivals of others, and risen by the
own tasks on their way, one by one. `node_agent.dtoee.queue_state` has the law of the rest.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from node_agent.dtoee.queue_state import mean_wait_s, work_after_s
from node_agent.dtoee.queueing import RHO_EXTENSION
from node_agent.errors import refuse_negative


class Flow(NamedTuple):
    """The arrivals and the service that change a queue."""

    others_per_s: float  # arrival rate of the tasks that are not known one by one [task/s]
    service_per_s: float  # s, service rate [task/s]
    variability: float  # v, squared coefficient of variation of the service time [1]
    arrival_variability: float  # a, of the number of arrivals in a window [1]


@dataclass(slots=True)
class QueueEstimate:
    """The last statement of a receiver's unfinished work, and the own tasks on their way to it."""

    work_s: float = 0.0  # unfinished work as stated [s]
    at_s: float = -math.inf  # when the receiver stated it [s]; minus infinity if it has stated none
    under_way_s: list[float] = field(default_factory=list)  # when each unacknowledged task was sent [s], oldest first

    def told(self, work_s: float, at_s: float) -> bool:
        """Take a statement of the receiver. Returns False, and ignores it, if a later one is known.

        Args:
            work_s: unfinished work [s].
            at_s: when the receiver made the statement [s].
        """
        if at_s < self.at_s:
            return False
        self.work_s, self.at_s = work_s, at_s
        return True

    def forget(self) -> None:
        """Forget the statements, not the tasks on their way: the receiver was away."""
        self.work_s, self.at_s = 0.0, -math.inf

    def age_s(self, now_s: float) -> float:
        """Time since the last statement [s]; infinite without one."""
        return now_s - self.at_s

    def sent(self, now_s: float) -> None:
        """Count an own task that is sent at `now_s` [s]."""
        self.under_way_s.append(now_s)

    def settled(self, sent_s: float) -> None:
        """Stop counting the own task that was sent at `sent_s` [s]."""
        if sent_s in self.under_way_s:
            self.under_way_s.remove(sent_s)

    def overdue_s(self, now_s: float, back_s: float) -> float:
        """Least time that the oldest own task on its way has taken: it had not arrived when an answer could leave [s].

        Args:
            now_s: the present time [s].
            back_s: time of an acknowledgement from the receiver [s].
        """
        return now_s - back_s - self.under_way_s[0] if self.under_way_s else 0.0

    def at(self, arrival_s: float, link_s: float, known_until_s: float, flow: Flow) -> float:
        """Expected unfinished work that a task finds [s].

        Args:
            arrival_s: when the task will arrive [s].
            link_s: transfer time of a task to the receiver [s].
            known_until_s: no own task on its way had arrived by then: its acknowledgement would be here [s].
            flow: the arrivals of others, and the service.
        """
        work_s, time_s = self.work_s, self.at_s
        if time_s == -math.inf:
            others_per_s = min(flow.others_per_s, RHO_EXTENSION * flow.service_per_s)
            work_s, time_s = mean_wait_s(others_per_s, *flow[1:]), known_until_s
            if not self.under_way_s:
                return work_s
        for sent_s in self.under_way_s:
            came_s = sent_s + link_s
            if came_s > self.at_s or known_until_s > self.at_s:  # else the statement includes it
                came_s = max(came_s, known_until_s)
                work_s = work_after_s(work_s, came_s - time_s, *flow) + 1 / flow.service_per_s
                time_s = came_s
        return work_after_s(work_s, arrival_s - time_s, *flow)

    def validate(self, receiver: str) -> None:
        """Raise InvalidState if the work is negative or no number."""
        refuse_negative(f"queue of {receiver}", work_s=self.work_s)
