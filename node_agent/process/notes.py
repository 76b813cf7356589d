"""What a node tells of unusual events, thinned out: a flood of one kind must not drown the rest."""

from collections import Counter

import msgspec

from node_agent.records import EventKind, EventRecord

EVENTS_TOLD = 8  # of each kind, before they are thinned out


class EventThinner:
    """Lets through, of each kind of event, the first few, then the 16th, 32nd, 64th, ..."""

    def __init__(self) -> None:
        self._noted: Counter[EventKind] = Counter()

    def thinned(self, event: EventRecord) -> EventRecord | None:
        """The event as it is to be told, with how often its kind has come; None to keep it back."""
        self._noted[event.kind] += 1
        count = self._noted[event.kind]
        if count <= EVENTS_TOLD:
            return event
        if count & (count - 1):
            return None
        return msgspec.structs.replace(event, detail=f"{event.detail} ({count} times so far)")
