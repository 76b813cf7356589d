"""Results of a second kernel that ended early; nothing is booted."""

import subprocess

import pytest

from .kernel import Kernel


@pytest.mark.parametrize(("status", "returncode"), [("124\n", 124), ("", None), (None, None)])
def test_a_kernel_that_dies_with_its_status_unwritten_is_told(tmp_path, status, returncode):
    kernel = Kernel(["true"], tmp_path, timeout_s=1.0)
    kernel._process = subprocess.Popen(["true"])
    (tmp_path / "console").write_text("panic")
    if status is not None:
        (tmp_path / "status").write_text(status)
    completed = kernel.wait()
    assert (completed.returncode, completed.output, completed.console) == (returncode, "", "panic")
