"""docs/library.md: it lists every public name with a line, and its example runs."""

import os
import re
import subprocess
import sys

import dtoee_testbed
from tests.docs.pages import DOCS, ROOT, python_blocks

PAGE = (DOCS / "library.md").read_text(encoding="utf-8")


def test_the_page_lists_every_public_name_once_with_a_line():
    listed = re.findall(r"^\| `(\w+)` \| (.*\S) \|$", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(dtoee_testbed.__all__)
    assert all(len(line.split()) >= 3 for _, line in listed)


def test_the_example_runs(tmp_path):
    (example,) = python_blocks(PAGE)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert re.fullmatch(r"mean delay \d+ ms, accuracy 0\.\d\d", said[0])
    assert re.fullmatch(r"\d+ of \d+ tasks left at the first exit", said[1])
    assert [line.partition(":")[0] for line in said[2:]] == ["dto-ee", "computing-first", "the best plan"]
    assert (tmp_path / "runs" / "example" / "summary.json").exists()
