"""A picture of a run that fits the terminal."""

from collections.abc import Callable, Mapping
from typing import assert_never

from cli.watch.emulation import emulation_lines
from cli.watch.lines import Frame, Line, beside, crop, pad, sparkline, width_of
from cli.watch.nodes import full_height, least_height, node_table, table_width
from cli.watch.state import WINDOW_S, Delays, ViewState
from node_agent.records import EventKind
from testbed.breakdown.parts import PART_WORDS
from testbed.topology.event_kinds.registry import KINDS
from testbed.wording import clock, percent, seconds, short_time

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINNER_PER_S = 8
TWO_COLUMNS_FROM = 60  # cells that must be free beside the node table for a second column
LABEL = 20  # cells before a curve
SCALE = 14  # cells after it
PARTS_FROM = 3  # lines for events from which one shows the parts of the delay
LEAST_PART = 0.005  # share of the delay; smaller parts are left out
Ends = tuple[str, str]  # of a scale
EVENT_STYLES: Mapping[EventKind, str] = {
    **{told: "cyan" for kind in KINDS for told in kind.told_as},
    "node-down": "bold red",
    "agent-died": "bold red",
    "node-up": "green",
    "receiver-back": "green",
    "receiver-silent": "yellow",
    "forced-exit": "yellow",
    "links-strained": "yellow",
    "links-broken": "bold red",
}


def draw(state: ViewState, width: int, height: int) -> Frame:
    """The state of a run in at most `height` lines of `width` cells."""
    lines = _running(state, width, height) if state.scenario is not None else _setting_up(state, width)
    return Frame([crop(line, width) for line in lines[:height]])


def _setting_up(state: ViewState, width: int) -> list[Line]:
    """The phases of the set-up and their times [s]; a narrow terminal cuts the words, not the time."""
    lines: list[Line] = [[("dtoee-testbed", "bold"), (" is setting up", "")]]
    ends = [phase.began_s for phase in state.phases[1:]]
    for phase, end_s in zip(state.phases, [*ends, None], strict=False):
        took_s = (state.clock() if end_s is None else end_s) - phase.began_s
        mark = (_spinner(state), "cyan") if end_s is None else ("✓", "green")
        progress = f"  {phase.progress}" if phase.progress and end_s is None else ""
        time_text = f"  {seconds(took_s, '.1f')}"
        words = crop([mark, (f" {phase.text}", ""), (progress, "")], max(0, width - len(time_text)))
        lines.append([*words, (time_text, "dim")])
    return lines


