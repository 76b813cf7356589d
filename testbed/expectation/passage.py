"""The way that a task took in a run, as tasks.jsonl records it."""

import msgspec
from msgspec import Struct

from node_agent.wire import Handover


class PassedHop(Struct, frozen=True):
    """One server on a task's way; `failed`: to whom it handed the task before, who did not answer."""

    node: str
    received_s: float
    started_s: float
    finished_s: float
    sent_s: float
    failed: tuple[Handover, ...] = ()


Way = tuple[PassedHop, ...]


class PassedTask(Struct, frozen=True):
    """A task of a run.

    `offers` are all that its device made, `hops` the way whose result came first, `repeats` the others: they were
    served, too, and other tasks waited behind them.
    """

    id: int
    device: str
    created_s: float
    status: str
    completed_s: float | None = None
    offers: tuple[Handover, ...] = ()
    hops: Way = ()
    repeats: tuple[Way, ...] = ()

    @property
    def ways(self) -> tuple[Way, ...]:
        """The one that counts first."""
        return (self.hops, *self.repeats)

    def offer_of(self, way: Way) -> Handover | None:
        """The offer with which a way began: the last one to its first server before the task came there.

        None where it is not known: runs of earlier versions do not say.
        """
        first = way[0]
        fitting = [each for each in self.offers if each.receiver == first.node and each.sent_s <= first.received_s]
        return fitting[-1] if fitting else None


decoder: msgspec.json.Decoder[PassedTask] = msgspec.json.Decoder(PassedTask)
