"""Workload traces (device, sample and time of every task): read, check, write and generate them.

A trace is JSON lines sorted by time: `{"time_s": 0.123, "device": "cam-1", "sample": 17}`.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from node_agent.errors import InputError
from node_agent.suggest import closest
from testbed.scenario import ArrivalProcess, RateChanges, Scenario
from testbed.trace.error import MAX_PROBLEMS, TraceError
from testbed.trace.files import BYTE_ORDER_MARK, replacing, unpacked
from testbed.trace.link_reading import format_of_line
from testbed.trace.processes.pieces import pieces
from testbed.trace.processes.registry import process_from
from testbed.wording import printable

MAX_LINE_BYTES = 4096
MAX_ARRIVALS = 10_000_000
MAX_DURATION_S = MAX_TIME_S = 1e7
LEAST_EPOCH_S = 1e8  # March 1973 in seconds since 1970: larger times are dates, not a run of three years

_YAML_LINE = re.compile(rb"(---|[A-Za-z_]+:)(\s|$)")
_TICKS_PER_S = 1_000_000  # times are whole microseconds, so that a written trace reads back equal


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task that a device offers."""

    time_s: float  # when the device offers it [emulated s]
    device: str  # the device's name
    sample: int  # number of its input among the evaluation samples, from 0


