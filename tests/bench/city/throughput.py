"""The city's saturated servers that nothing paces, against a bare PyTorch loop (see `tests.bench.saturated`)."""

import multiprocessing
import time
from collections.abc import Iterator

from node_agent.models.bundles.loading import load_bundle
from tests.bench.city.parts import Times
from tests.bench.saturated import Subject, compared, saturated_server
from tests.bench.table import AMOUNT, Row, main, row

STAGES = tuple(Subject("glyphs", (2, 3, 5), stage) for stage in (1, 2, 3))
PROFILED = STAGES[1]  # the quickest: messages weigh most
GOAL = 0.85


def rows() -> Iterator[Row]:
    """Every stage."""
    for subject in STAGES:
        yield from compared(subject, f"unpaced server of stage {subject.stage}, saturated", GOAL)
    yield from profile()


def profile() -> Iterator[Row]:
    """The parts of the time that a task takes at PROFILED."""
    pipe, agent_pipe = multiprocessing.get_context("spawn").Pipe()
    with saturated_server(PROFILED, agent_pipe) as neighbours:
        agent_pipe.close()
        neighbours.play(PROFILED.round_s)
    times_us: Times = pipe.recv()
    what = f"unpaced server of stage {PROFILED.stage}, saturated, a task"
    for part, time_us in sorted(times_us.items(), key=lambda item: -item[1]):
        yield row(f"{what}: {part}", time_us, "us", possible=AMOUNT)
    yield row(f"{what}: the sub-model alone in a loop", _in_a_loop_us(PROFILED), "us", possible=AMOUNT)


def _in_a_loop_us(subject: Subject) -> float:
    """Return the time of the agent's sub-model if nothing comes between two tasks [us]."""
    import torch

    torch.set_num_threads(1)
    tensors = subject.tensors()
    sub_model = load_bundle(subject.model).sub_models(subject.cut, subject.activation)[subject.stage - 1]
    done, began_s = 0, time.monotonic()
    while time.monotonic() < began_s + subject.round_s:
        sub_model.infer(tensors[done % len(tensors)])
        done += 1
    return 1e6 * (time.monotonic() - began_s) / done


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
