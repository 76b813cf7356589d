"""What a user of quickstart sees: the monitor at a moment, and the closing summary (needs root, a minute)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from cli.printing.summary_lines import render_summary
from cli.watch.frame import draw
from cli.watch.state import ViewState
from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.fidelity.report import VERDICTS, FidelityState
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario
from tests.bench.city.runs import ROOT, completed
from tests.bench.table import POSITIVE, SHARE, Row, main, row, text
from tests.cli.watched import texts

QUICKSTART = ROOT / "topologies/quickstart.yaml"
AT_S = 38.0  # the fastest server has slowed down, and the others have taken over
WIDTH, HEIGHT = 112, 34
FILES = Path("runs/<time>-quickstart-dto-ee-<suffix>")


class Camera(SilentObserver):
    """Hands on to the monitor's state what it is told, and draws it once."""

    def __init__(self) -> None:
        self._state = ViewState()
        self.lines: list[str] = []

    def started(self, scenario: Scenario, offered: int) -> None:
        self._state.started(scenario, offered)

    def task(self, line: TaskLine) -> None:
        self._state.task(line)

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
            self.lines = [line.rstrip() for line in texts(draw(self._state, WIDTH, HEIGHT))]


def rows() -> Iterator[Row]:
    """One live run."""
    camera = Camera()
    with tempfile.TemporaryDirectory() as folder:
        summary = completed(plan_run(QUICKSTART, out=Path(folder) / "run"), camera)
    tasks, fidelity = summary["tasks"], summary["fidelity"]
    told = "; ".join(fidelity["reasons"]) or None
    yield row("quickstart: verdict (0: held)", VERDICTS.index(fidelity["verdict"]), "", most=0, rival=told)
    yield row("quickstart: lost", tasks["lost"], "tasks", most=0, rival=f"{tasks['offered']} offered",
              invalid=None if tasks["completed"] else "no task was completed")  # fmt: skip
    yield row("quickstart: mean delay", summary["delay_s"]["mean"] * 1e3, "ms", possible=POSITIVE)
    yield row("quickstart: accuracy", summary["accuracy"], "", possible=SHARE)
    yield text("monitor", camera.lines)
    yield text("summary", render_summary(summary, FILES).splitlines())


if __name__ == "__main__":
    main(rows, __doc__)