class _Line(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    time_s: Annotated[float, msgspec.Meta(ge=0)]
    device: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    sample: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


def read_trace(path: Path | str) -> list[Arrival]:
    """Read a workload trace, packed by gzip or not.

    Raises:
        TraceError: the file is no workload trace, or has more than MAX_ARRIVALS tasks; it lists up to MAX_PROBLEMS
            problems.
        InputError: the file cannot be opened.
    """
    with unpacked(path, hint="make one: dtoee-testbed trace generate") as file:
        lines = iter(lambda: file.readline(MAX_LINE_BYTES), b"")
        found = list(islice(read_lines(lines, str(path)), MAX_ARRIVALS + 1))
    if len(found) > MAX_ARRIVALS:
        hint = f"keep a part of it: dtoee-testbed trace import {path} --rate x0.1"
        raise TraceError([f"{path}: more than {MAX_ARRIVALS:,} tasks, too many for a run"], hint=hint)
    return found


def check_trace(arrivals: Sequence[Arrival], scenario: Scenario, sample_count: int, *, source: str = "trace") -> None:
    """Check that a workload suits a scenario.

    Raises:
        TraceError: the workload is empty, names unknown devices or samples (numbered from 0 to `sample_count` - 1), or
            has times beyond the duration.
    """
    if not arrivals:
        hint = "raise the devices' rates or the duration, or draw it with another seed"
        raise TraceError([f"the workload ({source}) offers no task"], hint=hint)
    devices = dict.fromkeys(device.name for device in scenario.devices)
    problems: list[str] = []
    late = False  # the first task beyond the duration is enough
    for number, arrival in enumerate(arrivals, start=1):
        if arrival.device not in devices:
            guess = closest(arrival.device, devices)
            meant = "" if guess is None else f" (did you mean {guess}?)"
            problems.append(f"{source}:{number}: the topology has no device {arrival.device!r}{meant}")
        if not 0 <= arrival.sample < sample_count:
            problems.append(
                f"{source}:{number}: sample {arrival.sample} does not exist; the model has {sample_count} samples"
            )
        if arrival.time_s > scenario.duration_s and not late:
            late = True
            problems.append(
                f"{source}:{number}: {arrival.time_s:g} s lies beyond the duration of {scenario.duration_s:g} s"
            )
        if len(problems) > MAX_PROBLEMS:
            break
    if late and len(problems) == 1:
        raise TraceError(problems, hint=_later_end(arrivals, scenario.duration_s))
    if problems:
        raise TraceError(problems, hint="make a trace that fits: dtoee-testbed trace generate TOPOLOGY --out FILE")


def _later_end(arrivals: Sequence[Arrival], duration_s: float) -> str:
    """Return a hint for a workload that suits a scenario but for tasks beyond its duration [s]."""
    end = math.ceil(max(arrival.time_s for arrival in arrivals))
    part = f"keep a part of it: dtoee-testbed trace import FILE -t TOPOLOGY --window 0..{duration_s:g} --out PART"
    return f"run all of it with --duration '{end} s', or {part}"


def write_trace(path: Path | str, arrivals: Iterable[Arrival]) -> None:
    """Write a trace; a file of that name is replaced in one step when everything is written.

    Raises:
        InputError: the file cannot be written.
    """
    encoder = msgspec.json.Encoder()
    with replacing(path) as file:
        for arrival in arrivals:
            file.write(encoder.encode(arrival) + b"\n")


def generate(
    scenario: Scenario,
    *,
    process: ArrivalProcess | str | None = None,
    duration_s: float | None = None,
    seed: int | None = None,
    sample_count: int,
) -> list[Arrival]:
    """Draw a workload for the scenario's devices, sorted by time.

    Rates follow the scenario's rate changes within the duration. Each device has its own random stream, keyed by its
    name: adding a device, or changing its rate, leaves the arrivals of the others as they were. A rate change leaves
    the device's earlier arrivals as they were. Samples are dealt over all tasks from shuffled decks, so that each is
    used equally often (+-1).

    Args:
        scenario: devices, rates and rate changes.
        process: the arrival process, as text `NAME[:KEY=VALUE,...]`, too; None means the scenario's.
        duration_s: length of the workload [s]; None means the scenario's.
        seed: None means the scenario's.
        sample_count: number of evaluation samples.

    Raises:
        InputError: process or duration is impossible, there is no sample, or more than MAX_ARRIVALS tasks are expected.
    """
    process = scenario.arrivals if process is None else process_from(process)
    duration_s = scenario.duration_s if duration_s is None else duration_s
    seed = scenario.seed if seed is None else seed
    if not 0 < duration_s <= MAX_DURATION_S:
        message = f"the duration must be above zero and at most {MAX_DURATION_S:.0g} s, not {duration_s}"
        raise InputError(message, hint="for example 60 s")
    rates = _rates(scenario)
    check_volume(scenario, sample_count, process=process, duration_s=duration_s)
    offers: list[tuple[int, str]] = []
    for name, changes in rates.items():
        times_s = process.times_s(_stream(seed, process.name, name), changes, duration_s)
        ticks = np.floor(times_s * _TICKS_PER_S).astype(np.int64)
        offers += [(tick, name) for tick in ticks.tolist()]
    offers.sort()
    samples = _deal(_stream(seed, "samples", ""), sample_count, len(offers))
    return [
        Arrival(tick / _TICKS_PER_S, device, sample) for (tick, device), sample in zip(offers, samples, strict=True)
    ]


def check_volume(
    scenario: Scenario, sample_count: int, *, process: ArrivalProcess | None = None, duration_s: float | None = None
) -> None:
    """Check that a scenario's workload can be drawn.

    Raises:
        InputError: there is no sample, the process does not suit the duration, or more than MAX_ARRIVALS tasks are
            expected.
    """
    process = scenario.arrivals if process is None else process
    duration_s = scenario.duration_s if duration_s is None else duration_s
    if sample_count < 1:
        raise InputError("there is no sample to offer", hint="the model's evaluation split is empty")
    process.check(duration_s)
    expected = sum(
        piece.rate_per_s
        * piece.length_s
        * process.mean_factor(piece.begin_s, piece.begin_s + piece.length_s, duration_s)
        for changes in _rates(scenario).values()
        for piece in pieces(changes, 0.0, duration_s)
    )
    if expected > MAX_ARRIVALS:
        hint = f"the most is {MAX_ARRIVALS:,}: lower the devices' rates, or shorten the duration"
        raise InputError(f"about {expected:.3g} tasks are too many", hint=hint)


def read_lines(lines: Iterable[bytes], source: str) -> Iterator[Arrival]:
    """Yield the arrivals in lines of at most MAX_LINE_BYTES, one by one; `source` names them in messages.

    Raises:
        TraceError: as in `read_trace`; after the last line, or after MAX_PROBLEMS problems.
    """
    decoder = msgspec.json.Decoder(_Line)
    problems: list[str] = []
    found = 0
    latest_s = 0.0
    unread: list[bytes] = []
    for number, raw in enumerate(lines, start=1):
        if number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)  # noqa: PLW2901
            _refuse_network_trace(raw, source)
        try:
            line = _decoded(raw, decoder)
        except ValueError as error:
            problems.append(f"{source}:{number}: {error}")
            unread.append(raw)
            if len(problems) > MAX_PROBLEMS or (len(raw) >= MAX_LINE_BYTES and not raw.endswith(b"\n")):
                break  # a line without end cannot be skipped within bounded memory
            continue
        if not line.time_s <= MAX_TIME_S:
            raise _beyond(line.time_s, f"{source}:{number}")
        if line.time_s < latest_s:
            problems.append(f"{source}:{number}: not sorted: {line.time_s:g} s follows {latest_s:g} s")
            if len(problems) > MAX_PROBLEMS:
                break
        latest_s = max(latest_s, line.time_s)
        found += 1
        yield Arrival(line.time_s, line.device, line.sample)
    if problems:
        hint = 'a line is {"time_s": 0.123, "device": "cam-1", "sample": 17}, sorted by time'
        if not found and len(problems) > 1 and not any(_like_json(raw) for raw in unread):
            is_yaml = any(map(_YAML_LINE.match, unread))
            kind = "a YAML file, such as a topology" if is_yaml else "no line of it is a JSON object"
            problems = [f"{source}: not a workload trace ({kind})"]
            if not is_yaml:
                hint += "; `dtoee-testbed trace import` makes one of other people's requests"
        raise TraceError(problems, hint=hint)


