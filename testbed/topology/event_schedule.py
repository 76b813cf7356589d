"""The events of a topology in the order of their time, each with the complete state that it brings about."""

from testbed.scenario import Event
from testbed.topology.event_kinds.kind import Moment, StateSoFar, Step
from testbed.topology.followed_traces import compile_steps
from testbed.topology.unfinished import UnfinishedScenario


def compile_events(compiler: UnfinishedScenario) -> tuple[Event, ...]:
    """All events sorted by time (equal times in the order of the file); complains to `compiler` about misfits.

    Each kind compiles its own (`event_kinds`), and finds things as all that is earlier has left them. The steps of
    network traces are merged in; at one instant they come first.
    """
    so_far = StateSoFar(compiler)
    events: list[Event] = [*compile_steps(compiler)]
    for index, step in _in_order(compiler):
        events += step.compile(so_far, Moment(step.at_s, ("events", index)))
    return tuple(sorted(events, key=lambda event: event.at_s))


def _in_order(compiler: UnfinishedScenario) -> list[tuple[int, Step]]:
    """The steps of all entries, each with its entry's place in the file."""
    duration_s = compiler.duration_s
    steps = []
    for index, entry in enumerate(compiler.document.events):
        for step in entry.steps(duration_s):
            if step.at_s >= duration_s:
                compiler.complain(
                    ("events", index, "at"),
                    f"the event at {step.at_s:g} s does not lie before the end of the run ({duration_s:g} s)",
                    "lengthen the duration, or state the time in % of it",
                )
            steps.append((index, step))
    return sorted(steps, key=lambda numbered: numbered[1].at_s)
