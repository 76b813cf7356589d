"""Commands of many runs as a user gives them: to their end, and interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = "from cli.main import main; main()"


def run(verb, *arguments, timeout=120, **options):
    """Run a command to its end; `options` are further ones of `subprocess.run`; `timeout` is in seconds."""
    return subprocess.run(
        [sys.executable, "-c", CODE, verb, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, **options,
    )  # fmt: skip


def interrupt(verb, *arguments, at, out):
    """Press Ctrl-C when a line of progress starts with `at`; return the line that says what is complete.

    The command ends with exit code 130, prints no data, and says last how to go on.
    """
    with subprocess.Popen(
        [sys.executable, "-c", CODE, verb, *map(str, arguments), "--out", str(out)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        next(line for line in process.stderr if line.startswith(at))
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().splitlines()
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert said[-2].startswith("interrupted: ")
    assert said[-1] == f"hint: to go on, give the same command with --out {out}"
    return said[-2]
