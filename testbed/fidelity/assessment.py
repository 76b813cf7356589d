"""The verdict on an emulation, with reasons, from the evidence of how a run was carried out.

The question is whether the delays of the run are those of the emulated network, or partly those of the machine that
emulated it. Everything is therefore judged in emulated seconds, against the delays that the scenario states. A busy
machine that keeps its deadlines is no fault. The same real lateness weighs less at a larger time scale.

Decision 058: signs are judged against the delays of the scenario, with bounds a few times above what a quiet machine
keeps (docs/decisions/058-bounds-on-signs.md).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from testbed.fidelity.evidence import Evidence
from testbed.fidelity.report import VERDICTS, FidelityReport
from testbed.host.load import HostUse
from testbed.network import LinkStatistics, MeasuredPath, WatchedPath
from testbed.wording import milliseconds, rough_percent, seconds

Item = TypeVar("Item")
Bounds = tuple[float, float]  # above the first: strained; above the second: broken

# Share of touched tasks (see `evidence.py`). With one in twenty, p95 and above begin to show the machine; with one in
# four, the quartiles do, and every comparison is affected.
TOUCHED_TASKS: Bounds = (0.05, 0.25)
FEWEST_TOUCHED = 5  # fewer count as chance, even if they are a large share of a short run
FEWEST_ADDED = 2  # one counts as chance, however late it is
# Delay that the machine added, as a share of the delay of all tasks: the error of the mean. Queues behind a late
# service multiply it, hence a strict bound.
ADDED_DELAY: Bounds = (0.02, 0.10)

# Error of a link's delay, before and during the run: a share of the stated delay, or an emulated time, whichever is
# more.
PATH_DELAY: Bounds = (0.05, 0.25)
PATH_DELAY_S: Bounds = (0.0005, 0.002)
JITTER_ALLOWANCE = 3.0  # standard deviations by which the median of few probes may deviate on a link with jitter
PATH_RATE: Bounds = (0.10, 0.30)  # error of the shaper, and of its measurement by a short burst
# With fewer probes of a path, a quantile means nothing; with fewer of all paths, a share of losses means nothing.
# Probes that came too early need more: the quickest tenth of a few is the single quickest one, during which a link may
# have changed.
FEWEST_PROBES = 5
FEWEST_EARLY_PROBES = 10
# The first decile of normal values lies TENTH_OF_JITTER standard deviations below the mean. Estimated from n values, it
# has a standard error of TENTH_IS_OFF_BY standard deviations over the root of n.
TENTH_OF_JITTER = 1.28
TENTH_IS_OFF_BY = 1.71
PROBES_LOST: Bounds = (0.10, 0.50)  # on links that should lose none
FEWEST_LOST = 2  # a single loss counts as chance
CHANCE_OF_LOSS = 4.0  # standard deviations by which a lossy path may lose more than stated
# Share of frames that left over a millisecond (real) late. Only links count whose latest hundredth is late by more than
# LATE_FRAME of the link's delay, and more than LATE_FRAME_S (emulated). A single stall in a short run stays below.
LATE_FRAMES: Bounds = (0.02, 0.20)
LATE_FRAME = 0.05
LATE_FRAME_S = 0.001
FEWEST_FRAMES = 100
# The same for each link by itself: a ruined link among many carries few of all frames, but its own tasks are late. The
# bounds are wider, since on a link with a few frames a second one stall makes several per cent late.
LATE_FRAMES_OF_A_LINK: Bounds = (0.10, 0.50)
# Share of frames that the emulation itself dropped: TCP waits 200 ms and more for each, so that few do much harm.
DROPPED_FRAMES: Bounds = (0.0005, 0.01)
FEWEST_DROPPED = 2  # a single one counts as chance

# Lateness of changes (emulated). A link that follows a trace is wrong for that part of every step: the latest hundredth
# may be late by a share of the step, or by LATE_STEP_S, whichever is more. A single change may be later, since no
# policy reacts within tenths of a second.
LATE_STEP: Bounds = (0.10, 0.50)
LATE_STEP_S: Bounds = (0.010, 0.050)
FEWEST_CHANGES = 20
LATE_CHANGE_S: Bounds = (0.25, 1.0)
SKIPPED_STEPS: Bounds = (0.01, 0.10)

# Error of a server's speed against the stated one. A CPU quota is exact to 5 %, hence wider bounds.
SPEED: Bounds = (0.05, 0.20)
QUOTA_SPEED: Bounds = (0.10, 0.30)
FEWEST_SERVED = 20
# Share of the agents' timers that fired over a millisecond late, real or emulated, whichever is longer. Messages wait
# for a processor like timers do, two or three times on a task's way; so this is the share of such waits, too.
LATE_TIMERS: Bounds = (0.05, 0.25)
FEWEST_DEADLINES = 100
# A node reports every second; a node that is up and misses three reports did not run.
SILENCE_S: Bounds = (3.0, 6.0)

# Above these, the state of the machine is named as the likely cause of a finding. Alone it is no fault: a process with
# real-time priority keeps its deadlines on a busy machine, too.
BUSY_HOST = 0.85
HIGH_PRESSURE = 0.25
HIGH_STEAL = 0.02


@dataclass(frozen=True, slots=True)
class _Finding:
    """A figure out of bounds; `level` is the index of its verdict in VERDICTS."""

    level: int
    text: str


def assess(evidence: Evidence) -> FidelityReport:
    """Return the verdict on a run, finished or in progress, with reasons."""
    checks = (
        _tasks, _delays_before, _rates_before, _links_during, _lost_on_a_path, _lost_during, _frames, _worst_link,
        _changes, _speeds, _timers, _silence,
    )  # fmt: skip
    findings = sorted((found for check in checks for found in check(evidence)), key=lambda found: -found.level)
    level = findings[0].level if findings else 0
    causes = machine_signs(evidence.host) if findings else ()
    return FidelityReport(VERDICTS[level], (*(found.text for found in findings), *causes), evidence)


def level_of(value: float, bounds: Bounds) -> int:
    """Return the index in VERDICTS of a figure; NaN is beyond every bound, not below the first."""
    return sum(not value <= bound for bound in bounds)


def bound_text(level: int, bounds: Bounds) -> str:
    """Return the exceeded bound in words."""
    return f"bound {rough_percent(bounds[level - 1])}"


def _tasks(evidence: Evidence) -> Iterator[_Finding]:
    tasks = evidence.tasks
    touched, added = tasks.touched_share, tasks.added_share
    if touched is not None and tasks.touched >= FEWEST_TOUCHED and (level := level_of(touched, TOUCHED_TASKS)):
        text = f"{rough_percent(touched)} of the tasks were delayed by this machine"
        yield _Finding(level, f"{text} ({bound_text(level, TOUCHED_TASKS)})")
    if added is not None and tasks.touched >= FEWEST_ADDED and (level := level_of(added, ADDED_DELAY)):
        text = f"{rough_percent(added)} of the tasks' delay is this machine's lateness"
        yield _Finding(level, f"{text} ({bound_text(level, ADDED_DELAY)})")


def _delays_before(evidence: Evidence) -> Iterator[_Finding]:
    def error_of(path: MeasuredPath) -> tuple[float, Bounds] | None:
        if path.measured_delay_s is None:
            return None
        allowed = JITTER_ALLOWANCE * path.jitter_s / evidence.time_scale
        strained, broken = _allowed(path.delay_s / evidence.time_scale)
        error_s = abs(path.measured_delay_s - path.delay_s) / evidence.time_scale
        return error_s, (strained + allowed, broken + allowed)

    def text_of(path: MeasuredPath, bound: float) -> str:
        times_s = ((value or 0.0) / evidence.time_scale for value in (path.delay_s, path.measured_delay_s))
        asked, found, most = (milliseconds(time_s, ".1f") for time_s in (*times_s, bound))
        return f"{_name(path.path)} took {found} instead of {asked} (bound {most} off)"

    def lost_of(path: MeasuredPath) -> tuple[float, Bounds] | None:
        return (path.probes_lost / path.probes_sent, PROBES_LOST) if path.probes_lost >= FEWEST_LOST else None

    def text_of_lost(path: MeasuredPath, _: float) -> str:
        return f"{path.probes_lost} of {path.probes_sent} probes from {path.path[0]} to {path.path[-1]} were lost"

    sound = [path for path in evidence.measured if not path.lossy]
    silent = [path for path in sound if path.measured_delay_s is None]
    if silent:
        yield _Finding(2, f"no frame got through {_name(silent[0].path)} before the run{_and_more(len(silent))}")
    yield from _worst([path for path in sound if path not in silent], lost_of, text_of_lost, "before the run, ")
    yield from _worst(evidence.measured, error_of, text_of, "before the run, ")


def _rates_before(evidence: Evidence) -> Iterator[_Finding]:
    def error_of(path: MeasuredPath) -> tuple[float, Bounds] | None:
        if path.measured_rate_mbit_per_s is None or path.jitter_s > 0:  # jitter pulls a train of packets apart
            return None
        return abs(path.measured_rate_mbit_per_s / path.rate_mbit_per_s - 1), PATH_RATE

    def text_of(path: MeasuredPath, bound: float) -> str:
        asked, found = (
            (value or 0.0) * evidence.time_scale for value in (path.rate_mbit_per_s, path.measured_rate_mbit_per_s)
        )
        carried = f"carried {found:.3g} Mbit/s instead of {asked:.3g}"
        return f"{_name(path.path)} {carried} (bound {rough_percent(bound)} off)"

    yield from _worst(evidence.measured, error_of, text_of, "before the run, ")


def _links_during(evidence: Evidence) -> Iterator[_Finding]:
    asked = {path.path: path for path in evidence.measured}
    watched = []
    for path in evidence.watched:
        if path.probes >= FEWEST_PROBES:
            known = asked.get(path.path)
            delay_s, jitter_s = (known.delay_s, known.jitter_s) if known else (0.0, 0.0)
            off_s = _off_s(path, jitter_s, changes=evidence.outlook.changes(path.path)) / evidence.time_scale
            chance_s = JITTER_ALLOWANCE * TENTH_IS_OFF_BY * jitter_s / path.probes**0.5 / evidence.time_scale
            strained, broken = _allowed(delay_s / evidence.time_scale)
            watched.append((path, off_s, (strained + chance_s, broken + chance_s)))

    def text_of(path: tuple[WatchedPath, float, Bounds], bound_s: float) -> str:
        how = f"{milliseconds(abs(path[1]), '.1f')} {'slower' if path[1] > 0 else 'faster'} than asked"
        return f"{_name(path[0].path)} was {how} (bound {milliseconds(bound_s, '.1f')})"

    yield from _worst(watched, lambda path: (abs(path[1]), path[2]), text_of, "during the run, ")


def _off_s(path: WatchedPath, jitter_s: float, *, changes: bool) -> float:
    """Return the error of a path's delay against the stated one [real s]; negative if it is too short.

    The quickest tenth of the probes shows it: slower ones may have waited behind tasks, as on a real link. Jitter makes
    that tenth quicker than the mean, which is corrected. On links that change, a probe may come early because the link
    got shorter before the probe reached it; such a link counts as too short only if half of the probes came early.
    """
    if path.excess_p10_s is None or path.excess_p50_s is None:
        return 0.0
    slow_s = path.excess_p10_s + TENTH_OF_JITTER * jitter_s
    early_s = path.excess_p50_s if changes else slow_s
    if not slow_s < 0:  # NaN is returned, too, so that it is reported
        return slow_s
    return min(0.0, early_s) if path.probes >= FEWEST_EARLY_PROBES else 0.0


def _lost_on_a_path(evidence: Evidence) -> Iterator[_Finding]:
    """Judge the losses of each path by itself: one dead link of many loses few of all probes."""
    lossy = {path.path for path in evidence.measured if path.lossy}

    def share_of(path: WatchedPath) -> tuple[float, Bounds] | None:
        stated = evidence.outlook.loss_of(path.path)
        unknown = not stated and (path.path in lossy or evidence.outlook.loses(path.path))
        if path.probes < FEWEST_PROBES or unknown:
            return None
        wanted = path.probes * stated
        beyond = path.lost - wanted - CHANCE_OF_LOSS * (wanted * (1 - stated)) ** 0.5
        return (beyond / path.probes, PROBES_LOST) if beyond >= FEWEST_LOST else None

    def text_of(path: WatchedPath, bound: float) -> str:
        stated = evidence.outlook.loss_of(path.path)
        asked = f", and {rough_percent(stated)} should be" if stated else ""
        where = f"from {path.path[0]} to {path.path[-1]}"
        return f"{path.lost} of {path.probes} probes {where} were lost{asked} (bound {rough_percent(bound)})"

    yield from _worst(evidence.watched, share_of, text_of, "during the run, ")


def _lost_during(evidence: Evidence) -> Iterator[_Finding]:
    """Judge the losses of all paths together: a large network sends few probes over each path, many over all."""
    lossy = {path.path for path in evidence.measured if path.lossy}
    sound = [path for path in evidence.watched if path.path not in lossy and not evidence.outlook.loses(path.path)]
    lost, sent = sum(path.lost for path in sound), sum(path.probes for path in sound)
    if sent >= FEWEST_PROBES and lost >= FEWEST_LOST and (level := level_of(lost / sent, PROBES_LOST)):
        share = rough_percent(lost / sent)
        yield _Finding(level, f"{share} of the probes during the run were lost ({bound_text(level, PROBES_LOST)})")


def _frames(evidence: Evidence) -> Iterator[_Finding]:
    network = evidence.network
    if network is None:
        return
    if network.frames_dropped >= FEWEST_DROPPED:
        # Frames that found no room were never relayed, so `frames_relayed` may be the smaller number.
        dropped = network.frames_dropped / max(network.frames_relayed, network.frames_dropped)
        if level := level_of(dropped, DROPPED_FRAMES):
            text = f"{rough_percent(dropped)} of the frames were dropped by the emulation"
            yield _Finding(level, f"{text} ({bound_text(level, DROPPED_FRAMES)})")
    late = _late_links(evidence)
    share = sum(link.late or 0 for link in late) / max(FEWEST_FRAMES, network.frames_relayed)
    if level := level_of(share, LATE_FRAMES):
        worst = max(late, key=lambda link: link.lateness_p99_s or 0.0)
        worst_late = milliseconds((worst.lateness_p99_s or 0.0) / evidence.time_scale, ".1f")
        yield _Finding(
            level,
            f"{rough_percent(share)} of the frames were sent over 1 ms late ({bound_text(level, LATE_FRAMES)}); "
            f"{_name(worst.ends)}: 1 % by more than {worst_late}",
        )


def _worst_link(evidence: Evidence) -> Iterator[_Finding]:
    def error_of(link: LinkStatistics) -> tuple[float, Bounds]:
        return (link.late or 0) / link.frames, LATE_FRAMES_OF_A_LINK

    def text_of(link: LinkStatistics, bound: float) -> str:
        share = rough_percent((link.late or 0) / link.frames)
        return f"{share} of the frames from {link.ends[0]} to {link.ends[1]} were late (bound {rough_percent(bound)})"

    yield from _worst(_late_links(evidence), error_of, text_of)


def _late_links(evidence: Evidence) -> list[LinkStatistics]:
    """Return the links on which the lateness of frames matters against the link's own delay."""
    delay_s = {
        ends: shape.delay_s
        for link in evidence.links
        for ends, shape in zip((link.ends, link.ends[::-1]), link.shapes, strict=True)
    }

    def matters(link: LinkStatistics) -> bool:
        bound_s = max(LATE_FRAME_S, LATE_FRAME * delay_s.get(link.ends, 0.0))
        return link.frames >= FEWEST_FRAMES and (link.lateness_p99_s or 0.0) / evidence.time_scale > bound_s

    return [link for link in (evidence.network.links if evidence.network else ()) if matters(link)]


