"""The closing summary of a run, for people; programs read summary.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cli.printing.columns import LABEL_WIDTH, print_lines
from cli.printing.energy_lines import energy_lines
from testbed.wording import counted, milliseconds, number, percent, seconds

WRONG_SPEED = 0.05  # share by which a median service time must be off to be reported
MOST_GROUPS = 6  # of devices with deadlines
MOST_LATE = 3  # paths, and nodes, named in the summary of a run that did not hold
TEXT_WIDTH = 80 - LABEL_WIDTH
UNBROKEN_PERCENT = "\N{NO-BREAK SPACE}%"


def print_summary(summary: Mapping[str, Any], run_directory: Path) -> None:
    """Print a summary to standard output."""
    print_lines(summary_lines(summary, run_directory))


def render_summary(summary: Mapping[str, Any], run_directory: Path) -> str:
    """The summary as text without control codes; `summary` is the content of summary.json."""
    lines = (f"{label:<{LABEL_WIDTH}}{text}" for label, text in summary_lines(summary, run_directory))
    return "\n".join(line.rstrip() for line in lines)


def summary_lines(summary: Mapping[str, Any], run_directory: Path) -> Iterator[tuple[str, str]]:
    """Lines (label, text) of a summary; a line that continues the one above has an empty label.

    A figure over no task is '-'.
    """
    seed = f", seed {summary['seed']}" if "seed" in summary else ""
    yield "Run", f"{summary.get('topology', '-')} under {summary['policy']}{seed}"
    yield from borrowed_lines(summary)
    yield from _tasks(summary)
    yield from _overload(summary)
    yield from _figures(summary)
    label = "Energy"
    for text in energy_lines(summary.get("energy")):
        yield label, text
        label = ""
    yield from _fidelity(summary.get("fidelity", {}))
    if setup := summary.get("setup_s"):
        yield "Set-up", ", ".join(f"{what} after {seconds(after_s, '.1f')}" for what, after_s in setup.items())
    yield "Files", str(run_directory)


def borrowed_lines(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines on what is not usual of a model: recorded answers, other costs or criterion, labels that it answered."""
    fields = ("answers", "costs", "criterion", "labels")
    stated = [f"{field}: {summary[field]}" for field in fields if summary.get(field)]
    if stated:
        yield "Model", ", ".join(stated)


