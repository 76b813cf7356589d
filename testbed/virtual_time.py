"""Virtual time: future actions in the order of their times."""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from node_agent.errors import InvalidState

Action = Callable[[Any], None]
Entry = list[Any]  # time, number, action (None once struck out), its argument; lists, since the heap compares them

SPAN_S = 0.25  # a power of two, so that every time belongs to exactly one span


class Calendar:
    """Actions by time [s]. Actions due at the same time run in the order in which they were entered.

    Decision 070: only the present span lies in a heap, later spans in lists
    (docs/decisions/070-spans-of-virtual-time.md).
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self.entered = 0
        self._heap: list[Entry] = []
        self._span = -math.inf  # number of the span in the heap; earlier entries go into the heap, too
        self._later: defaultdict[float, list[Entry]] = defaultdict(list)
        self._stopped = False

    def at(self, time_s: float, action: Action, argument: Any) -> Entry:  # noqa: ANN401 - whatever the action takes
        """Enter `action(argument)` at `time_s` [s], or now if that time has passed. Return the entry, for `strike`.

        An action at infinity never runs.
        """
        self.entered = number = self.entered + 1
        now_s = self.now_s
        entry: Entry = [time_s if time_s > now_s else now_s, number, action, argument]
        span = time_s // SPAN_S
        if span <= self._span:
            heapq.heappush(self._heap, entry)
        elif time_s < math.inf:
            self._later[span].append(entry)
        return entry

    @staticmethod
    def strike(entry: Entry) -> None:
        """Cancel an entry. Does nothing if its action has already run."""
        entry[2] = None

    def stop(self) -> None:
        """Make `run` return after the present action."""
        self._stopped = True

    def run(self, until_s: float, most: int) -> bool:
        """Run the actions due up to `until_s` [s], at most `most` entries.

        Returns:
            True if nothing is left that is due by then; False after `most` entries, or after `stop`.
        """
        self._stopped = False
        heap, pop = self._heap, heapq.heappop
        for _ in range(most):
            if not heap and not self._turn_to_next_span(until_s):
                self.now_s = max(self.now_s, until_s)
                return True
            if heap[0][0] > until_s:
                self.now_s = max(self.now_s, until_s)
                return True
            time_s, _, action, argument = pop(heap)
            if action is not None:
                self.now_s = time_s
                action(argument)
                if self._stopped:
                    return False
        return False

    def validate(self) -> None:
        """Raise InvalidState if the heap is out of order, a list belongs to the heap's span, or an entry is overdue."""
        heap = self._heap
        if any(entry[:2] < heap[(place - 1) // 2][:2] for place, entry in enumerate(heap) if place):
            raise InvalidState("calendar", f"the heap of span {self._span} is out of order: {[e[:2] for e in heap]}")
        if past := [entry[:2] for entry in heap if entry[2] is not None and entry[0] < self.now_s]:
            raise InvalidState("calendar", f"it is {self.now_s} s, but entries {past} still wait")
        if early := [span for span in self._later if span <= self._span]:
            raise InvalidState("calendar", f"span {self._span} is in the heap, but spans {early} wait for later")

    def _turn_to_next_span(self, until_s: float) -> bool:
        """Fill the empty heap from the lists; return False if nothing is left up to `until_s`."""
        last = until_s // SPAN_S
        while self._later and (span := min(self._later)) <= last:
            self._heap += [entry for entry in self._later.pop(span) if entry[2] is not None]
            self._span = span
            if self._heap:
                heapq.heapify(self._heap)
                return True
        return False