def _changes(evidence: Evidence) -> Iterator[_Finding]:
    changes, step_s = evidence.changes, evidence.outlook.step_s
    latest_s, skipped = changes.lateness_s(0.99), changes.skipped_share or 0.0
    if step_s is not None and latest_s is not None and changes.injected >= FEWEST_CHANGES:
        bounds = (max(LATE_STEP[0] * step_s, LATE_STEP_S[0]), max(LATE_STEP[1] * step_s, LATE_STEP_S[1]))
        if level := level_of(latest_s, bounds):
            latest, most, step = map(milliseconds, (latest_s, bounds[level - 1], step_s))
            text = f"1 % of the changes came over {latest} late (bound {most})"
            yield _Finding(level, f"{text}; a step of the network traces lasts {step}")
    if level := level_of(changes.worst_s or 0.0, LATE_CHANGE_S):
        text = f"a change of the scenario came {seconds(changes.worst_s or 0.0, '.2f')} late"
        yield _Finding(level, f"{text} (bound {LATE_CHANGE_S[level - 1]:g} s)")
    if changes.skipped + changes.injected >= FEWEST_CHANGES and (level := level_of(skipped, SKIPPED_STEPS)):
        text = f"{rough_percent(skipped)} of the network traces' steps were skipped for lack of time"
        yield _Finding(level, f"{text} ({bound_text(level, SKIPPED_STEPS)})")


