"""The agenda of a scenario's events, for a run that may be late."""

from collections import deque
from collections.abc import Callable, Sequence

from testbed.scenario import Event


class DueEvents:
    """Yields events in order of time. Of a link's overdue trace steps, it yields only the newest.

    If the two directions of a link follow two traces, each direction counts as a link here.

    Decision 061: a late run skips trace steps (docs/decisions/061-late-runs-skip-trace-steps.md).
    """

    def __init__(self, events: Sequence[Event], on_skip: Callable[[], None]) -> None:
        """`events` are sorted by time; `on_skip` is called for every skipped step."""
        self._ahead = deque(events)
        self._on_skip = on_skip
        # In the order in which they became due. A newer step replaces an older one in its place, so every link gets its
        # turn. Links that follow a trace change by their steps only, so replacing a step reorders nothing.
        self._due: dict[object, Event] = {}

    def next_at_s(self) -> float | None:
        """Return the time of the next event [emulated s]; None if no event is left."""
        if self._due:
            return next(iter(self._due.values())).at_s
        return self._ahead[0].at_s if self._ahead else None

    def take(self, now_s: float) -> Event | None:
        """Remove and return the next event that is due at `now_s` [emulated s]; None if none is due."""
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
