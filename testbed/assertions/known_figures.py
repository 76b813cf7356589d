"""The figures of summary.json that an assertion can bound: short names, and paths with dots.

A test compares this list with the fields that docs/run-directory.md documents.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from node_agent.errors import InputError
from node_agent.suggest import closest, listed
from testbed.record.run_figures import BY_NAME, FIGURES, Figure, Kind

ValueKind = Literal[Kind, "ratio", "truth", "word"]
"""Beside the kinds of figures: shares that may be negative or above 1, true or false, and words."""
Mode = Literal["live", "simulated"]

# The paths of each kind. <name> stands for any name, [1-9] for a stage.
_EVERY_RUN: dict[ValueKind, str] = {
    "time": """
        theta_s warm_up_s outstanding_s energy.counted_s energy.nodes.<name>.up_s energy.nodes.<name>.busy_s
        energy.batteries.<name>.empty_s
    """,
    "energy": """
        energy.idle_j energy.computing_j energy.transfer_j energy.nodes.<name>.total_j energy.nodes.<name>.idle_j
        energy.nodes.<name>.computing_j energy.nodes.<name>.transfer_j
        energy.batteries.<name>.capacity_j energy.batteries.<name>.left_j
    """,
    "share": "exit_share.[1-9] deadlines.groups.<name>.in_time deadlines.groups.<name>.correct_in_time",
    "count": """
        tasks.duplicates tasks.counted attempts.above_one fairness.devices deadlines.tasks deadlines.groups.<name>.tasks
        deadlines.groups.<name>.missed
    """,
    "number": "attempts.most energy.price_s_per_j",
    "truth": "overloaded",
}
_LIVE: dict[ValueKind, str] = {
    "time": """
        setup_s.network setup_s.links setup_s.model setup_s.agents
        fidelity.expected_delay_s.mean fidelity.expected_delay_s.p50 fidelity.expected_delay_s.p95
        fidelity.expected_delay_s.p99 fidelity.delay_chance_s.mean fidelity.delay_chance_s.p50
        fidelity.delay_chance_s.p95 fidelity.delay_chance_s.p99 fidelity.check_took_s
        fidelity.lateness.other_paths.late_s fidelity.lateness.other_paths.worst_s
        fidelity.lateness.other_nodes.late_s fidelity.lateness.other_nodes.worst_s
        fidelity.worst_frame_lateness_s fidelity.relay_cpu_s fidelity.agents_cpu_s
        fidelity.replay_lateness_p50_s fidelity.replay_lateness_p99_s fidelity.replay_lateness_worst_s
        fidelity.worst_timer_lateness_s fidelity.longest_silence_s
        fidelity.changes.lateness_p99_s fidelity.changes.worst_lateness_s
        fidelity.host.relay_cpu_s fidelity.host.agents_cpu_s
        fidelity.nodes.<name>.worst_timer_lateness_s fidelity.nodes.<name>.longest_silence_s
    """,
    "ratio": """
        fidelity.delay_off.mean fidelity.delay_off.p50 fidelity.delay_off.p95 fidelity.delay_off.p99
        fidelity.added_delay_share
    """,
    "share": """
        fidelity.host_cpu_share fidelity.tasks_touched_share fidelity.host.cpu_share fidelity.host.steal_share
        fidelity.host.pressure_some_share fidelity.host.pressure_full_share
    """,
    "count": """
        fidelity.lateness.other_paths.places fidelity.lateness.other_paths.steps
        fidelity.lateness.other_nodes.places fidelity.lateness.other_nodes.steps
        fidelity.frames_relayed fidelity.frames_late fidelity.frames_lost fidelity.frames_dropped
        fidelity.compute_overruns fidelity.tasks_touched fidelity.timers fidelity.timers_late
        fidelity.changes.injected fidelity.changes.skipped
        fidelity.nodes.<name>.served fidelity.nodes.<name>.overruns fidelity.nodes.<name>.timers
        fidelity.nodes.<name>.timers_late
    """,
    "number": """
        fidelity.service_time_ratio_p50 fidelity.nodes.<name>.capacity_flop_per_s
        fidelity.nodes.<name>.served_flop_per_s fidelity.nodes.<name>.host_flop_per_s
    """,
    "truth": "fidelity.relay_realtime_priority",
    "word": "fidelity.verdict",
}
_SIMULATED: dict[ValueKind, str] = {"count": "fidelity.actions", "truth": "fidelity.simulated fidelity.oracle"}

WORDS = {"fidelity.verdict": ("held", "strained", "broken", "unknown")}
"""The words that a figure of kind "word" can be."""
_TRUTHS = ("true", "false")
_ALIKE = 0.5  # names are short and few, so a guess may be further off than elsewhere
_MORE = re.compile(
    r"(lost_reasons|energy\.links|fidelity\.(reasons|causes|decisions|paths|links|links_outside_validation|nodes))\b"
)


@dataclass(frozen=True, slots=True)
class KnownFigure:
    """A figure that an assertion can bound.

    Attributes:
        path: its place in summary.json, with dots; in patterns, <name> stands for any name and [1-9] for a stage.
        kind: what sort of value it is.
        mode: the only kind of run that has it; None if every run has it.
    """

    path: str
    kind: ValueKind
    mode: Mode | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it can be; none for a number."""
        return _TRUTHS if self.kind == "truth" else WORDS.get(self.path, ())


def _listed(table: dict[ValueKind, str], mode: Mode | None) -> Iterator[KnownFigure]:
    for kind, paths in table.items():
        for path in paths.split():
            yield KnownFigure(path, kind, mode)


KNOWN = (
    *(KnownFigure(figure.path, figure.kind) for figure in FIGURES),
    *_listed(_EVERY_RUN, None),
    *_listed(_LIVE, "live"),
    *_listed(_SIMULATED, "simulated"),
)


def known_figure(name: str) -> KnownFigure:
    """Return the figure of a short name, or of a path with dots.

    Raises:
        InputError: summary.json has no such figure; the hint names the nearest one.
    """
    if (short := BY_NAME.get(name)) is not None:
        return KnownFigure(short.path, short.kind)
    for figure in KNOWN:
        if _pattern(figure.path).fullmatch(name):
            return KnownFigure(name, figure.kind, figure.mode)
    raise InputError(f"there is no figure {name!r}", hint=_advice(name))


def short_figure(name: str) -> Figure | None:
    """Return the figure with this short name or at this path; None if it has no short name."""
    return BY_NAME.get(name) or next((figure for figure in FIGURES if figure.path == name), None)


def _pattern(path: str) -> re.Pattern[str]:
    stage = r"[1-9][0-9]?"
    return re.compile(re.escape(path).replace("<name>", r"[\w-]+").replace(r"\[1\-9\]", stage), re.ASCII)


def _advice(name: str) -> str:
    paths = [figure.path for figure in KNOWN]
    if members := [path for path in paths if path.startswith(f"{name}.")]:
        return f"one of {listed(members)}"
    if _MORE.match(name):
        return "an assertion bounds a single figure; there is none of that name in every run"
    names_known = [*BY_NAME, *(path.replace("[1-9]", "1") for path in paths)]
    guess = closest(name, names_known) or next(iter(get_close_matches(name, names_known, 1, _ALIKE)), None)
    names = f"short names: {', '.join(BY_NAME)}; or a path of summary.json such as delay_s.p95"
    return f"did you mean {guess}? ({names})" if guess is not None else names
