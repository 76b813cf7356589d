"""The tests: `python -m tests` runs what takes minutes, `python -m tests --long` what is marked slow.

First run the tests that need neither root nor a quiet machine, in as many processes as there are processors. Then come
those that need root, three at a time, since they mostly wait; tests marked `company` are among them. Last come the
others that compare times (marked `timing`): they have the machine to themselves. Further arguments go to pytest, for
example `python -m tests -k relay`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# pytest's exit code if an expression selects no test.
NONE_SELECTED = 5


@dataclass(frozen=True, slots=True)
class Part:
    """Tests that run in one call of pytest: their name, the expression that selects them, and options of pytest."""

    name: str
    select: str
    options: tuple[str, ...] = ()


SIDE_BY_SIDE = Part(
    "side by side", "not (root or timing or company or slow)", ("--numprocesses=auto", "--dist=worksteal")
)
TOGETHER = Part(
    "three at a time", "(company or root and not timing) and not slow", ("--numprocesses=3", "--dist=worksteal")
)
ALONE = Part("one after the other", "timing and not (company or slow)")
LONG = Part("slow ones", "slow")
QUICK = (SIDE_BY_SIDE, TOGETHER, ALONE)
PARTS = (*QUICK, LONG)


def main(arguments: Sequence[str]) -> int:
    """Run the chosen parts. Return 0 if all passed, 1 if one failed or none ran, else pytest's exit code."""
    chosen = [LONG] if "--long" in arguments else QUICK
    rest = [argument for argument in arguments if argument != "--long"]
    codes = [code for part in chosen if (code := run(part, rest)) != NONE_SELECTED]
    return max(codes, default=1)


def run(part: Part, arguments: Sequence[str] = ()) -> int:
    """Run one part and print how long it took; pytest's exit code."""
    print(f"\n== tests, {part.name}: {selection(part)}", flush=True)
    begun_s = time.monotonic()
    code = subprocess.run(list(command(part, arguments)), cwd=ROOT, env=environment(), check=False).returncode
    print(f"== tests, {part.name}: {time.monotonic() - begun_s:.0f} s", flush=True)
    return code


def command(part: Part, arguments: Sequence[str] = ()) -> Iterator[str]:
    """The call of pytest."""
    yield from (sys.executable, "-m", "pytest", "-m", selection(part), "--durations=25", *part.options, *arguments)


def environment() -> dict[str, str]:
    """This process's environment, but compiled modules are kept: hundreds of programs that tests start load them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def selection(part: Part) -> str:
    """The expression that selects the tests of a part; without root, those that need it are left out."""
    return part.select if os.geteuid() == 0 else f"{part.select} and not root"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
