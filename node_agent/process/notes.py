"""Thins out the events that a node publishes, so that a flood of one kind does not drown the others."""

from collections import Counter

import msgspec

from node_agent.records import EventKind, EventRecord

EVENTS_TOLD = 8  # events of each kind that pass before they are thinned out


class EventThinner:
    """Passes the first few events of each kind, then the 16th, the 32nd, the 64th, ..."""

    def __init__(self) -> None:
        self._noted: Counter[EventKind] = Counter()

    def thinned(self, event: EventRecord) -> EventRecord | None:
        """Return the event to publish, with the count of its kind if thinned out; None if it is dropped."""
        self._noted[event.kind] += 1
        count = self._noted[event.kind]
        if count <= EVENTS_TOLD:
            return event
        if count & (count - 1):
            return None
        return msgspec.structs.replace(event, detail=f"{event.detail} ({count} times so far)")
