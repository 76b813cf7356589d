"""City and metro for five minutes each, live, at their time scales: `python -m tests.bench.city.endurance`.

A run of that length shows effects that a short one may miss: queues that creep up, memory, a housekeeping job of the
machine. The bench runs the command line in a process of its own and reads the summary that it prints. The rival is the
simulation of the same tasks, whose delays no machine can affect. Needs root; about a quarter of an hour.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.fidelity.report import VERDICTS
from testbed.topology import load_topology
from tests.bench.city.runs import ROOT, TESTBED, output_of
from tests.bench.table import PERCENT, POSITIVE, Row, main, row

TOPOLOGIES = ("city", "metro")
REAL_S = 300.0  # how long tasks arrive, by this machine's clock


def rows() -> Iterator[Row]:
    """Both topologies, one after the other."""
    for name in TOPOLOGIES:
        time_scale = load_topology(_file(name)).resolve().time_scale
        yield from endurance(name, duration_s=REAL_S / time_scale)


def endurance(name: str, duration_s: float) -> Iterator[Row]:
    """One topology for `duration_s` emulated seconds: did it hold, was a task lost, how busy was the machine?"""
    live, simulated = (_summary_of(verb, name, duration_s) for verb in ("run", "simulate"))
    tasks, fidelity = live["tasks"], live["fidelity"]
    host = fidelity["host"]
    why = "; ".join(fidelity["reasons"]) or None
    where = f"{name}, {duration_s:.0f} s"
    yield row(f"{where}: verdict (0: held)", VERDICTS.index(fidelity["verdict"]), "", most=0, rival=why)
    nobody = None if tasks["completed"] else "no task was completed"
    yield row(f"{where}: lost", tasks["lost"], "tasks", most=0, rival=f"{tasks['offered']} offered", invalid=nobody)
    for what, share, rival in (
        ("machine busy", host["cpu_share"], None),
        ("processes waited for a processor", host["pressure_some_share"], None),
        ("frames over 1 ms late", _share(fidelity, "frames_late", "frames_relayed"), "frames_relayed"),
        ("timers over 1 ms late", _share(fidelity, "timers_late", "timers"), "timers"),
        ("tasks that this machine delayed", fidelity["tasks_touched_share"], None),
    ):
        told = f"{fidelity[rival]} {rival.removesuffix('_relayed')}" if rival else None
        yield row(f"{where}: {what}", None if share is None else 100 * share, "%", rival=told, possible=PERCENT)
    for figure in ("mean", "p95"):
        ours_s, theirs_s = (summary["delay_s"][figure] for summary in (live, simulated))
        told = f"simulated {theirs_s * 1e3:.0f} ms, {ours_s / theirs_s:.3f} times"
        yield row(f"{where}: {figure} delay", ours_s * 1e3, "ms", rival=told, possible=POSITIVE)


def _share(fidelity: dict[str, Any], part: str, whole: str) -> float | None:
    """None if nothing was counted, or the kernel does not say: the share is unknown, not zero."""
    return fidelity[part] / fidelity[whole] if fidelity[whole] and fidelity[part] is not None else None


def _file(name: str) -> Path:
    return ROOT / "topologies" / f"{name}.yaml"


def _summary_of(verb: str, name: str, duration_s: float) -> dict[str, Any]:
    """The summary of one run, by the command a user would type."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--duration", f"{duration_s:g}s", "--monitor", "off", "--json", "--out", f"{folder}/run"]
        output = output_of([*TESTBED, verb, str(_file(name)), *options])
    summary: dict[str, Any] = json.loads(output)
    return summary


if __name__ == "__main__":
    main(rows, __doc__)
