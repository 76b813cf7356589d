"""Runs for benches: in this process to their very end, or as a user's command in a child, of which nothing is left."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.live.experiment import Experiment
from testbed.run.observer import RunObserver
from testbed.run.plan import Plan

ROOT = Path(__file__).parents[3]
CITY = ROOT / "topologies" / "city.yaml"
TESTBED = (sys.executable, "-c", "from cli.main import main; main()")  # the command line, as its arguments begin
ENDS_WITHIN_S = 20.0  # after Ctrl-C, a run that is sound


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A child process (`options` as for Popen); if it still runs in the end, it is ended as by Ctrl-C, or killed."""
    process: subprocess.Popen[str] = subprocess.Popen(command, cwd=ROOT, text=True, **options)
    try:
        yield process
    finally:
        end(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def end(process: "subprocess.Popen[Any]", within_s: float = ENDS_WITHIN_S) -> None:
    """Ctrl-C, so that it can remove what it has made; SIGKILL for one that has not ended in time."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def output_of(command: Sequence[str], stdin: str = "", timeout_s: float | None = None) -> str:
    """The output of a child; RuntimeError if it fails or takes longer."""
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            output, error = process.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{' '.join(command[3:5])} took more than {timeout_s:g} s") from None
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[3:5])} ended with {process.returncode}: {error.strip()[-500:]}")
    return output


def completed(plan: Plan, observer: RunObserver) -> dict[str, Any]:
    """The summary of a run in this process; RuntimeError for one that did not come to its end, as after Ctrl-C."""
    outcome = Experiment(plan, observer).run()
    if outcome.exit_reason != "completed" or outcome.summary is None:
        raise RuntimeError(f"the run was {outcome.exit_reason}: its figures tell nothing")
    return outcome.summary