def _decoded(raw: bytes, decoder: "msgspec.json.Decoder[_Line]") -> _Line:
    """Decode a line. Raises ValueError with its fault."""
    whole = raw.endswith(b"\n")
    if not whole and len(raw) >= MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    if not raw.strip():
        raise ValueError("empty line")
    try:
        line = decoder.decode(raw)
        if raw.count(b":") > len(_Line.__struct_fields__):  # the decoder takes the last value of a repeated key
            json.loads(raw, object_pairs_hook=_refuse_repeated)
    except msgspec.ValidationError as error:
        raise ValueError(_lowered(str(error))) from None
    except msgspec.DecodeError as error:
        raise ValueError("the last line is cut off" if not whole else f"not JSON: {_lowered(str(error))}") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    return line


def _like_json(raw: bytes) -> bool:
    """True if an unreadable line was at least meant as a JSON object, whole or cut off."""
    return raw.lstrip().startswith(b"{")


def _refuse_repeated(pairs: list[tuple[str, object]]) -> None:
    """Raise ValueError for a key that an object states twice."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"`{key}` is stated twice: keep one of them")
        seen.add(key)


def _refuse_network_trace(first: bytes, source: str) -> None:
    """Raise TraceError if this is the first line of a network trace."""
    foreign = b"device" in first or b"sample" in first  # then it is more likely a workload as a table
    if not foreign and (form := format_of_line(first.strip())) is not None:
        what = "mahimahi packet deliveries" if form == "mahimahi" else "a time series"
        hint = f"let a link follow it (trace: {source} under links); `trace generate` makes a workload"
        raise TraceError([f"{source}:1: a network trace ({what}), not a workload"], hint=hint)


def _beyond(time_s: float, where: str) -> TraceError:
    if time_s < LEAST_EPOCH_S:
        hint = "state seconds since the run's start"
        return TraceError([f"{where}: {time_s:g} s is beyond {MAX_TIME_S:g} s"], hint=hint)
    unit = "seconds" if time_s < 1e3 * LEAST_EPOCH_S else "fractions of a second"
    message = f"{where}: {time_s:.15g} looks like a date ({unit} since 1970); times count from the run's start"
    return TraceError([message], hint="subtract the first task's time from all, in seconds")


def _lowered(text: str) -> str:
    """Return the text with a lower-case first letter, but for an abbreviation, and with "?" for control codes."""
    text = printable(text)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _stream(seed: int, purpose: str, name: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"workload\0{purpose}\0{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int.from_bytes(digest)])))


def _rates(scenario: Scenario) -> dict[str, RateChanges]:
    rates = {device.name: [(0.0, device.rate_per_s)] for device in scenario.devices}
    for event in scenario.events:
        for device, rate_per_s in event.rates_per_s.items():
            rates[device].append((event.at_s, rate_per_s))
    return dict(rates)


def _deal(random: np.random.Generator, sample_count: int, tasks: int) -> list[int]:
    """Deal `tasks` samples; each shuffled deck of all samples is used up before the next."""
    decks = [random.permutation(sample_count) for _ in range(-(-tasks // sample_count))]
    return [int(sample) for deck in decks for sample in deck.tolist()][:tasks]
