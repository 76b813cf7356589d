"""The closing summary of a run, for people; programs read summary.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

BUSY_HOST = 0.85  # above this share of all CPUs in use, waiting may come from this machine and not from the emulation
WRONG_SPEED = 0.05  # a median service time off by more than this share is told
LABEL_WIDTH = 11


def print_summary(summary: Mapping[str, Any], run_directory: Path) -> None:
    """Print it to standard output."""
    print_lines(summary_lines(summary, run_directory))


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """(label, text) by line to standard output: bold labels on a terminal, the same text without them elsewhere."""
    import os

    import click

    colour = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
    for label, text in lines:
        click.echo(click.style(f"{label:<{LABEL_WIDTH}}", bold=True) + text, color=colour)


def render_summary(summary: Mapping[str, Any], run_directory: Path) -> str:
    """The summary as text without control codes; `summary` is the content of summary.json."""
    lines = (f"{label:<{LABEL_WIDTH}}{text}" for label, text in summary_lines(summary, run_directory))
    return "\n".join(line.rstrip() for line in lines)


def summary_lines(summary: Mapping[str, Any], run_directory: Path) -> Iterator[tuple[str, str]]:
    """(label, text) by line; a line that continues the one above has an empty label. Figures over no task are '-'."""
    seed = f", seed {summary['seed']}" if "seed" in summary else ""
    yield "Run", f"{summary.get('topology', '-')} under {summary['policy']}{seed}"
    yield from _tasks(summary)
    yield from _figures(summary)
    yield from _fidelity(summary.get("fidelity", {}))
    if setup := summary.get("setup_s"):
        yield "Set-up", ", ".join(f"{what} after {_number(after_s, '.1f')} s" for what, after_s in setup.items())
    yield "Files", str(run_directory)


def _tasks(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tasks, attempts = summary["tasks"], summary.get("attempts", {})
    yield "Tasks", f"{tasks['offered']} offered, {tasks['completed']} completed, {tasks['lost']} lost"
    for reason, count in sorted(summary.get("lost_reasons", {}).items(), key=lambda item: -item[1]):
        yield "", f"lost: {count} because {reason or 'of an unknown cause'}"
    if attempts.get("above_one"):
        yield "", f"sent again: {attempts['above_one']} (at most {attempts['most']} attempts)"
    if duplicates := tasks.get("duplicates"):
        yield "", f"results that came twice: {duplicates}"
    if forced := summary.get("forced_exits"):
        yield "", f"forced out early, because no next server answered: {forced}"


def _figures(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    delay = summary["delay_s"]
    yield "Delay", "   ".join(f"{name} {_milliseconds(delay[name])}" for name in ("mean", "p50", "p95", "p99"))
    yield "Accuracy", _percent(summary["accuracy"])
    yield "Exits", "   ".join(f"stage {stage} {_percent(share)}" for stage, share in summary["exit_share"].items())
    theta = f" = {summary['theta_s']:g} s x accuracy - mean delay" if "theta_s" in summary else ""
    yield "Utility", f"{_seconds(summary['utility'])}{theta}"
    if (warm_up_s := summary.get("warm_up_s", 0)) and "counted" in summary["tasks"]:
        yield "", f"(over the {summary['tasks']['counted']} tasks completed of those offered after {warm_up_s:g} s)"


def _fidelity(fidelity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Whether the emulation held, in words."""
    if not fidelity:
        return
    label = "Fidelity"
    if fidelity.get("simulated"):
        yield label, "simulated: links and service times are computed, answers were measured before; no delay is real"
        return
    for text in (*_network(fidelity), _compute(fidelity), _replay(fidelity), *_host(fidelity)):
        yield label, text
        label = ""


def _network(fidelity: Mapping[str, Any]) -> Iterator[str]:
    backend = fidelity.get("network_backend", "-")
    relayed, late = fidelity.get("frames_relayed") or 0, fidelity.get("frames_late") or 0
    dropped = fidelity.get("frames_dropped") or 0
    loss = f"{dropped} frames lost that should not have been" if dropped else "no unwanted loss of frames"
    yield f"network ({backend}): {loss}"
    if relayed:
        worst_ms = _number(fidelity.get("worst_frame_lateness_s"), ".1f", 1e3)
        share = _percent(late / relayed, ".2%")
        yield f"frames over 1 ms late: {late} of {relayed} ({share}); the worst {worst_ms} ms"


def _compute(fidelity: Mapping[str, Any]) -> str:
    overruns = fidelity.get("compute_overruns") or 0
    ratio = fidelity.get("service_time_ratio_p50")
    if ratio is not None and abs(ratio - 1) > WRONG_SPEED:
        return f"compute: services took {ratio:.2f} times as long as the stated capacities say (median)"
    if not overruns:
        return "compute: every task was served in its emulated time"
    return f"compute: {overruns} {'tasks' if overruns > 1 else 'task'} took longer than emulated (overruns)"


def _replay(fidelity: Mapping[str, Any]) -> str:
    late_ms = _number(fidelity.get("replay_lateness_p99_s"), ".1f", 1e3)
    return f"workload: 99 % of the tasks were offered at most {late_ms} ms late"


def _host(fidelity: Mapping[str, Any]) -> Iterator[str]:
    share = fidelity.get("host_cpu_share")
    agents_s, relay_s = (_number(fidelity.get(name), ".1f") for name in ("agents_cpu_s", "relay_cpu_s"))
    yield f"this machine: {_percent(share, '.0%')} busy; CPU time: agents {agents_s} s, network {relay_s} s"
    if share is not None and share > BUSY_HOST:
        yield "too busy: part of the delays may come from this machine"


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "-" if value is None else format(value * factor, form)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.0f} ms"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f} s"


def _percent(value: float | None, form: str = ".1%") -> str:
    return "-" if value is None else format(value, form).replace("%", " %")
