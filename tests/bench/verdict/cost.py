"""What the verdict costs: the time for which a run that is over is held against its expectation.

`python -m tests.bench.verdict.cost`: quickstart and the city, live, as long as their topologies say (needs root, four
minutes). Goal: 3 % of the run's time, in which nothing else is held up, since the network is gone by then.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from testbed.fidelity.report import VERDICTS
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from tests.bench.city.runs import CITY, ROOT, completed
from tests.bench.table import POSITIVE, Row, main, row

TOPOLOGIES = {"quickstart": ROOT / "topologies" / "quickstart.yaml", "city": CITY}
MOST = 3.0  # % of the run's time


def rows() -> Iterator[Row]:
    """Per topology: how long the check took, as a share of the run, and what the run came to."""
    for name, path in TOPOLOGIES.items():
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_run(path, out=Path(folder) / "run")
            summary = completed(plan, SilentObserver())
        fidelity, duration_s = summary["fidelity"], plan.scenario.duration_s * plan.scenario.time_scale
        tasks = f"{summary['tasks']['completed']} tasks in {duration_s:.0f} s"
        yield row(f"{name}: the check, of the run's time", 100 * fidelity["check_took_s"] / duration_s, "%",
                  most=MOST, rival=tasks, possible=POSITIVE)  # fmt: skip
        yield row(f"{name}: verdict (0: held)", VERDICTS.index(fidelity["verdict"]), "")
        for slots, which in ((3, "the first slots"), (None, "all slots")):
            for what, key in (("link", "links_off"), ("service", "speed_off")):
                values = [each[key] for each in fidelity["decisions"][:slots]]
                off = sum(values) / len(values) if values else None
                yield row(f"{name}: {what} times that decisions rested on, off in {which}", off, "")


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
