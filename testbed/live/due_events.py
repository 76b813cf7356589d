"""What is due of a scenario's events, for a run that may be behind them."""

from collections import deque
from collections.abc import Callable, Sequence

from testbed.scenario import Event


class DueEvents:
    """The events in their order; of the steps of network traces that are overdue, each link's newest alone.

    Where a link's two directions follow two traces, each is counted as a link here.

    Decision: a run that cannot keep up leaves steps out, so that its links are never further behind their traces than
    one round over all of them takes. Rejected: injecting every step (25,000 in 10 s were late by 0.13 s in the median
    and 1 s at the end, each in force for a moment that was not its own).
    """

    def __init__(self, events: Sequence[Event], on_skip: Callable[[], None]) -> None:
        """`events` are sorted by time; `on_skip` is called for every step that is left out."""
        self._ahead = deque(events)
        self._on_skip = on_skip
        # In the order in which they became due; a newer step takes the place of an older one, so that every link gets
        # its turn. Events do not change links that follow a trace: nothing comes between the steps of one link.
        self._due: dict[object, Event] = {}

    def next_at_s(self) -> float | None:
        """When there is something to take; None if nothing is left."""
        if self._due:
            return next(iter(self._due.values())).at_s
        return self._ahead[0].at_s if self._ahead else None

    def take(self, now_s: float) -> Event | None:
        """The next that is due, if any is."""
        while self._ahead and self._ahead[0].at_s <= now_s:
            event = self._ahead.popleft()
            key: object = object()
            if event.traced:
                key = tuple(event.shapes)
            if key in self._due:
                self._on_skip()
            self._due[key] = event
        if not self._due:
            return None
        return self._due.pop(next(iter(self._due)))
