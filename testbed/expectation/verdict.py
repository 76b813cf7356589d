"""The verdict on a finished run: the delays of its tasks against those that an exact machine would have given them.

While a run goes on, `fidelity.assessment` judges it by signs: late frames and timers, lost probes, silent processes.
When it is over, what it came to is known: every task is held against its expectation (`testbed.expectation`), and only
what shows in the tasks' delays, or in what decisions were made of, counts. The signs then help to say why.

- held: mean, p50, p95 and p99 are within 2 % of what was expected.
- strained: within 10 %.
- broken: beyond.
- unknown: no task was completed that counts, so that there is nothing to judge.
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

# Of the expected figure. Two per cent are a third of the 6 % by which the closest policies of the examples differ, and
# twice what a quiet machine adds at delays of 100 ms; with ten, a comparison of most policies says nothing any more.
DELAY_OFF: Bounds = (0.02, 0.10)
# What decisions were made of, as a mean over the nodes: of the price of a task (links), and of a service time. The
# first bounds are five times what a machine with busy processors shows (0.6 % and 0.4 % in the city, 0.1 % in
# quickstart), and about where plans cost some per cent of delay; beyond the second ones they cost 10 %, and soon more
# (0.24 of a service time: above 35 %). `python -m tests.bench.verdict.wrong_times` simulates it.
LINK_TIMES_OFF: Bounds = (0.03, 0.10)
SERVICE_TIMES_OFF: Bounds = (0.05, 0.15)
MOST_NAMED = 3  # nodes in one reason
YOUNG_SLOTS = 3  # in which estimates rest on few measurements
SLIGHT_CAUSE = 0.2  # of the gravest: what cost less is not worth a line


def judge(evidence: Evidence, findings: Findings) -> FidelityReport:
    """The verdict on a run that is over."""
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
    """One line for all figures that are off, the one that is off most first."""
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
    """Tasks of devices that did not run have no delay: they are missing in the figures, and would have stood out."""
    silent = {name: lost for name, lost in findings.unfinished.items()
              if level_of(evidence.silences_s.get(name, 0.0), SILENCE_S)}  # fmt: skip
    if findings.offered and (level := level_of(share := sum(silent.values()) / findings.offered, DELAY_OFF)):
        names = ", ".join(sorted(silent, key=lambda name: -silent[name])[:MOST_NAMED])
        yield level, f"{rough_percent(share)} of the tasks never ended at devices that did not run: {names}"


def _decisions(evidence: Evidence, measured: Sequence[Measured]) -> Iterator[tuple[int, str]]:
    """One line for what decisions were made of, over the first slots or over all of them."""
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