def _tasks(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tasks, attempts = summary["tasks"], summary.get("attempts", {})
    refused = f", {tasks['refused']} refused" if tasks.get("refused") else ""
    yield "Tasks", f"{tasks['offered']} offered, {tasks['completed']} completed, {tasks['lost']} lost{refused}"
    for reason, count in sorted(summary.get("lost_reasons", {}).items(), key=lambda item: -item[1]):
        yield "", f"lost: {count} because {reason or 'of an unknown cause'}"
    if attempts.get("above_one"):
        yield "", f"sent again: {attempts['above_one']} (at most {attempts['most']} attempts)"
    if duplicates := tasks.get("duplicates"):
        yield "", f"results that came twice: {duplicates}"
    if forced := summary.get("forced_exits"):
        yield "", f"forced out early, because no next server answered: {forced}"


def _overload(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if summary.get("overloaded"):
        outstanding = seconds(summary["outstanding_s"], ".1f")
        yield "Overload", f"tasks piled up: {outstanding} of arrivals were outstanding when the workload ended;"
        yield "", "the delays below tell how long the run was, not how good the plan is"


def _figures(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    delay = summary["delay_s"]
    yield "Delay", "   ".join(f"{name} {milliseconds(delay[name])}" for name in ("mean", "p50", "p95", "p99"))
    yield from _parts(summary)
    yield from _fairness(summary)
    yield "Accuracy", percent(summary["accuracy"])
    if summary.get("goodput") is not None and (summary["tasks"]["lost"] or summary["tasks"].get("refused")):
        yield "Goodput", f"{percent(summary['goodput'])} of all tasks got a right answer"
    yield from _deadlines(summary.get("deadlines") or {})
    yield "Exits", "   ".join(f"stage {stage} {percent(share)}" for stage, share in summary["exit_share"].items())
    rewarded = "right and in time" if summary.get("utility_of") == "deadlines" else "accuracy"
    theta = f" = {summary['theta_s']:g} s x {rewarded} - mean delay" if "theta_s" in summary else ""
    price = (summary.get("energy") or {}).get("price_s_per_j", 0)
    energy = f" - {price:g} s/J x energy per task" if price else ""
    yield "Utility", f"{seconds(summary['utility'])}{theta}{energy}"
    if (warm_up_s := summary.get("warm_up_s", 0)) and "counted" in summary["tasks"]:
        yield "", f"(over the {summary['tasks']['counted']} tasks completed of those offered after {warm_up_s:g} s)"


def _deadlines(deadlines: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines on the tasks that have a deadline; nothing without any. Groups follow if they are few and more than one."""
    if not deadlines.get("tasks"):
        return
    groups: Mapping[str, Any] = deadlines.get("groups") or {}
    named = 1 < len(groups) <= MOST_GROUPS
    missed = f"{deadlines['missed']} of {counted(deadlines['tasks'], 'task')} missed"
    yield "Deadlines", f"{_in_time(deadlines)}; {missed}"
    for name, figures in groups.items() if named else ():
        yield "", f"{name}: {_in_time(figures)}"


def _in_time(figures: Mapping[str, Any]) -> str:
    return f"{percent(figures['in_time'])} in time, {percent(figures['correct_in_time'])} right and in time"


def _parts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if parts := summary.get("parts_s"):
        from cli.printing.parts_bar import bar_of_parts, legend_of_parts

        yield "", bar_of_parts(parts, TEXT_WIDTH)
        for line in legend_of_parts(parts, TEXT_WIDTH):
            yield "", line


def _fairness(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    fairness = summary.get("fairness") or {}
    if fairness.get("devices", 0) > 1 and fairness["jain"] is not None:
        worst = f"worst {fairness['worst_device']}, {number(fairness['worst_over_mean'], '.2f')} x the devices' mean"
        yield "Fairness", f"Jain's index {number(fairness['jain'], '.3f')} over {fairness['devices']} devices; {worst}"


def _fidelity(fidelity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines on the emulation: the verdict, its reasons, and the evidence."""
    if not fidelity:
        return
    label = "Fidelity"
    if fidelity.get("simulated"):
        yield label, "simulated: links and service times are computed, answers were measured before; no delay is real"
        if links := fidelity.get("links_outside_validation"):
            yield "", outside_validation_text(links)
        return
    parts = (
        _verdict(fidelity), _expected(fidelity), _lateness(fidelity), _network(fidelity), _paths(fidelity),
        _changes(fidelity), _compute(fidelity), _tasks_touched(fidelity),
    )  # fmt: skip
    for text in (*(text for part in parts for text in part), *_host(fidelity)):
        yield label, text
        label = ""


def outside_validation_text(links: Iterable[str]) -> str:
    """A warning that the simulation was not validated for these lossy or jittery links."""
    return f"not validated against live runs for these links: {', '.join(links)}"


def _verdict(fidelity: Mapping[str, Any]) -> Iterator[str]:
    from textwrap import wrap

    if (verdict := fidelity.get("verdict")) is None:
        return  # recorded by an earlier version
    reasons: list[str] = fidelity.get("reasons") or []
    for text in (f"{verdict}: {reasons[0]}" if reasons else verdict, *reasons[1:]):
        for line in wrap(text.replace(" %", UNBROKEN_PERCENT), TEXT_WIDTH):
            yield line.replace(UNBROKEN_PERCENT, " %")


def _expected(fidelity: Mapping[str, Any]) -> Iterator[str]:
    """The delays that an exact machine would give, and the share by which the run's own exceed them."""
    expected, off = fidelity.get("expected_delay_s"), fidelity.get("delay_off")
    if expected and off:
        each = [f"{name} {milliseconds(expected[name])} ({percent(off[name], '+.1f')})" for name in expected]
        yield f"expected: {'   '.join(each[:2])}"
        yield f"          {'   '.join(each[2:])}"


def _lateness(fidelity: Mapping[str, Any]) -> Iterator[str]:
    """The paths and nodes on which a run that did not hold lost most time [s], summed over steps."""
    if fidelity.get("verdict") not in ("strained", "broken"):
        return
    lateness: Mapping[str, Any] = fidelity.get("lateness") or {}
    for kind in ("paths", "nodes"):
        sums = (lateness.get(kind) or [])[:MOST_LATE]
        names = (" - ".join(each["path"]) if "path" in each else each["node"] for each in sums)
        told = [f"{name} {each['late_s']:+.2f} s" for name, each in zip(names, sums, strict=True)]
        if told:
            yield f"time lost, {kind}: {', '.join(told)}"


def _network(fidelity: Mapping[str, Any]) -> Iterator[str]:
    backend = fidelity.get("network_backend", "-")
    relayed, late = fidelity.get("frames_relayed") or 0, fidelity.get("frames_late") or 0
    dropped = fidelity.get("frames_dropped") or 0
    loss = f"{dropped} frames lost that should not have been" if dropped else "no unwanted loss of frames"
    yield f"network ({backend}): {loss}"
    if relayed and _tells_lateness(backend):
        worst = milliseconds(fidelity.get("worst_frame_lateness_s"), ".1f")
        share = percent(late / relayed, ".2f")
        yield f"frames over 1 ms late: {late} of {relayed} ({share}); the worst {worst}"


def _tells_lateness(backend: str) -> bool:
    from testbed.network.delays.choice import BACKENDS

    return backend not in BACKENDS or BACKENDS[backend].tells_lateness


def _paths(fidelity: Mapping[str, Any]) -> Iterator[str]:
    """The worst path before the run, and the worst during it."""
    paths = fidelity.get("paths") or []
    before = [(abs(p["measured_delay_s"] - p["delay_s"]), p) for p in paths if p["measured_delay_s"] is not None]
    if before:
        _, path = max(before, key=lambda pair: pair[0])
        found, asked = milliseconds(path["measured_delay_s"], ".2f"), milliseconds(path["delay_s"], "g")
        yield f"worst path before: {_ends(path)}, {found} for {asked}"
    during = [(path["excess_p10_s"], path) for path in paths if path["excess_p10_s"] is not None]
    if during:
        excess_s, path = max(during, key=lambda pair: abs(pair[0]))
        yield f"worst path during: {_ends(path)}, {milliseconds(excess_s, '+.2f')}"


def _changes(fidelity: Mapping[str, Any]) -> Iterator[str]:
    """The lateness of the injected changes; nothing if the scenario changes nothing."""
    if not (injected := (changes := fidelity.get("changes") or {}).get("injected")):
        return
    late, worst = (milliseconds(changes.get(key), ".1f") for key in ("lateness_p99_s", "worst_lateness_s"))
    skipped = f", {changes['skipped']} steps of traces left out" if changes.get("skipped") else ""
    yield f"changes injected: {injected}, 99 % at most {late} late, the worst {worst}{skipped}"


def _ends(path: Mapping[str, Any]) -> str:
    return f"{path['path'][0]} - {path['path'][-1]}"


def _compute(fidelity: Mapping[str, Any]) -> Iterator[str]:
    overruns = fidelity.get("compute_overruns") or 0
    ratio = fidelity.get("service_time_ratio_p50")
    if ratio is not None and abs(ratio - 1) > WRONG_SPEED:
        yield f"compute: services took {number(ratio, '.2f')} times as long as the stated capacities say (median)"
    elif not overruns:
        yield "compute: every task was served in its emulated time"
    else:
        yield f"compute: {counted(overruns, 'task')} took longer than emulated (overruns)"
    if timers := fidelity.get("timers"):
        late, worst = fidelity.get("timers_late") or 0, milliseconds(fidelity.get("worst_timer_lateness_s"), ".1f")
        share = percent(late / timers, ".2f")
        yield f"timers over 1 ms late: {late} of {timers} ({share}); the worst {worst}"


def _tasks_touched(fidelity: Mapping[str, Any]) -> Iterator[str]:
    if (late_s := fidelity.get("replay_lateness_p99_s")) is not None:
        yield f"workload: 99 % of the tasks were offered at most {milliseconds(late_s, '.1f')} late"
    if (share := fidelity.get("tasks_touched_share")) is not None:
        yield f"tasks that this machine delayed: {percent(share)}"


def _host(fidelity: Mapping[str, Any]) -> Iterator[str]:
    share = fidelity.get("host_cpu_share")
    agents, relay = (seconds(fidelity.get(name), ".1f") for name in ("agents_cpu_s", "relay_cpu_s"))
    yield f"this machine: {percent(share, '.0f')} busy; CPU time: agents {agents}, network {relay}"
    pressure = (fidelity.get("host") or {}).get("pressure_some_share")
    if pressure is not None:
        yield f"processes waited for a processor {percent(pressure, '.0f')} of the time"
