"""The view of a user of quickstart, and the needs of the run (as root, a minute).

Kept are the monitor at one moment, with and without its colours, the closing summary, memory, disk space and time.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from cli.printing.summary_lines import render_summary
from cli.watch.frame import draw
from cli.watch.state import ViewState
from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.breakdown.parts import Parts
from testbed.fidelity.report import VERDICTS, FidelityState
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario
from tests.bench.city.memory import pss_mib
from tests.bench.city.runs import ROOT, completed
from tests.bench.picture import coloured, plain
from tests.bench.table import POSITIVE, SHARE, Row, main, row, text

QUICKSTART = ROOT / "topologies/quickstart.yaml"
AT_S = 38.0  # the fastest server has slowed down, and the others have taken over
WIDTH, HEIGHT = 100, 34
FILES = Path("runs/<time>-quickstart-dto-ee-<suffix>")


class Camera(SilentObserver):
    """Passes everything to the monitor's state, draws it once, and weighs all processes of the run then."""

    def __init__(self) -> None:
        self._state = ViewState()
        self.lines: list[str] = []  # with their colours
        self.memory_mib = 0.0

    def started(self, scenario: Scenario, offered: int) -> None:
        self._state.started(scenario, offered)

    def task(self, line: TaskLine) -> None:
        self._state.task(line)

    def split(self, completed_s: float, parts: Parts) -> None:
        self._state.split(completed_s, parts)

    def decision(self, record: DecisionRecord) -> None:
        self._state.decision(record)

    def sample(self, record: SampleRecord) -> None:
        self._state.sample(record)

    def event(self, record: EventRecord) -> None:
        self._state.event(record)

    def fidelity(self, state: FidelityState) -> None:
        self._state.fidelity(state)

    def tick(self, now_s: float) -> None:
        self._state.tick(now_s)
        if now_s >= AT_S and not self.lines:
            self.lines = coloured(draw(self._state, WIDTH, HEIGHT), WIDTH)
            own = psutil.Process()
            self.memory_mib = sum(pss_mib(process.pid) for process in (own, *own.children(recursive=True)))


def size_mib(folder: Path) -> float:
    """Disk space of the files below a folder [MiB]."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 2**20


def rows() -> Iterator[Row]:
    """One live run."""
    camera, began_s = Camera(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        summary = completed(plan_run(QUICKSTART, out=Path(folder) / "run"), camera)
        took_s, recorded_mib = time.monotonic() - began_s, size_mib(Path(folder))
    tasks, fidelity = summary["tasks"], summary["fidelity"]
    told = "; ".join(fidelity["reasons"]) or None
    yield row("quickstart: verdict (0: held)", VERDICTS.index(fidelity["verdict"]), "", most=0, rival=told)
    yield row("quickstart: lost", tasks["lost"], "tasks", most=0, rival=f"{tasks['offered']} offered",
              invalid=None if tasks["completed"] else "no task was completed")  # fmt: skip
    yield row("quickstart: mean delay", summary["delay_s"]["mean"] * 1e3, "ms", possible=POSITIVE)
    yield row("quickstart: accuracy", summary["accuracy"], "", possible=SHARE)
    yield row("quickstart: from the command to the summary", took_s, "s", possible=POSITIVE)
    yield row("quickstart: memory of all processes (PSS)", camera.memory_mib, "MiB", possible=POSITIVE)
    yield row("quickstart: run directory", recorded_mib, "MiB", possible=POSITIVE)
    build = "a CPU build of torch" if torch.version.cuda is None else "a CUDA build of torch"
    yield row(f"installation: .venv with {build}", size_mib(Path(sys.prefix)), "MiB", possible=POSITIVE)
    yield text("monitor", plain(camera.lines))
    yield text("monitor in colour", camera.lines)
    yield text("summary", render_summary(summary, FILES).splitlines())


if __name__ == "__main__":
    main(rows, __doc__)
