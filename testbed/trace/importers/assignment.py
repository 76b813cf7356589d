"""Devices and samples for imported requests."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.suggest import closest
from testbed.scenario import Device
from testbed.trace.error import TraceError
from testbed.trace.importers.contract import Batch, Integers

DeviceChoice = Literal["spread", "hash", "names"]
SampleChoice = Literal["deal", "length", "column"]

_MOST_REMEMBERED = 100_000  # keys whose device is kept


class Devices:
    """The devices of a topology, to which requests are assigned in proportion to their rates.

    Args:
        devices: at least one.
        choice: "spread" draws the device of each request; "hash" gives all requests of a key one device, drawn by the
            key; "names" takes the key for the name of the device.
        seed: of the draws.
    """

    def __init__(self, devices: Sequence[Device], choice: DeviceChoice, seed: int) -> None:
        """Order the devices."""
        self.names = [device.name for device in devices]
        self._places = {name: place for place, name in enumerate(self.names)}
        rates = np.array([device.rate_per_s for device in devices])
        self._bounds = np.cumsum(rates / rates.sum())[:-1]
        self._choice = choice
        self._seed = seed
        self._of_key: dict[str, int] = {}

    def of(self, batch: Batch, kept: Integers, random: np.random.Generator, source: str) -> Integers:
        """Return the device of some rows of a batch by number, (k,).

        Args:
            batch: the requests.
            kept: the rows, (k,).
            random: for "spread".
            source: the file, for messages.

        Raises:
            TraceError: a name is no device of the topology.
        """
        if self._choice == "spread":
            return np.searchsorted(self._bounds, random.random(len(kept)), side="right")
        assert batch.keys is not None
        if len(self._of_key) > _MOST_REMEMBERED:
            self._of_key.clear()
        found = []
        for row in kept.tolist():
            key = batch.keys[row]
            place = self._of_key.get(key)
            if place is None:
                place = self._named(key, batch.lines[row], source) if self._choice == "names" else self._hashed(key)
                self._of_key[key] = place
            found.append(place)
        return np.array(found, dtype=np.int64)

    def _named(self, key: str, line: int, source: str) -> int:
        place = self._places.get(key.strip())
        if place is None:
            guess = closest(key, self._places)
            hint = f"did you mean {guess}?" if guess else "assign devices by the column's values: --devices hash"
            raise TraceError([f"{source}:{line}: the topology has no device {key[:40]!r}"], hint=hint)
        return place

    def _hashed(self, key: str) -> int:
        digest = hashlib.blake2b(f"{self._seed}\0{key}".encode(), digest_size=8).digest()
        return int(np.searchsorted(self._bounds, int.from_bytes(digest) / 2**64, side="right"))


class Lengths:
    """Samples by their lengths: a request gets one of the samples whose length is nearest to its own, by chance.

    Args:
        lengths: of the samples, (N,).
    """

    def __init__(self, lengths: npt.NDArray[np.int64]) -> None:
        """Sort the samples."""
        self._order = np.argsort(lengths, kind="stable")
        self._known, self._starts = np.unique(lengths[self._order], return_index=True)
        self._counts = np.diff([*self._starts, len(lengths)])
        self.longest = int(self._known[-1])

    def nearest(self, tokens: Integers, random: np.random.Generator) -> Integers:
        """Return a sample for each request of these lengths, (k,)."""
        above = np.clip(np.searchsorted(self._known, tokens), 1, len(self._known) - 1) if len(self._known) > 1 else 0
        below = np.maximum(above - 1, 0)
        nearer = np.abs(self._known[above] - tokens) < np.abs(tokens - self._known[below])
        place = np.where(nearer, above, below)
        return np.asarray(self._order[self._starts[place] + random.integers(self._counts[place])], dtype=np.int64)


def check_samples(batch: Batch, kept: Integers, sample_count: int, source: str) -> Integers:
    """Return the samples that some rows of a batch state, (k,). Raises TraceError if the model has not one of them."""
    assert batch.samples is not None
    samples = batch.samples[kept]
    wrong = np.flatnonzero(samples >= sample_count)
    if len(wrong):
        row = int(kept[wrong[0]])
        message = f"{source}:{batch.lines[row]}: sample {batch.samples[row]} does not exist"
        hint = f"the model has {sample_count} samples, from 0; or let samples be dealt: --samples deal"
        raise TraceError([message], hint=hint)
    return samples


def dealt(random: np.random.Generator, sample_count: int) -> Iterator[int]:
    """Deal samples without end; each shuffled deck of all samples is used up before the next."""
    while True:
        yield from random.permutation(sample_count).tolist()


def needs(choice: str, has: bool, what: str) -> None:
    """Raise InputError if a choice needs something that the source or the model has not."""
    if not has:
        raise InputError(f"{choice} needs {what}", hint="leave the option out")
