"""The doorbells with and without stage 1 of their own, simulated: `python -m tests.bench onboard`.

Thresholds are fixed, so that both networks give the same answers: accuracy is equal, delays and bytes differ. The
figures are the same on every machine.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from testbed.record.reading import read_lines
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from testbed.sizes import result_bytes, task_bytes
from tests.bench.simulated import TOPOLOGIES
from tests.bench.table import POSITIVE, SHARE, Row, main, row

DOORBELLS = TOPOLOGIES / "doorbells.yaml"
THRESHOLDS = (0.6, 0.7, 0.8)
CASES = {"boxes at full speed": False, "boxes slowed for a while": True}  # whether the topology's events happen
WITH, WITHOUT = "stage 1 on the device", "no stage 1 on the device"
OWN = re.compile(r", runs: 1, capacity: [^,]*, memory: [^,}]*")


class Figures(NamedTuple):
    """Figures of a run over the tasks after the warm-up: mean delay [s], accuracy (0..1), bytes per task."""

    delay_s: float
    accuracy: float
    link_bytes: float  # on the links of the task's device, both ways


def rows() -> Iterator[Row]:
    """Delay, accuracy and bytes of each case, with and without."""
    for case, events in CASES.items():
        for threshold in THRESHOLDS:
            found = {kind: figures_of(threshold, own=kind == WITH, events=events) for kind in (WITH, WITHOUT)}
            for kind, figures in found.items():
                what = f"{case}, threshold {threshold:g}, {kind}"
                yield row(f"{what}: mean delay", figures.delay_s * 1e3, "ms", possible=POSITIVE)
                yield row(f"{what}: accuracy", figures.accuracy, "", possible=SHARE)
                yield row(f"{what}: bytes per task", figures.link_bytes / 1e3, "kB", possible=POSITIVE)
            apart = abs(found[WITH].accuracy - found[WITHOUT].accuracy)
            yield row(f"{case}, threshold {threshold:g}: accuracy apart", apart * 100, "points", most=0.0)


def topology(*, own: bool, events: bool) -> str:
    """The text of the doorbells, perhaps without their own processors or without the events."""
    text = DOORBELLS.read_text(encoding="utf-8")
    if not own:
        text, count = OWN.subn("", text)
        assert count == 2, "two groups of doorbells"
    return text if events else text[: text.index("\nevents:") + 1]


def figures_of(threshold: float, *, own: bool, events: bool) -> Figures:
    """Simulate a case. RuntimeError if it did not come to its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "doorbells.yaml"
        path.write_text(topology(own=own, events=events), encoding="utf-8")
        plan = plan_run(path, policy=f"fixed-threshold:threshold={threshold}", out=Path(folder) / "run")
        outcome = Simulation(plan, SilentObserver()).run()
        tasks = list(read_lines(outcome.run_directory / "tasks.jsonl", TaskLine))
    if outcome.exit_reason != "completed" or any(task.status == "lost" for task in tasks):
        raise RuntimeError(f"the doorbells did not complete their tasks: {outcome.exit_reason}")
    choice = plan.scenario.model
    inputs = [profile.input_bytes for profile in plan.model.profiles(choice.cut, choice.activation)]
    processors = {server.name for server in plan.scenario.own_processors}
    counted = [task for task in tasks if task.created_s >= plan.scenario.warm_up_s]
    delay_s = mean(task.delay_s for task in counted if task.delay_s is not None)
    accuracy = mean(float(task.correct or 0) for task in counted)
    return Figures(delay_s, accuracy, mean(_bytes(counted, inputs, processors)))


def _bytes(tasks: Iterable[TaskLine], inputs: list[int], processors: set[str]) -> Iterator[float]:
    """Yield the bytes that each task brings to its device's links: picture or activation, and result."""
    for task in tasks:
        passed = len(task.hops)
        aboard = task.hops[0].node in processors
        if aboard and passed == 1:
            yield 0.0
        else:
            stage = 2 if aboard else 1
            yield task_bytes(stage, inputs[stage - 1]) + result_bytes(passed)


if __name__ == "__main__":
    main(rows, __doc__)
