"""Importing a workload: requests of a published trace become tasks of a topology's devices.

Decision 115: an import thins a trace, and never repeats or overlays it
(docs/decisions/115-an-import-never-overlays.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node_agent.errors import InputError
from testbed.scenario import Device
from testbed.trace.error import TraceError
from testbed.trace.files import nameable
from testbed.trace.importers.assignment import DeviceChoice, Devices, Lengths, SampleChoice, check_samples, dealt, needs
from testbed.trace.importers.contract import TICKS_PER_S, Batch, Importer, Integers
from testbed.trace.importers.requests import Sieve, Source, Tally
from testbed.trace.importers.spool import Spool
from testbed.trace.workload import MAX_TIME_S, Arrival, write_trace

_DEALT = -1  # a sample that is dealt when the order of all tasks is known


@dataclass(frozen=True, slots=True)
class Target:
    """The topology for which a trace is imported.

    Attributes:
        devices: its devices.
        sample_count: samples of its model.
        lengths: lengths of the samples, (N,); None if all are equal.
    """

    devices: Sequence[Device]
    sample_count: int
    lengths: Integers | None = None


@dataclass(frozen=True, slots=True)
class Treatment:
    """The way in which requests become tasks.

    Attributes:
        devices: None: by the key if the format or the user names one, otherwise "spread".
        samples: None: by the column if there is one, by length if source and model have lengths, otherwise "deal".
        speed: time passes this many times faster.
        seed: of all draws.
    """

    devices: DeviceChoice | None = None
    samples: SampleChoice | None = None
    speed: float = 1.0
    seed: int = 1


@dataclass(slots=True)
class Imported:
    """The outcome of an import.

    Attributes:
        tally: the requests of the source.
        span_s: time of the last task [s].
        used: devices with a task.
        devices: the way in which devices were chosen.
        samples: the way in which samples were chosen.
        together: tasks whose time is that of the one before.
        longer: requests that are longer than the longest sample.
    """

    tally: Tally
    span_s: float = 0.0
    used: int = 0
    devices: DeviceChoice = "spread"
    samples: SampleChoice = "deal"
    together: int = 0
    longer: int = 0


def import_trace(source: Source, target: Target, out: Path | str, sieve: Sieve, treatment: Treatment) -> Imported:
    """Import trace files as the workload trace `out`, in constant memory.

    Times count from the start of the window, or else from the first request of the source within it.

    Raises:
        TraceError: a file is faulty, or no request is left.
        InputError: a file cannot be read or written, or a choice does not suit source and topology.
    """
    if target.sample_count < 1:
        raise InputError("there is no sample to offer", hint="the model's evaluation split is empty")
    tally = Tally()
    done = Imported(tally)
    folder = nameable(out).absolute().parent
    if not folder.is_dir():
        raise InputError(f"{out}: cannot be written: there is no folder {folder}", hint="choose another --out")
    with Spool(folder) as spool:
        names = _fill(spool, source, target, sieve, treatment, done)
        zero = tally.earliest if sieve.window.start is None else sieve.window.start
        assert zero is not None
        write_trace(out, _tasks(spool, zero, names, target, treatment, done))
    return done


def _fill(
    spool: Spool, source: Source, target: Target, sieve: Sieve, treatment: Treatment, done: Imported
) -> Sequence[str]:
    """Read the source into the spool. Returns the names of the devices."""
    thinning, placing, choosing = (
        np.random.Generator(np.random.PCG64([treatment.seed, purpose])) for purpose in range(3)
    )
    devices: Devices | None = None
    lengths = None if target.lengths is None else Lengths(target.lengths)
    for batch, importer, file in source.batches(sieve, done.tally, thinning):
        if devices is None:
            done.devices = _device_choice(importer, batch, source, treatment)
            done.samples = _sample_choice(batch, target, treatment)
            devices = Devices(target.devices, done.devices, treatment.seed)
        every = np.arange(len(batch.ticks))
        if done.samples == "column":
            samples = check_samples(batch, every, target.sample_count, file)
        elif done.samples == "length" and lengths is not None and batch.tokens is not None:
            samples = lengths.nearest(batch.tokens, choosing)
            done.longer += int((batch.tokens > lengths.longest).sum())
        else:
            samples = np.full(len(every), _DEALT)
        spool.add(batch.ticks, devices.of(batch, every, placing, file), samples)
    assert devices is not None
    return devices.names


def _device_choice(importer: Importer, batch: Batch, source: Source, treatment: Treatment) -> DeviceChoice:
    names = importer.states_device or (source.columns.device is not None and importer.key is None)
    choice = treatment.devices or ("spread" if batch.keys is None else "names" if names else "hash")
    needs(f"--devices {choice}", choice == "spread" or batch.keys is not None, "a column: --device-column NAME")
    return choice


def _sample_choice(batch: Batch, target: Target, treatment: Treatment) -> SampleChoice:
    by_length = batch.tokens is not None and target.lengths is not None
    choice = treatment.samples or ("column" if batch.samples is not None else "length" if by_length else "deal")
    if choice == "column":
        needs("--samples column", batch.samples is not None, "a column: --sample-column NAME")
    elif choice == "length":
        needs("--samples length", by_length, "tokens in the trace, and samples of several lengths")
    return choice


def _tasks(
    spool: Spool, zero: int, names: Sequence[str], target: Target, treatment: Treatment, done: Imported
) -> Iterator[Arrival]:
    """Yield the tasks in the order of time, and count them in `done`."""
    deck = dealt(np.random.Generator(np.random.PCG64([treatment.seed, 3])), target.sample_count)
    per_s = TICKS_PER_S * treatment.speed
    used = np.zeros(len(names), dtype=bool)
    last = -1
    for block in spool.sorted():
        # Whole microseconds, so that a written trace reads back equal.
        ticks = np.rint((block["ticks"] - zero) / treatment.speed).astype(np.int64)
        if ticks[-1] > MAX_TIME_S * TICKS_PER_S:
            message = f"the trace lasts {(int(block['ticks'][-1]) - zero) / per_s:.3g} s, beyond {MAX_TIME_S:g} s"
            raise TraceError([message], hint="take a part of it by --window, or let its time pass faster by --speed")
        used[block["device"]] = True
        done.together += int((np.diff(ticks, prepend=last) == 0).sum())
        last = int(ticks[-1])
        done.span_s = last / TICKS_PER_S
        for tick, device, sample in zip(
            ticks.tolist(), block["device"].tolist(), block["sample"].tolist(), strict=True
        ):
            yield Arrival(tick / TICKS_PER_S, names[device], next(deck) if sample == _DEALT else sample)
    done.used = int(used.sum())
