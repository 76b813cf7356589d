"""Tests of netem and of both versions of control groups, in a second kernel: this machine's may lack them.

Existing tests run again inside, and the tests of inside.py, which belong only there. Each is a subtest here.
"""

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

from .kernel import ROOT, Completed, Kernel, lacking

pytestmark = [pytest.mark.uml, pytest.mark.root, pytest.mark.timeout(400)]
LIMIT_S = 240.0
REPORT = "results.xml"
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short"]


@pytest.fixture(scope="module", autouse=True)
def _bootable():
    trouble = lacking()
    if trouble and os.environ.get("CI") == "true":
        pytest.fail(f"CI must test in a second kernel: {trouble}")
    if trouble:
        pytest.skip(trouble)


def pytest_inside(shared: Path, *words: str) -> list[str]:
    return [*PYTEST, f"--junitxml={shared / REPORT}", *words]


@pytest.fixture(scope="module")
def links(_bootable, tmp_path_factory):
    """A kernel that tests netem while another does the rest: each keeps one processor busy."""
    shared = tmp_path_factory.mktemp("links")
    # Without the meshes: they ping each pair in turn, which takes this kernel longer than all other tests together.
    meshes = "--ignore=tests/testbed/network/test_meshes.py"
    command = pytest_inside(shared, "tests/testbed/network", "-k", "netem", meshes)
    netem = {"DTOEE_REQUIRE_NETEM": "1"}
    with Kernel(command, shared, timeout_s=LIMIT_S, environment=netem, punctual=True) as kernel:
        yield kernel


def report(subtests: pytest.Subtests, completed: Completed, shared: Path, *, least: int) -> None:
    """Report each result from inside as a subtest; require `least` of them, and count a skipped one as failed."""
    assert completed.returncode in {0, 1}, str(completed)  # pytest's own: all passed, some failed
    cases = list(ET.parse(shared / REPORT).iter("testcase"))
    for case in cases:
        with subtests.test(f"{case.get('classname')}::{case.get('name')}"):
            for trouble in case:
                if trouble.tag in {"failure", "error", "skipped"}:
                    pytest.fail(f"{trouble.tag} in the second kernel: {trouble.text}", pytrace=False)
    assert len(cases) >= least, str(completed)


def test_a_link_with_netem(subtests, tmp_path):
    """The quick part: the slow tests below examine netem and control groups one property at a time."""
    names = ("ping_takes_twice_the_delay[netem-0.02]", "tcp_gets_the_rate_of_the_link[netem-20.0]")
    chosen = [f"tests/testbed/network/test_emulated.py::test_{name}" for name in names]
    netem = {"DTOEE_REQUIRE_NETEM": "1"}
    kernel = Kernel(pytest_inside(tmp_path, *chosen), tmp_path, timeout_s=LIMIT_S, environment=netem, punctual=True)
    report(subtests, kernel.run(), tmp_path, least=2)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.usefixtures("links")
def test_control_groups_version_2_and_a_whole_run(subtests, tmp_path):
    command = pytest_inside(tmp_path, "tests/uml/inside.py", "tests/testbed/host/test_cpu_quota.py")
    completed = Kernel(command, tmp_path, timeout_s=LIMIT_S, punctual=True).run()
    report(subtests, completed, tmp_path, least=23)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.usefixtures("links")
def test_control_groups_version_1(subtests, tmp_path):
    command = pytest_inside(tmp_path, "tests/testbed/host/test_cpu_quota.py")
    completed = Kernel(command, tmp_path, timeout_s=LIMIT_S, cgroup="v1", punctual=True).run()
    report(subtests, completed, tmp_path, least=20)


@pytest.mark.timing
@pytest.mark.slow
def test_links_with_netem(subtests, links):
    report(subtests, links.wait(), links.shared, least=24)


@pytest.mark.timing
@pytest.mark.slow
def test_what_is_written_inside_stays_inside(tmp_path):
    command = ["sh", "-c", f"touch written-inside; ls; touch {tmp_path}/handed-out; echo $0 $UNSEEN.", "a 'b' \"$c\""]
    completed = Kernel(command, tmp_path, timeout_s=30).run()
    assert completed.returncode == 0, str(completed)
    assert "written-inside" in completed.output
    assert completed.output.endswith("a 'b' \"$c\" .\n")
    assert not (ROOT / "written-inside").exists()
    assert (tmp_path / "handed-out").exists()


@pytest.mark.timing
@pytest.mark.slow
def test_a_command_that_takes_too_long_is_ended(tmp_path):
    completed = Kernel(["sleep", "100"], tmp_path, timeout_s=1).run()
    assert completed.returncode == 124


CALLER = """
import sys
from pathlib import Path
from tests.uml.kernel import Kernel
with Kernel(["sh", "-c", "touch $0/up; sleep 100", sys.argv[1]], Path(sys.argv[1]), timeout_s=100) as kernel:
    kernel.wait()
"""


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_kernel_ends_with_its_caller(tmp_path, number):
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(kernels_with(tmp_path)) > 1
    caller.send_signal(number)
    caller.wait()
    while kernels_with(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not kernels_with(tmp_path)


def kernels_with(shared: Path) -> list[int]:
    """The processes of a kernel with this shared directory; each has the kernel's command line."""
    words = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    return [pid for pid, line in words.items() if "linux.uml" in line and str(shared) in line]