def _speeds(evidence: Evidence) -> Iterator[_Finding]:
    bounds = QUOTA_SPEED if evidence.compute == "quota" else SPEED
    found = []
    for name, load in evidence.servers.items():
        stated, served = load.stated_flop_per_s, load.served_flop_per_s
        if load.served < FEWEST_SERVED or stated is None or served is None:
            continue
        off = abs(stated / served - 1)
        if level := level_of(off, bounds):
            on_average = " on average" if load.varied else ""  # no single stated capacity held
            text = f"{name} computed at {served / 1e9:.3g} GFLOP/s instead of {stated / 1e9:.3g}{on_average}"
            found.append((level, off, f"{text} ({bound_text(level, bounds)} off)"))
    if found:
        level, _, text = max(found)
        yield _Finding(level, f"{text}{_and_more(len(found))}")


def _timers(evidence: Evidence) -> Iterator[_Finding]:
    if evidence.deadlines < FEWEST_DEADLINES:
        return
    share = evidence.late_timers / evidence.deadlines
    if level := level_of(share, LATE_TIMERS):
        text = f"{rough_percent(share)} of the agents' timers fired over 1 ms late"
        yield _Finding(level, f"{text} ({bound_text(level, LATE_TIMERS)})")


def _silence(evidence: Evidence) -> Iterator[_Finding]:
    def text_of(silence: tuple[str, float], bound_s: float) -> str:
        return f"the agent of {silence[0]} reported nothing for {seconds(silence[1], '.1f')} (bound {bound_s:g} s)"

    yield from _worst(evidence.silences_s.items(), lambda silence: (silence[1], SILENCE_S), text_of)


