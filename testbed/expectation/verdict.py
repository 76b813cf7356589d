"""The verdict on a finished run: the delays of its tasks compared with those of an exact machine.

During a run, `fidelity.assessment` judges by signs: late frames and timers, lost probes, silent processes. After the
run, every task is compared with its expectation (`testbed.expectation`). Then only the tasks' delays and the times on
which decisions rested count; the signs help to explain.

- held: mean, p50, p95 and p99 are within 2 % of the expected ones.
- strained: within 10 %.
- broken: beyond.
- unknown: no task that counts was completed, so that there is nothing to judge.
"""

from collections.abc import Iterator, Sequence

from testbed.expectation.causes import Cause
from testbed.expectation.deviation import DelayFigure
from testbed.expectation.findings import Findings
from testbed.expectation.measured_times import Measured
from testbed.fidelity.assessment import QUOTA_SPEED, SILENCE_S, Bounds, assess, bound_text, level_of, machine_signs
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.report import VERDICTS, FidelityReport
from testbed.wording import counted, milliseconds, number, percent, rough_percent

# Share of the expected figure: below the differences between policies, above the noise of a quiet machine.
# Decision 055: a run held within 2 %, and is broken beyond 10 % (docs/decisions/055-verdict-bounds-on-delays.md).
DELAY_OFF: Bounds = (0.02, 0.10)
# Errors of the times on which decisions rested, as means over the nodes: shares of a task's price (links), and of a
# service time. Decision 056: the first bounds lie where wrong times begin to cost delay, well above the noise
# (docs/decisions/056-verdict-bounds-on-measured-times.md).
LINK_TIMES_OFF: Bounds = (0.03, 0.10)
SERVICE_TIMES_OFF: Bounds = (0.05, 0.15)
MOST_NAMED = 3  # nodes in one reason
YOUNG_SLOTS = 3  # slots in which estimates rest on few measurements
SLIGHT_CAUSE = 0.2  # share of the gravest cause; smaller causes get no line


def judge(evidence: Evidence, findings: Findings) -> FidelityReport:
    """Return the verdict on a finished run, with reasons."""
    if findings.trouble is not None:
        return FidelityReport("unknown", (findings.trouble,), evidence, findings.as_dict())
    if not findings.figures:
        which = "that was offered after the warm-up was completed" if findings.offered else "was offered"
        return FidelityReport("unknown", (f"no task {which}: there is nothing to judge",), evidence)
    found = (*_delays(findings.figures), *_decisions(evidence, findings.measured), *_never_ended(evidence, findings))
    levels = [(level, text) for level, text in found if level]
    level = max((level for level, _ in levels), default=0)
    reasons = [text for _, text in sorted(levels, key=lambda found: -found[0])]
    if level:
        reasons += [_cause_text(cause) for cause in _worth_naming(findings.causes)]
        reasons += [reason for reason in assess(evidence).reasons if reason not in reasons]
        reasons += [sign for sign in machine_signs(evidence.host) if sign not in reasons]
    return FidelityReport(VERDICTS[level], tuple(reasons), evidence, findings.as_dict())


def _delays(figures: Sequence[DelayFigure]) -> Iterator[tuple[int, str]]:
    """Yield level and text of one line for all deviating figures, the worst first."""
    off = [figure for figure in figures if level_of(abs(figure.off), DELAY_OFF)]
    off.sort(key=lambda figure: -abs(figure.off))
    if not off:
        return
    level = level_of(abs(off[0].off), DELAY_OFF)
    texts = [
        f"{figure.name} {milliseconds(figure.emulated_s)} for {number(figure.expected_s, '.0f', 1e3)} expected "
        f"({percent(figure.emulated_s / figure.expected_s - 1, '+.0f')})"
        for figure in off
    ]
    yield level, f"delays are not those of an exact machine: {', '.join(texts)} ({bound_text(level, DELAY_OFF)})"


def _never_ended(evidence: Evidence, findings: Findings) -> Iterator[tuple[int, str]]:
    """Yield a line for tasks of devices that stood still: they have no delay and are missing in the figures."""
    silent = {name: lost for name, lost in findings.unfinished.items()
              if level_of(evidence.silences_s.get(name, 0.0), SILENCE_S)}  # fmt: skip
    if findings.offered and (level := level_of(share := sum(silent.values()) / findings.offered, DELAY_OFF)):
        names = ", ".join(sorted(silent, key=lambda name: -silent[name])[:MOST_NAMED])
        yield level, f"{rough_percent(share)} of the tasks never ended at devices that did not run: {names}"


def _decisions(evidence: Evidence, measured: Sequence[Measured]) -> Iterator[tuple[int, str]]:
    """Yield a line if decisions rested on wrong times, over the first slots or over all slots."""
    speed_bounds = QUOTA_SPEED if evidence.compute == "quota" else SERVICE_TIMES_OFF
    for name, slots in (("the first slots", measured[:YOUNG_SLOTS]), ("the slots", measured)):
        if not slots:
            continue
        for what, values, bounds in (
            ("link times", [each.links_off for each in slots], LINK_TIMES_OFF),
            ("service times", [each.speed_off for each in slots], speed_bounds),
        ):
            off = sum(values) / len(values)
            if level := level_of(off, bounds):
                worst = max(slots, key=lambda each: each.links_off + each.speed_off)
                where = f"most in slot {worst.slot}, at {worst.worst}"
                told = f"decisions of {name} rested on {what} that were {rough_percent(off)} off"
                yield level, f"{told} ({where}; {bound_text(level, bounds)})"
                return


def _worth_naming(causes: Sequence[Cause]) -> Sequence[Cause]:
    if not causes:
        return ()
    return [cause for cause in causes if cause.late_s > SLIGHT_CAUSE * causes[0].late_s]


def _cause_text(cause: Cause) -> str:
    when = f"from {cause.from_s:.1f} to {cause.until_s:.1f} s"
    carried = f"; it carried {cause.carried_mbit_per_s:.3g} Mbit/s" if cause.carried_mbit_per_s else ""
    return f"{cause.name} held up {counted(cause.tasks, 'task')} by {cause.late_s:.2g} s in all, {when}{carried}"
