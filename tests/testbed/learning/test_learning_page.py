"""docs/learning.md: its example runs, and it lists the figures of a candidate in their order."""

import os
import re
import subprocess
import sys

from node_agent.policies.observation import FIGURES
from tests.docs.pages import DOCS, ROOT, python_blocks, rows, section

PAGE = (DOCS / "learning.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path):
    (example,) = python_blocks(PAGE)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ choices, return \d+\.\d s\n", done.stdout)


def test_the_figures_are_those_of_the_code():
    assert [name.strip("`") for name, _ in rows(section(PAGE, "The figures of a candidate"))] == list(FIGURES)
