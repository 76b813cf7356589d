"""The budget of control messages: offers, reports and statuses take a small share of each link's rate.

A token bucket per neighbour. It fills at `share` times the link's rate and holds what comes in a second, but at least
`LEAST_BYTES`, so that a node at rest can react at once. Messages that a node is free to send wait until the bucket is
not empty. Answers are always sent: their bytes may leave the bucket below zero, and the next free message waits longer.
"""

import math
from dataclasses import dataclass

from node_agent.errors import InvalidState, refuse_negative
from node_agent.wire import Message, encode

USUAL_BYTE_PER_S = 125_000.0  # rate of a link that is not known yet, 1 Mbit/s [B/s]
HEADER_BYTES = 70  # of ZeroMQ, TCP, IP and Ethernet for one small message [B]
BURST_S = 1.0  # the bucket holds the bytes of this time [s]
LEAST_BYTES = 4_000.0  # and at least these [B]: a few offers and reports


@dataclass(slots=True)
class _Bucket:
    """The tokens of one neighbour."""

    byte_per_s: float  # rate at which it fills [B/s]
    tokens: float  # bytes that may be sent now; below zero after answers that were due
    at_s: float  # when they were counted [s]; below zero before the run starts

    @property
    def most(self) -> float:
        """Tokens of a full bucket."""
        return max(LEAST_BYTES, BURST_S * self.byte_per_s)


class Budget:
    """The bytes of control messages that a node may send to each neighbour."""

    def __init__(self, share: float) -> None:
        """`share` is the part of a link's rate that control messages may take, above 0."""
        self._share = share
        self._buckets: dict[str, _Bucket] = {}

    def _bucket(self, peer: str, now_s: float) -> _Bucket:
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = _Bucket(self._share * USUAL_BYTE_PER_S, 0.0, now_s)
            bucket.tokens = bucket.most
        elapsed_s = max(0.0, now_s - bucket.at_s)
        bucket.tokens = min(bucket.most, bucket.tokens + elapsed_s * bucket.byte_per_s)
        bucket.at_s = max(now_s, bucket.at_s)
        return bucket

    def learn(self, peer: str, byte_per_s: float, now_s: float) -> None:
        """Take the rate of the link to a neighbour [B/s]; a bucket that is now too full loses the rest."""
        bucket = self._bucket(peer, now_s)
        bucket.byte_per_s = self._share * byte_per_s
        bucket.tokens = min(bucket.tokens, bucket.most)

    def spend(self, peer: str, message: Message, now_s: float) -> None:
        """Count a control message that is sent to a neighbour."""
        self._bucket(peer, now_s).tokens -= len(encode(message)[0]) + HEADER_BYTES

    def allows(self, peer: str, now_s: float) -> bool:
        """Return True if a message may be sent to a neighbour now that is not an answer."""
        return self._bucket(peer, now_s).tokens > 0

    def wait_s(self, peer: str, now_s: float) -> float:
        """Return the time until the next such message may be sent [s]; 0 if it may be sent now."""
        bucket = self._bucket(peer, now_s)
        return max(0.0, -bucket.tokens / bucket.byte_per_s) if bucket.tokens <= 0 else 0.0

    def validate(self, now_s: float) -> None:
        """Raise InvalidState unless each bucket fills, and holds no more than it can."""
        for peer, bucket in self._buckets.items():
            refuse_negative(f"budget of {peer}", byte_per_s=bucket.byte_per_s)
            finite = math.isfinite(bucket.tokens) and math.isfinite(bucket.at_s)
            if not finite or bucket.tokens > bucket.most or bucket.at_s > now_s:
                raise InvalidState(f"budget of {peer}", f"{bucket.tokens} of {bucket.most} bytes at {bucket.at_s} s")
