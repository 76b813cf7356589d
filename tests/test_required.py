"""Skipped tests fail under CI=true, except those of netem where the second kernel runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import required

ROOT = Path(__file__).parents[1]
CASES = """
import pytest

@pytest.mark.skipif(True, reason="no memory controller here")
def test_marked(): ...

def test_in_the_middle():
    pytest.skip("no memory controller here")

def test_netem():
    pytest.skip("no netem on this machine: unknown qdisc")

@pytest.mark.xfail(reason="known")
def test_expected(): assert False

def test_sound(): ...
"""


ALL_TESTED = {"error": 1, "failed": 1, "skipped": 1, "passed": 1, "xfailed": 1}  # a marked one does not even begin
NOT_ALL = {"skipped": 3, "passed": 1, "xfailed": 1}


@pytest.mark.parametrize(("ci", "counts"), [("true", ALL_TESTED), ("", NOT_ALL)])
def test_skips_fail_where_all_must_be_tested(tmp_path, ci, counts):
    (tmp_path / "test_it.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    excuse = "import tests.required; tests.required.lacking = lambda: ''; import pytest, sys; "
    words = ["-p", "tests.required", "-p", "no:cacheprovider", "-q", "test_it.py"]
    done = subprocess.run(
        [sys.executable, "-c", f"{excuse}sys.exit(pytest.main({words!r}))"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ci},
    )  # fmt: skip
    found = {
        kind: int(count) for count, kind in re.findall(r"(\d+) (error|failed|skipped|passed|xfailed)", done.stdout)
    }
    assert found == counts
    assert ("CI=true: everything must be tested" in done.stdout) == (ci == "true")


def test_netem_is_excused_only_with_a_second_kernel(monkeypatch):
    monkeypatch.setattr(required, "lacking", lambda: "")
    assert required.excused("Skipped: no netem on this machine: unknown qdisc")
    assert not required.excused("Skipped: no control groups for the CPU here")
    monkeypatch.setattr(required, "lacking", lambda: "user-mode Linux cannot be booted here")
    assert not required.excused("Skipped: no netem on this machine: unknown qdisc")


def test_a_closed_folder_is_excused():
    assert required.excused("Skipped: /root/checkout is closed to other users")
    assert not required.excused("Skipped: this kernel gives ordinary users no user namespaces")


def test_images_that_are_not_installed_are_not_excused():
    assert not required.excused("Skipped: dataset-fashion-mnist is not installed: ./setup.sh --dev")