def machine_signs(host: HostUse) -> Iterator[str]:
    """Yield a sentence with the signs of an overloaded machine, if there are any."""
    signs = []
    if (host.cpu_share or 0.0) > BUSY_HOST:
        signs.append(f"{rough_percent(host.cpu_share or 0.0)} of its processors' time was in use")
    if (host.pressure_some_share or 0.0) > HIGH_PRESSURE:
        signs.append(f"processes waited for one {rough_percent(host.pressure_some_share or 0.0)} of the time")
    if (host.steal_share or 0.0) > HIGH_STEAL:
        signs.append(f"its hypervisor took {rough_percent(host.steal_share or 0.0)}")
    if signs:
        yield f"this machine is the likely cause: {', '.join(signs)}"


def _allowed(delay_s: float) -> Bounds:
    """Return the bounds [emulated s] on the error of a path with this delay [emulated s]."""
    return max(PATH_DELAY[0] * delay_s, PATH_DELAY_S[0]), max(PATH_DELAY[1] * delay_s, PATH_DELAY_S[1])


def _worst(
    items: Iterable[Item],
    error_of: Callable[[Item], tuple[float, Bounds] | None],
    text_of: Callable[[Item, float], str],
    when: str = "",
) -> Iterator[_Finding]:
    """Yield one finding for all items out of bounds: the gravest item, and the number of others."""
    found = []
    for item in items:
        judged = error_of(item)
        if judged is not None and (level := level_of(*judged)):
            error, bounds = judged
            found.append((level, error / bounds[level - 1], text_of(item, bounds[level - 1])))
    if found:
        level, _, text = max(found)
        yield _Finding(level, f"{when}{text}{_and_more(len(found))}")


def _and_more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


def _name(path: tuple[str, ...]) -> str:
    return " - ".join((path[0], path[-1]))
