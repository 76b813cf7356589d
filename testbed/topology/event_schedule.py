"""The events of a topology in order of time, each with the complete new state of the node or link."""

from testbed.scenario import Event
from testbed.topology.event_kinds.kind import Moment, StateSoFar, Step
from testbed.topology.followed_traces import compile_steps
from testbed.topology.unfinished import UnfinishedScenario


def compile_events(compiler: UnfinishedScenario) -> tuple[Event, ...]:
    """Return all events sorted by time (equal times in the order of the file); report misfits to `compiler`.

    Each kind (`event_kinds`) compiles its own entries, from the state that all earlier events have left. The steps of
    network traces are merged in; at equal times they come first.
    """
    so_far = StateSoFar(compiler)
    events: list[Event] = [*compile_steps(compiler)]
    for index, step in _in_order(compiler):
        events += step.compile(so_far, Moment(step.at_s, ("events", index)))
    return tuple(sorted(events, key=lambda event: event.at_s))


def _in_order(compiler: UnfinishedScenario) -> list[tuple[int, Step]]:
    """Return the steps of all entries in order of time, each with its entry's index under `events`."""
    duration_s = compiler.duration_s
    steps = []
    for index, entry in enumerate(compiler.document.events):
        for step in entry.steps(duration_s):
            if step.at_s >= duration_s:
                compiler.complain(
                    ("events", index, "at"),
                    f"the event at {step.at_s:g} s does not lie before the end of the run ({duration_s:g} s)",
                    "lengthen the duration, or state `at` in % of it",
                )
            steps.append((index, step))
    return sorted(steps, key=lambda numbered: numbered[1].at_s)