def _running(state: ViewState, width: int, height: int) -> list[Line]:
    head = [*_head(state, width), *emulation_lines(state, width, height)]
    room = height - len(head)
    table = node_table(state, width, room - 1)
    side = width - table_width(table) - 3
    if side >= TWO_COLUMNS_FROM:
        return [*head, [], *beside(table, _figures_and_events(state, side, room - 1), table_width(table))]
    # Figures need at least four lines, events one. Then nodes get theirs; gaps and taller curves take what is left.
    least, full = least_height(state), full_height(state)
    spare = room - least - 5
    if spare < 0:
        figures = 4 if room >= 12 else 0
        table = node_table(state, width, room - figures - (1 if figures else 0))
        return [*head, *table, *_figures(state, width, figures), *_events(state, width, room - len(table) - figures)]
    gaps = min(3, spare)
    spare -= gaps
    events = 1 + min(3, spare)
    spare -= events - 1
    if spare >= full - least:
        spare -= full - least
        least = full
    taller = min(2, spare // 3)
    events += min(6, spare - taller * 3)
    parts = [
        node_table(state, width, least),
        _figures(state, width, 4 + taller * 3),
        _events(state, width, events),
    ]
    lines = [*head]
    for number, part in enumerate(parts):
        lines += [[], *part] if number < gaps else part
    return lines


def _figures_and_events(state: ViewState, width: int, height: int) -> list[Line]:
    taller = max(0, min(3, (height - 12) // 3))
    figures = _figures(state, width, 4 + 3 * taller)
    return [*figures, [], *_events(state, width, height - len(figures) - 1)]


def _head(state: ViewState, width: int) -> list[Line]:
    scenario = state.scenario
    assert scenario is not None
    left: Line = [(scenario.name, "bold"), (f"  {scenario.policy.label}", "cyan")]
    if scenario.time_scale != 1:
        left.append((f"  {scenario.time_scale:g} s for each emulated one", "dim"))
    match state.stage:
        case "running":
            note = f"slot {state.slot} ({scenario.slot_s:g} s each)"
        case "draining":
            note = "waiting for the last results"
        case "set-up" | "ending":
            note = f"{_spinner(state)} {state.phases[-1].text if state.phases else ''}"
        case _:
            assert_never(state.stage)
    right: Line = [(f"{note}  ", "dim"), (f"{clock(state.now_s)} / {clock(scenario.duration_s)}", "bold")]
    counts: Line = [
        (f"{state.completed}", "bold"),
        (f" of {state.offered} tasks completed  ", ""),
        (f"{state.lost} lost", "bold red" if state.lost else "dim"),
        *([(f"  {state.refused} refused", "yellow")] if state.refused else []),
        *([(f"  {percent(state.in_time_share, '.0f')} in time", "bold")] if state.due else []),
        (f"  {state.in_flight} under way  ", ""),
    ]
    return [_justified(left, right, width), [*counts, *_progress(state, width - width_of(counts))]]


def _progress(state: ViewState, width: int) -> Line:
    assert state.scenario is not None
    if width < 5:
        return []
    done = round(min(1.0, state.now_s / state.scenario.duration_s) * width)
    return [("━" * done, "green"), ("─" * (width - done), "dim")]


def _figures(state: ViewState, width: int, height: int) -> list[Line]:
    """Current delay [ms], accuracy [%] and exits [%], and their curves since the start, in 4 + 3n lines."""
    if height < 4:
        return []
    now, curve = state.recent(), state.curve()
    rows = 1 + (height - 4) // 3
    cells = max(0, width - LABEL - SCALE)
    steps = max(len(curve), state.steps)
    stretch = max(1, cells // steps)  # columns for a step, so that a short run does not stay in a corner
    points = [point for point in curve for _ in range(stretch)][-cells:] if cells else []
    slowest_s = max((point.p95_s for point in points if point.p95_s is not None), default=0.0)
    worst = min((point.accuracy for point in points if point.accuracy is not None), default=1.0)
    floor = int(min(worst, 0.9) * 10) / 10

    def curve_of(
        label: str, value: str, read: Callable[[Delays], float | None], low: float, high: float, ends: Ends, style: str
    ) -> list[Line]:
        drawn = sparkline([read(point) for point in points], low, high, rows)
        lines: list[Line] = [[(" " * LABEL, ""), (text, style)] for text in drawn]
        lines[0][0] = (f"{label:<9}{value:>9}  ", "")
        if rows == 1:
            lines[0].append((f" {ends[0]}..{ends[1]}", "dim"))
        else:
            lines[0].append((f" {ends[1]}", "dim"))
            lines[-1].append((f" {ends[0]}", "dim"))
        return lines

    in_ms, in_percent = ("0", short_time(slowest_s)), (f"{floor * 100:.0f}", "100 %")
    return [
        *curve_of("delay p50", short_time(now.p50_s), lambda at: at.p50_s, 0.0, slowest_s, in_ms, "blue"),
        *curve_of("delay p95", short_time(now.p95_s), lambda at: at.p95_s, 0.0, slowest_s, in_ms, "magenta"),
        *curve_of("accuracy", percent(now.accuracy), lambda at: at.accuracy, floor, 1.0, in_percent, "green"),
        _exit_shares(state, now, width),
    ]


def _exit_shares(state: ViewState, now: Delays, width: int) -> Line:
    assert state.scenario is not None
    line: Line = [(f"{'exits':<9}", "")]
    for stage in range(1, state.scenario.stages + 1):
        share = now.exit_share.get(stage, 0.0) if now.completed else None
        line.append((f" stage {stage} ", "dim"))
        line.append((f"{percent(share, '.0f')} ", "bold"))
    note = f"(figures: last {WINDOW_S:g} s; curves: {state.bin_s:g} s a step)"
    return _justified(line, [(note, "dim")], width) if width_of(line) + len(note) < width else line


def _events(state: ViewState, width: int, height: int) -> list[Line]:
    """The latest events, the newest last; with room for three lines, the parts of the delay come first."""
    parts = _parts(state, width) if height >= PARTS_FROM else []
    height -= len(parts)
    shown = list(state.events)[-height:] if height > 0 else []
    return parts + [
        crop(
            [
                (f"{event.time_s:7.1f} s  ", "dim"),
                (event.kind, EVENT_STYLES.get(event.kind, "")),
                (f"  {event.node}" if event.node else "", "bold"),
                (f"  {event.detail}", ""),
            ],
            width,
        )
        for event in shown
    ]


def _parts(state: ViewState, width: int) -> list[Line]:
    """The mean parts of the delay over the window [ms], in one line; nothing without a task."""
    parts_s = state.recent_parts()
    if parts_s is None:
        return []
    least_s = LEAST_PART * sum(parts_s.values())
    line: Line = [(f"{'parts':<9}", "")]
    for name, part_s in parts_s.items():
        if part_s >= least_s:
            line += [(f" {PART_WORDS[name]} ", "dim"), (f"{part_s * 1e3:.0f} ", "bold")]
    return [crop([*line, ("ms", "dim")], width)]


def _justified(left: Line, right: Line, width: int) -> Line:
    """A line of `width` cells with two parts at its ends; a narrow terminal cuts the left one."""
    return [*pad(left, max(0, width - width_of(right) - 2)), ("  ", ""), *right]


def _spinner(state: ViewState) -> str:
    return SPINNER[int(state.clock() * SPINNER_PER_S) % len(SPINNER)]
