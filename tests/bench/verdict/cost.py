"""The cost of the verdict: the time in which a finished run is held against its expectation, as a share of the run.

`python -m tests.bench.verdict.cost` (half a minute): quickstart and the city, as long as their topologies say. The runs
are simulated, which records the same tasks as a live one; the check is that of live runs, in CPU time (it waits for
nothing). The network is gone by then: nothing else is held up. For a live run, `check_took_s` in summary.json has it.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from testbed.expectation import hold_against
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from tests.bench.city.runs import CITY, ROOT
from tests.bench.table import POSITIVE, Row, main, row
from tests.testbed.expectation.runs import world_of

TOPOLOGIES = {"quickstart": ROOT / "topologies" / "quickstart.yaml", "city": CITY}
MOST = 3.0  # % of the run's time


def rows() -> Iterator[Row]:
    """Per topology: the time of the check, as a share of the run's."""
    for name, path in TOPOLOGIES.items():
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_run(path, out=Path(folder) / "run")
            out = Simulation(plan, SilentObserver()).run().run_directory
            began_s = time.process_time()
            found = hold_against(
                world_of(out), out / "tasks.jsonl", out / "decisions.jsonl", repeats={}, stalls=(), relayed=True
            )
            took_s = time.process_time() - began_s
        duration_s = plan.scenario.duration_s
        wrong = None if found.figures and not found.trouble else f"nothing was checked: {found.trouble}"
        yield row(f"{name}: the check, of the run's time", 100 * took_s / duration_s, "%", most=MOST, possible=POSITIVE,
                  rival=f"{found.offered} tasks in {duration_s:.0f} s", invalid=wrong)  # fmt: skip


if __name__ == "__main__":
    main(rows, __doc__)
