"""The memory of an agent while the city runs, against fresh interpreters that do the same work.

PSS: what a process has to itself, and its share of what several have together. Two figures: the agents alone, and with
the parents that they were forked from, whose pages they share, spread over all. Not counted: the experiment, the relay
and the live view, which are one of each, however many agents there are.

The rival is what the agents would be without those parents: fresh interpreters, devices and servers in the city's
proportion, weighed while all are up, so that the files that they have mapped (libtorch's above all) are shared by as
many as there are: by three servers here, by fifteen if all were started so.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario
from tests.bench.city.runs import CITY, completed
from tests.bench.table import POSITIVE, Row, main, row

DURATION_S = 12.0
SETTLED_AFTER_S = 8.0  # every server has computed, every connection has carried tasks
FRESH_DEVICES, FRESH_SERVERS = 10, 3  # as the city's 50 and 15
MOST_MIB = 12.0
FRESH_DEVICE = """
import sys
from node_agent.process import assemble
from node_agent.models.bundles.loading import load_bundle
load_bundle("glyphs").evaluation
print("ready", flush=True)
sys.stdin.read()
"""
FRESH_SERVER = """
import sys
from node_agent.process import assemble
from node_agent.process.executor import inference
from node_agent.models.bundles.loading import load_bundle
from node_agent.wire import Tensor
import torch
torch.set_num_threads(1)
bundle = load_bundle("glyphs")
bundle.exit_table((2, 3, 5))
first = bundle.sub_models((2, 3, 5), "float16")[0]
form = first.input_form.usual
inference(first)(Tensor(form, bytes(form.byte_count)))
print("ready", flush=True)
sys.stdin.read()
"""


def pss_mib(pid: int) -> float:
    """Proportional set size of a process [MiB]."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} tells no PSS")


def agent_pids() -> list[int]:
    """The processes of all agents that this process has started: those of a parent that have no children."""
    return [pid for pid, is_agent in _forked("self") if is_agent]


def parent_pids() -> list[int]:
    """The agents' parents, from which they were forked."""
    return [pid for pid, is_agent in _forked("self") if not is_agent]


def _forked(root: int | str) -> Iterator[tuple[int, bool]]:
    """The agents and their parents below `root`, each with True for an agent."""
    for task in Path(f"/proc/{root}/task").iterdir():
        for child in map(int, (task / "children").read_text(encoding="ascii").split()):
            below = list(_forked(child))
            if b"testbed.live.agent_parents" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield child, not below
            yield from below


class Weigher(SilentObserver):
    """Weighs the agents and their parents once, while the run goes on."""

    def __init__(self, after_s: float = SETTLED_AFTER_S) -> None:
        self._after_s = after_s
        self._executor = ThreadPoolExecutor(1)
        self._weighed: Future[tuple[list[float], list[float]]] | None = None

    def started(self, scenario: Scenario, offered: int) -> None:  # noqa: ARG002 - the observer's signature
        self._weighed = self._executor.submit(self._weigh)

    def _weigh(self) -> tuple[list[float], list[float]]:
        time.sleep(self._after_s)
        return [pss_mib(pid) for pid in agent_pids()], [pss_mib(pid) for pid in parent_pids()]

    def weights_mib(self) -> tuple[list[float], list[float]]:
        """PSS of every agent and of every parent; whatever went wrong while they were weighed is raised here."""
        assert self._weighed is not None, "the run has not started"
        return self._weighed.result()


def fresh_interpreters_mib() -> list[float]:
    """PSS of interpreters that have made ready what a device, or a server, needs, all of them up at once."""
    scripts = [FRESH_DEVICE] * FRESH_DEVICES + [FRESH_SERVER] * FRESH_SERVERS
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", script], stdin=PIPE, stdout=PIPE))
            for script in scripts
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        weights = [pss_mib(process.pid) for process in processes]
        for process in processes:
            process.communicate()
    return weights


def rows() -> Iterator[Row]:
    """One live run of some seconds, and the interpreters after it."""
    with tempfile.TemporaryDirectory() as folder:
        weigher = Weigher()
        plan = plan_run(CITY, out=Path(folder) / "run", duration_s=DURATION_S)
        completed(plan, weigher)
        agents, parents = weigher.weights_mib()
    if len(agents) != len(plan.scenario.node_names) or not parents:
        raise RuntimeError(f"{len(agents)} agents and {len(parents)} parents could be weighed")
    fresh = statistics.fmean(fresh_interpreters_mib())
    rival = f"{fresh:.0f} MiB, the mean of {FRESH_DEVICES} fresh devices and {FRESH_SERVERS} fresh servers"
    where = f"city: memory of an agent (PSS), {len(agents)} agents"
    whole = (sum(agents) + sum(parents)) / len(agents)
    for what, weight, most in (
        ("mean", statistics.fmean(agents), MOST_MIB),
        ("median", statistics.median(agents), MOST_MIB),
        ("most", max(agents), None),
        (f"mean, with their {len(parents)} parents", whole, None),
    ):
        yield row(f"{where}, {what}", weight, "MiB", most=most, rival=rival, possible=POSITIVE)


if __name__ == "__main__":
    main(rows, __doc__)
