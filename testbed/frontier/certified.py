"""The bound of `optimum` at each theta of a frontier, on each seed: computed beside one another, and kept in files.

At theta no plan has a utility above the bound U (`testbed.optimum.bound`), whatever its thresholds. So every plan of
accuracy a has a mean delay of at least theta * a - U. Several theta give several such lines; the bound at an accuracy
is the highest of them. It holds in the model of `optimum`, for plans: fixed shares and thresholds that look at no
queue. `played` are the figures of the best plans, played against the very tasks of the runs.
"""

import json
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

from node_agent.errors import TestbedError
from testbed.cells.batch import Options
from testbed.cells.cell import RunSettings
from testbed.frontier.settings import theta_override
from testbed.optimum.bound import bound_for
from testbed.record.run_directory import write_json
from testbed.run.interrupts import Interrupts
from testbed.run.planning import plan_run
from testbed.topology.overrides import stated_overrides

FOLDER, SCHEMA = "optimum", 1


@dataclass(frozen=True, slots=True)
class Certified:
    """The optimum at one theta on the tasks of one seed. Without a plan that serves all tasks, figures are None.

    Attributes:
        theta_s: mean delay that one unit of accuracy is worth [s].
        seed: of the tasks.
        utility_bound_s: no plan has a higher utility in the model [s].
        delay_mean_s: mean delay of the best plan found, in the model [s].
        accuracy: of the best plan found, 0..1.
        played_delay_mean_s: its mean delay, played against the tasks [s].
        played_accuracy: its accuracy, played against the tasks, 0..1.
    """

    theta_s: float
    seed: int
    utility_bound_s: float | None
    delay_mean_s: float | None
    accuracy: float | None
    played_delay_mean_s: float | None
    played_accuracy: float | None


@dataclass(frozen=True, slots=True)
class BoundTask:
    """A bound that is to be computed: what `plan_run` needs, and the file that keeps the result."""

    topology: Path
    options: Options
    theta_s: float
    seed: int
    file: Path
    inputs: Mapping[str, object]  # what the result depends on, as the file states it


def bound_tasks(
    directory: Path, shared: RunSettings, options: Options, thetas_s: Sequence[float], seeds: Sequence[int]
) -> list[BoundTask]:
    """All bounds of a frontier.

    Args:
        directory: of the frontier.
        shared: the settings of its runs, without theta.
        options: of all runs.
        thetas_s: the values of theta [s].
        seeds: of the repeats.
    """
    inputs: dict[str, object] = {
        "schema": SCHEMA,
        "topology_sha256": shared.topology_sha256,
        "overrides": stated_overrides(shared.overrides),
        "model_sha256": shared.model_sha256,
        "criterion": shared.judged_by,
        "duration_s": shared.duration_s,
    }
    folder = directory / FOLDER
    return [
        BoundTask(shared.topology, options, theta_s, seed, folder / f"theta-{theta_s:g}" / f"seed-{seed}.json", inputs)
        for seed in seeds
        for theta_s in thetas_s
    ]


def kept(task: BoundTask) -> Certified | None:
    """The result in the file of a task; None if there is none with these inputs."""
    try:
        content = json.loads(task.file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("inputs") != dict(task.inputs):
        return None
    return Certified(**content["found"])


def compute_bounds(
    tasks: Sequence[BoundTask], jobs: int, done: Callable[[BoundTask], None], interrupts: Interrupts
) -> bool:
    """Compute bounds, `jobs` at a time, each into its file; return True if all are there, False after an interrupt.

    Interrupts are deferred afterwards.

    Raises:
        TestbedError: a bound cannot be computed.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["testbed.optimum.bound"])
    pool = ProcessPoolExecutor(max(1, min(jobs, len(tasks))), context, _ignore_interrupts)
    try:
        if not tasks:
            return True
        waiting = {pool.submit(_compute, task): task for task in tasks}
        for future in as_completed(waiting):
            future.result()
            done(waiting[future])
    except KeyboardInterrupt:
        return False
    except BrokenProcessPool as error:
        raise TestbedError("a process that computed a bound of `optimum` died", hint="try fewer --jobs") from error
    else:
        return True
    finally:
        interrupts.deferred = True
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole process group; only the parent acts on it, and ends these processes."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _compute(task: BoundTask) -> None:
    options = task.options
    plan = plan_run(
        task.topology,
        duration_s=options.duration_s,
        seed=task.seed,
        model=options.model,
        cut=options.cut,
        criterion=options.criterion,
        overrides=(*options.overrides, theta_override(task.theta_s)),
        make_directory=False,
    )
    found = bound_for(plan.scenario, plan.model, arrivals=plan.arrivals)
    best = None if found.unserved else found.overall
    played = found.played if best is not None else None
    result = Certified(
        theta_s=task.theta_s,
        seed=task.seed,
        utility_bound_s=best.utility_bound_s if best else None,
        delay_mean_s=best.mean_delay_s if best else None,
        accuracy=best.accuracy if best else None,
        played_delay_mean_s=played.mean_delay_s if played else None,
        played_accuracy=played.accuracy if played else None,
    )
    task.file.parent.mkdir(parents=True, exist_ok=True)
    write_json(task.file, {"inputs": dict(task.inputs), "found": asdict(result)})
